"""``alphacl log`` and what is said of code that raises."""

import threading
import time

import pytest

from orchestrator.commands.failures import print_failures
from results.record.status import Status
from results.record.sweep_writer import SweepWriter
from search_spaces import load_spec


@pytest.fixture
def sweep(tmp_path, write):
    text = "trial: {dataset: digits, epochs: 1}\nspace: {tau: [0.1, 0.5]}\n"
    return SweepWriter.create(tmp_path / "runs", "s", load_spec(write(text)), {})


def begin(sweep, digest, text):
    writer = sweep.trial(digest)
    writer.begin()
    (writer.attempt / "output.log").write_bytes(text)
    return writer


def test_a_log_shows_every_attempt_and_gives_a_terminal_no_orders(alphacl, sweep, tmp_path):
    digest = sweep.record.trials()[0].digest
    begin(sweep, digest, b"first\x1b[2J\n")
    begin(sweep, digest, "zweite Zeile äö \xff\n".encode("latin-1"))
    for trial in (digest, digest[:6], "infonce · tau 0.1 · seed 0", "infonce tau 0.1 seed 0"):
        code, out, err = alphacl("log", "s", trial, "--storage", tmp_path / "runs")
        assert (code, err) == (0, "")
        assert out.splitlines() == ["first�[2J", "zweite Zeile �� �"]


@pytest.mark.slow
def test_a_log_that_is_followed_ends_with_its_trial(alphacl, sweep, tmp_path):
    digest = sweep.record.trials()[0].digest

    def work():
        time.sleep(0.8)
        writer = begin(sweep, digest, b"it begins\n")
        time.sleep(0.8)
        with open(writer.attempt / "output.log", "ab") as file:
            file.write(b"it ends\n")
        writer.fail(Status.FAILED, "for good")

    thread = threading.Thread(target=work)
    thread.start()
    code, out, _ = alphacl("log", "s", digest, "-f", "--storage", tmp_path / "runs")
    thread.join()
    assert (code, out) == (0, "it begins\nit ends\n")


@pytest.mark.parametrize(
    ("trial", "says"),
    [
        ("nonsense", "no trial 'nonsense' in 's'; expected a digest, label or status"),
        ("waiting", "'waiting' means 2 trials of 's': "),
        ("failed", "no trial of 's' is failed"),
        ("infonce · tau 0.1 · seed 0", "has not begun yet"),
    ],
)
def test_what_has_no_log_is_said_in_one_line(alphacl, sweep, tmp_path, trial, says):
    code, _, err = alphacl("log", "s", trial, "--storage", tmp_path / "runs")
    assert code == 2
    assert says in err
    assert len(err.splitlines()) == 1


def test_trials_that_one_line_ended_share_a_block(sweep, capsys):
    place = {"error": "ValueError", "file": "/home/me/mine.py", "line": 7, "function": "mine", "code": "raise ValueError('no')"}
    for trial in sweep.record.trials():
        sweep.trial(trial.digest).fail(Status.FAILED, "ValueError: no (mine.py:7, in mine)", **place)
    trials = sweep.record.trials()
    print_failures(trials, "s", "")
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "failed: infonce · tau 0.1 · seed 0 and 1 more trial: ValueError: no (mine.py:7, in mine)",
        "  /home/me/mine.py, line 7, in mine",
        "    raise ValueError('no')",
        f"  all that it printed:  alphacl log s {trials[0].digest[:8]}",
    ]
