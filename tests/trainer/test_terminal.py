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


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here: what a full disk does to the output is not shown")
@pytest.mark.parametrize(("call", "code"), [("outlive_reader()", 0), ("pass", 1)])
@pytest.mark.parametrize("first", ["print('first', flush=True)", "make_console().print('first')"])
def test_output_on_a_full_disk_ends_no_sweep_and_is_said_in_one_line_elsewhere(call, code, first):
    script = SCRIPT.replace("OUTLIVE", call).replace('print("first", flush=True)', first)
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", script], input="\n", stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == code, done.stderr
    assert ("to the end" in done.stderr) == (code == 0)
    assert ("UserError: cannot write the output: No space left on device" in done.stderr) == (code == 1)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here: what a full disk does to the output is not shown")
def test_a_command_says_in_one_line_that_its_output_finds_no_room():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "orchestrator", "spaces"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (2, "alphacl: error: cannot write the output: No space left on device\n")
