"""Output whose reader goes, as in ``alphacl sweep … | head -1``, which must not end what is under way."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import sys
from orchestrator.driver.display import make_console
from trainer.terminal import harmless_output, outlive_reader

with harmless_output():
    OUTLIVE
    print("first", flush=True)
    sys.stdin.readline()  # until the reader has gone
    for _ in range(2):
        print("second", flush=True)
        make_console().print("third")
    print("to the end", file=sys.stderr)
"""


@pytest.mark.parametrize(("call", "ends"), [("outlive_reader()", True), ("pass", False)])
def test_what_runs_a_sweep_goes_on_when_its_reader_goes_and_what_only_prints_ends(call, ends):
    command = [sys.executable, "-c", SCRIPT.replace("OUTLIVE", call)]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    process = subprocess.Popen(command, **pipes, text=True, env={**os.environ, "PYTHONPATH": os.getcwd()})
    assert process.stdout.readline() == "first\n"
    process.stdout.close()
    process.stdin.write("\n")
    process.stdin.close()
    said = process.stderr.read()
    process.stderr.close()
    assert (process.wait(60) == 0) == ends
    assert ("to the end" in said) == ends, said
    assert ("BrokenPipeError" in said) != ends, "which the command line takes in silence"
