"""The order in which trials start, what a trial that lost its worker is shown as, and which failures count as such."""

import types

import pytest
from ray.tune.experiment import Trial

from orchestrator.driver.board import Board
from orchestrator.driver.events import TrialEvents
from orchestrator.driver.keep_encoders import EncoderKeeper
from orchestrator.driver.retries import MOST_IN_VAIN, Failures
from orchestrator.driver.scheduler import SweepScheduler
from results.record.status import Status
from results.record.sweep_writer import SweepWriter
from search_spaces import load_spec

# As Ray 2.60 words them: what a raylet that was killed leaves behind, a connection that broke, a worker that was killed.
NODE_DIED = """The actor died unexpectedly before finishing this task.
\tclass_name: ImplicitFunc
\tip: 10.77.0.3
The actor died because its node has died. Node Id: 653a838722313e74a4bf
\tthe actor's node was terminated unexpectedly: health check failed due to missing too many heartbeats"""
UNAVAILABLE = (
    "The actor 289ff6554f5d is unavailable: The actor is temporarily unavailable. The task may or may not have been executed"
)
WORKER_DIED = """The actor died unexpectedly before finishing this task.
\tclass_name: ImplicitFunc
The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR"""
RAISED = """ray::ImplicitFunc.train() (pid=7, ip=10.77.0.3)
RuntimeError: The actor died because its node has died"""


@pytest.fixture
def sweep(tmp_path, write):
    """A sweep of three trials, of which a failure is tried again once: its trials as Tune has them, its board, its scheduler."""
    spec = load_spec(write("trial: {dataset: digits, epochs: 1}\nspace: {seed: [0, 1, 2]}\n"))
    folder = SweepWriter.create(tmp_path / "runs", "s", spec, {})
    records = folder.record.trials()
    board = Board.of(folder.record, records)
    events = TrialEvents(folder, board, lambda digests: None, EncoderKeeper(0, "val/linear", []))
    scheduler = SweepScheduler(events, Failures(retries=1))
    error_file = tmp_path / "error.txt"

    def trial(record):
        return types.SimpleNamespace(config={"digest": record.digest}, status=Trial.PENDING, error_file=str(error_file))

    trials = [trial(record) for record in records]
    for one in trials:
        scheduler.on_trial_add(None, one)
    ended = []
    controller = types.SimpleNamespace(stop_trial=ended.append)

    def fail(trial, message):
        with open(error_file, "a") as file:
            file.write(f"Failure # 1 (occurred at 2026-11-26_15-34-55)\n{message}\n")
        trial.status = Trial.PENDING
        scheduler.on_trial_add(controller, trial)

    return types.SimpleNamespace(trials=trials, board=board, scheduler=scheduler, fail=fail, ended=ended, folder=folder)


def test_a_trial_that_lost_its_node_waits_and_goes_on_before_others_begin(sweep):
    first, digest = sweep.trials[0], sweep.trials[0].config["digest"]
    assert sweep.scheduler.choose_trial_to_run(None) is first
    first.status = Trial.RUNNING
    assert sweep.scheduler.choose_trial_to_run(None) is sweep.trials[1]
    assert sweep.board.lines[digest].status == Status.RUNNING

    sweep.fail(first, NODE_DIED)
    assert sweep.board.lines[digest].status == Status.WAITING
    assert sweep.board.summary().startswith("0 of 3 done, 0 running, 0 failed, 3 waiting")
    assert sweep.scheduler.choose_trial_to_run(None) is first


@pytest.mark.parametrize("message", [NODE_DIED, UNAVAILABLE])
def test_a_lost_node_is_no_failure_unless_its_trial_never_reports(sweep, message):
    first, digest = sweep.trials[0], sweep.trials[0].config["digest"]
    for _ in range(3):
        for _ in range(MOST_IN_VAIN):
            sweep.fail(first, message)
        sweep.scheduler.on_trial_result(None, first, {"epoch": 0})
    assert not sweep.ended
    for _ in range(MOST_IN_VAIN + 2):
        sweep.fail(first, message)
    assert sweep.ended == [first]
    assert message.splitlines()[-1].strip() in sweep.folder.read(digest).error["message"]


@pytest.mark.parametrize("message", [WORKER_DIED, RAISED])
def test_a_trial_whose_worker_fails_more_often_than_its_retries_say_is_ended(sweep, message):
    first, second = sweep.trials[:2]
    sweep.fail(first, message)
    sweep.fail(second, message)
    sweep.fail(second, NODE_DIED)
    assert not sweep.ended
    sweep.fail(first, message)
    assert sweep.ended == [first]
    record = sweep.folder.read(first.config["digest"])
    assert (record.status, sweep.folder.read(second.config["digest"]).status) == (Status.FAILED, Status.WAITING)
    assert record.error["message"].endswith(message.splitlines()[-1])
