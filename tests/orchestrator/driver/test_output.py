"""What a worker prints is kept in the trial's attempt, and nothing of it costs a trial."""

import errno
import os
import subprocess
import sys

from orchestrator.driver import output
from orchestrator.driver.output import output_into


def test_all_that_is_printed_is_in_the_file_and_after_it_nothing_more(tmp_path):
    file = tmp_path / "output.log"
    before = sys.stdout, sys.stderr
    with output_into(file):
        print("of Python")
        print("an error", file=sys.stderr)
        os.write(1, b"of a library in C\n")
        subprocess.run(["echo", "of a process"], check=True)
    assert (sys.stdout, sys.stderr) == before
    print("no more")
    os.write(1, b"no more\n")
    assert file.read_text() == "of Python\nan error\nof a library in C\nof a process\n"
    with output_into(file):
        print("added")
    assert file.read_text().endswith("added\n"), "what was there stays"


def test_a_trial_that_is_unwound_late_leaves_the_next_ones_output_alone(tmp_path):
    first, second = output_into(tmp_path / "1"), output_into(tmp_path / "2")
    before = sys.stdout
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    print("of the second")
    second.__exit__(None, None, None)
    assert (tmp_path / "2").read_text() == "of the second\n"
    assert sys.stdout is before


def test_a_disk_that_is_full_costs_lines_and_no_trial(tmp_path, monkeypatch):
    with output_into(tmp_path / "no" / "folder" / "output.log"):
        print("goes where it went before")

    def full(*words):
        raise OSError(errno.ENOSPC, "no space")

    with output_into(tmp_path / "output.log"):
        monkeypatch.setattr(output.os, "write", full)
        print("is lost")
        monkeypatch.undo()
        print("is kept")
    assert "is kept" in (tmp_path / "output.log").read_text()


def test_code_that_prints_in_every_step_does_not_fill_the_storage(tmp_path, monkeypatch):
    monkeypatch.setattr(output, "MOST_BYTES", 1000)
    with output_into(tmp_path / "output.log"):
        for _ in range(1000):
            print("x" * 99)
    text = (tmp_path / "output.log").read_text()
    assert len(text) < 1200
    assert text.count("left out") == 1
