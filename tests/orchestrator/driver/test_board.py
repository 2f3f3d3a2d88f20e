import io
import json
import random
from dataclasses import replace

import pytest
from rich.console import Console

from orchestrator.driver.board import Board, clock
from orchestrator.driver.display import Display
from orchestrator.driver.trial_line import TrialLine
from results.record.reader import TrialRecord
from results.record.status import Status
from trainer.files import checksum, write_json


def board():
    b = Board("demo", planned=4)
    b.put("a", TrialLine("infonce · tau 0.5 · seed 0", 10, "val/linear", Status.FINISHED, 10, 91.0))
    b.put("b", TrialLine("uniform · seed 0", 10, "val/linear", Status.RUNNING, 5, 80.25))
    b.put("c", TrialLine("mine · seed 0", 10, "val/linear", Status.FAILED, 3, None, "boom"))
    return b


def test_the_summary_counts_every_trial_once():
    assert board().summary().startswith("1 of 4 done, 1 running, 1 failed, 1 waiting")


def test_time_left_comes_from_the_epochs_this_driver_saw():
    b = board()
    assert b.seconds_left() is not None
    b.done_before = b.epochs_done()
    assert b.seconds_left() is None  # a resumed sweep has seen none yet


def test_the_live_view_names_objective_tau_epoch_and_best_figure():
    out = io.StringIO()
    Console(file=out, width=120).print(Display(board(), Console()).render())
    assert "uniform · seed 0" in out.getvalue()
    assert "5/10" in out.getvalue()
    assert "80.25" in out.getvalue()


def seeds(b, name, *values, confirms=False, status=Status.FINISHED):
    for seed, value in enumerate(values):
        line = TrialLine(
            f"{name} · seed {seed}", 10, "val/linear", status, 10, value, family="infonce", configuration=name, name=name
        )
        line.confirms = confirms
        b.put(f"{name} {seed} {confirms}", line)


def test_the_best_is_a_configurations_mean_over_its_seeds_at_the_end_and_never_a_lucky_seed():
    b = Board("demo", planned=20)
    seeds(b, "tau 0.1", 99.0, 60.0)
    seeds(b, "tau 0.5", 80.0, 82.0)
    seeds(b, "tau 1", 97.0, None, status=Status.RUNNING)  # not complete
    (family,) = b.families()
    assert str(family.best) == "81.00 (tau 0.5, mean of 2 seeds)"
    b.report("tau 0.5 0 False", {"epoch": 10, "val/linear": 70.0})  # what leads may fall back
    assert b.families()[0].best.label == "tau 0.1"
    seeds(b, "tau 0.5", 75.0, 76.0, confirms=True)  # on fresh seeds: these are the result
    assert str(b.families()[0].best) == "75.50 (tau 0.5, mean of 2 seeds)"


def test_the_untrained_encoder_and_the_best_of_many_epochs_are_no_trials_value():
    line = TrialLine("infonce · seed 0", 3)
    line.note({"epoch": 0, "val/linear": 90.0})
    assert line.value_text == "–"
    for epoch, value in ((1, 80.0), (2, 70.0)):
        line.note({"epoch": epoch, "val/linear": value})
    assert line.value == 70.0


def test_plain_lines_name_every_trial_that_ends():
    out = io.StringIO()
    b = board()
    with Display(b, Console(file=out, width=120)).showing():
        b.set_status("b", Status.FINISHED, "test/linear 81.00")
    assert out.getvalue().endswith("uniform · seed 0: finished, test/linear 81.00\n")


def test_clock():
    assert [clock(s) for s in (0, 65, 7400)] == ["0:00", "1:05", "2:03:20"]


def test_the_sums_of_a_board_are_those_of_its_lines(seed):
    """Every event adjusts the sums; a board made anew of the same lines has the same."""
    draw, b = random.Random(seed), Board("demo", planned=40, gpus=0.5)
    for number in range(30):
        line = TrialLine(f"trial {number}", 5, "val/linear", family=draw.choice(["infonce", "direct"]))
        line.configuration = line.name = f"{line.family} {number % 4}"
        b.put(str(number), line)
    for _ in range(500):
        digest = draw.choice(list(b.lines))
        if draw.random() < 0.5:
            b.set_status(digest, draw.choice([Status.RUNNING, Status.FINISHED, Status.STOPPED, Status.FAILED, Status.WAITING]))
        else:
            b.report(digest, {"epoch": draw.randrange(6), "val/linear": 100 * draw.random(), "time/epoch_s": 0.25})
    anew = Board("demo", planned=40, gpus=0.5)
    for digest, line in b.lines.items():
        anew.put(digest, line)
    assert [(f.name, f.counts, f.best) for f in b.families()] == [(f.name, f.counts, f.best) for f in anew.families()]
    assert b.epochs_done() == anew.epochs_done() == sum(6 if x.status.is_over else x.epoch for x in b.lines.values())
    assert b.gpu_hours() == anew.gpu_hours()
    assert set(b.running) == {digest for digest, line in b.lines.items() if line.status == Status.RUNNING}
    assert b.over + b.waiting + b.count(Status.RUNNING) == 40


def test_the_live_view_of_a_thousand_running_trials_is_as_long_as_that_of_twelve():
    sizes = []
    for running in (12, 1000):
        b = Board("demo", planned=2000)
        for number in range(running):
            b.put(str(number), TrialLine(f"infonce · seed {number}", 10, "val/linear", Status.RUNNING, 5, 80.0, family="infonce"))
        out = io.StringIO()
        Console(file=out, width=120).print(Display(b, Console()).render())
        sizes.append(len(out.getvalue().splitlines()))
        assert ("and 988 more" in out.getvalue()) == (running == 1000)
    assert sizes[1] == sizes[0] + 1


def test_a_finished_trial_is_on_the_board_with_its_last_figures_and_its_reports_are_not_read(fake_sweep, monkeypatch):
    sweep = fake_sweep()
    digest = sweep.digests[0]
    sweep.run(digest)
    file = sweep.folder.trials / digest / "result.json"
    record = json.loads(file.read_text()) | {"version": 2, "seconds": 12.5}
    read = TrialLine.of(sweep.folder.read(digest), "val/linear")
    write_json(file, record | {"checksum": checksum(record)})
    monkeypatch.setattr(TrialRecord, "reports", property(lambda self: pytest.fail("the reports are read")))
    line = TrialLine.of(sweep.folder.read(digest), "val/linear")
    assert line.seconds == 12.5
    assert replace(line, seconds=read.seconds) == read
