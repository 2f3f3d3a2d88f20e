import io

from rich.console import Console

from orchestrator.driver.board import Board, TrialLine, clock
from orchestrator.driver.display import Display
from results.record.status import Status


def board():
    b = Board("demo", planned=4)
    b.lines = {
        "a": TrialLine("infonce · tau 0.5 · seed 0", 10, "val/linear", Status.FINISHED, 10, 91.0),
        "b": TrialLine("uniform · seed 0", 10, "val/linear", Status.RUNNING, 5, 80.25),
        "c": TrialLine("mine · seed 0", 10, "val/linear", Status.FAILED, 3, None, "boom"),
    }
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


def test_plain_lines_name_every_trial_that_ends():
    out = io.StringIO()
    b = board()
    with Display(b, Console(file=out, width=120)).showing():
        b.lines["b"].status, b.lines["b"].last = Status.FINISHED, "test/linear 81.00"
    assert out.getvalue().endswith("uniform · seed 0: finished, test/linear 81.00\n")


def test_clock():
    assert [clock(s) for s in (0, 65, 7400)] == ["0:00", "1:05", "2:03:20"]
