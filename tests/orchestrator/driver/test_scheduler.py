"""The order in which trials start, and what a trial that lost its worker is shown as."""

import types

from ray.tune.experiment import Trial

from orchestrator.driver.board import Board
from orchestrator.driver.events import TrialEvents
from orchestrator.driver.keep_encoders import EncoderKeeper
from orchestrator.driver.scheduler import SweepScheduler
from results.record.status import Status
from results.record.sweep_writer import SweepWriter
from search_spaces import load_spec


def test_a_trial_that_lost_its_node_waits_and_goes_on_before_others_begin(tmp_path, write):
    spec = load_spec(write("trial: {dataset: digits, epochs: 1}\nspace: {seed: [0, 1, 2]}\n"))
    folder = SweepWriter.create(tmp_path / "runs", "s", spec, {})
    records = folder.record.trials()
    board = Board.of(folder.record, records)
    events = TrialEvents(folder, board, lambda digests: None, EncoderKeeper(0, "val/linear", []))
    scheduler = SweepScheduler(events)
    trials = [types.SimpleNamespace(config={"digest": r.digest}, status=Trial.PENDING) for r in records]
    for trial in trials:
        scheduler.on_trial_add(None, trial)
    first = scheduler.choose_trial_to_run(None)
    assert first is trials[0]
    first.status = Trial.RUNNING
    assert scheduler.choose_trial_to_run(None) is trials[1]
    assert board.lines[records[0].digest].status == Status.RUNNING

    first.status = Trial.PENDING  # as Tune does it when the trial's node is gone
    scheduler.on_trial_add(None, first)
    assert board.lines[records[0].digest].status == Status.WAITING
    assert scheduler.choose_trial_to_run(None) is first
