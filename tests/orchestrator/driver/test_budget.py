"""A budget is kept, across drivers, and what is left is said."""

import json
import time

import pytest

from orchestrator.driver import run_sweep as runner
from orchestrator.driver.board import Board
from orchestrator.driver.budget import BudgetWatch, driven_seconds
from results.record.reader import open_sweep
from results.record.sweep_writer import SweepWriter
from search_spaces import SpaceError, load_spec
from search_spaces.search import Budget


def test_hours_are_those_of_all_drivers_and_gpu_hours_those_of_all_trials(tmp_path):
    lines = [
        {"machine": {}},
        *({"at": 1000 + 10 * n, "metrics": {}} for n in range(7)),
        {"machine": {}},
        {"at": 9000},
        {"at": 9010},
    ]
    (tmp_path / "system.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"at": 90')
    assert driven_seconds(tmp_path) == 70
    assert driven_seconds(tmp_path / "none") == 0
    board = Board("s", 3)
    assert BudgetWatch(Budget(hours=71 / 3600), tmp_path, board).used_up() == ""
    assert BudgetWatch(Budget(hours=70 / 3600), tmp_path, board).used_up() == "0.0194444 hours"
    assert BudgetWatch(Budget(), tmp_path, board).used_up() == ""
    watch = BudgetWatch(Budget(gpu_hours=2), tmp_path, board)
    board.gpu_hours = lambda: 2.5
    assert watch.used_up() == "2 GPU-hours"


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ("{hours: 0}", "hours > 0, got 0"),
        ("{gpu_hours: x}", "gpu_hours > 0"),
        ("{trials_at_once: 0.5}", "whole number"),
        ("{h: 1}", "'h'"),
    ],
)
def test_a_budget_that_is_none_is_refused(write, section, says):
    with pytest.raises(SpaceError, match=says):
        load_spec(write(f"budget: {section}\n"))


@pytest.mark.ray
def test_what_is_not_begun_when_the_budget_is_used_up_is_left_and_said(alphacl, write, tmp_path, storage, ray_here, monkeypatch):
    log = tmp_path / "log"
    text = "trial: {dataset: digits, epochs: 1}\nspace: {seed: [0, 1, 2, 3, 4, 5]}\nkeep_encoders: 0\n"
    spec = load_spec(write(text + "budget: {hours: 1, trials_at_once: 1}\n"))
    folder = SweepWriter.create(storage, "s", spec, {})

    def run(config, **others):
        import time

        from trainer import Report

        with open(log, "a") as file:
            file.write("+")
        time.sleep(0.3)
        with open(log, "a") as file:
            file.write("-")
        record = {"digest": config.digest, "config": config.to_dict(), "metrics": {"test/linear": 1.0}, "history": []}
        yield Report(1, 1, {"val/linear": 1.0}, lambda: {"epoch": 1, "encoder": {}}, record)

    monkeypatch.setattr(BudgetWatch, "used_up", lambda self: "1 hours" if log.exists() and "+-+" in log.read_text() else "")
    with folder.driving():
        outcome = runner.run_sweep(folder, spec, run=run)
    assert log.read_text() == "+-+-", "one at a time, and what had begun went on to its end"
    assert (outcome.used_up, outcome.interrupted, outcome.unfinished) == ("1 hours", False, 4)
    assert sorted(t.status for t in open_sweep(storage, "s").trials()) == ["finished"] * 2 + ["waiting"] * 4

    monkeypatch.undo()
    before = time.monotonic()
    with folder.driving():
        outcome = runner.run_sweep(folder, spec, run=run)
    assert not outcome.interrupted, f"after {time.monotonic() - before:.0f} s"
    assert log.read_text() == "+-" * 6
