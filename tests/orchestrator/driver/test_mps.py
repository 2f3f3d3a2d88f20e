"""How MPS is found, started once per machine, and stopped; with a stand-in for NVIDIA's control program, which needs a GPU."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.driver import mps

STAND_IN = Path(__file__).parent  # holds nvidia-cuda-mps-control
PIPES = "CUDA_MPS_PIPE_DIRECTORY"


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    """A machine with MPS installed and no daemon; the folder of the daemon that alphacl starts."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("PATH", str(STAND_IN), prepend=os.pathsep)
    for variable in (PIPES, "CUDA_MPS_LOG_DIRECTORY"):
        monkeypatch.setenv(variable, "")  # so that it is taken back after the test
        monkeypatch.delenv(variable)
    monkeypatch.setattr(mps, "LEAVE_S", 0.0)
    return tmp_path / f"alphacl-mps-{os.getuid()}" / "pipes"


def test_a_machine_without_mps_is_told_and_left_alone(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert mps.join_mps() == "nvidia-cuda-mps-control is not installed"
    assert PIPES not in os.environ
    assert not mps.stop_idle_mps()


@pytest.mark.slow
def test_trials_that_begin_at_once_start_one_daemon_that_serves_every_gpu(machine):
    join = "from orchestrator.driver.mps import join_mps; import os; print(join_mps() or os.environ['CUDA_MPS_PIPE_DIRECTORY'])"
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "1", "PYTHONPATH": os.getcwd()}
    begun = [subprocess.Popen([sys.executable, "-c", join], env=environment, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [process.communicate(timeout=60)[0].strip() for process in begun] == [str(machine)] * 3
    assert (machine / "daemon").read_text() == "started with CUDA_VISIBLE_DEVICES=None\n"


def test_the_owners_daemon_is_used_and_never_stopped(machine, tmp_path, monkeypatch):
    owners = tmp_path / "owners"
    owners.mkdir()
    (owners / "daemon").write_text("")
    monkeypatch.setenv(PIPES, str(owners))
    assert mps.join_mps() == ""
    assert os.environ[PIPES] == str(owners)
    assert not machine.exists()
    assert not mps.stop_idle_mps()
    assert (owners / "daemon").exists()


@pytest.mark.slow
def test_a_daemon_is_stopped_when_its_last_client_has_gone(machine):
    assert mps.join_mps() == ""
    (machine / "clients").write_text("1234\n")
    assert not mps.stop_idle_mps()
    (machine / "clients").unlink()
    assert mps.stop_idle_mps()
    assert not (machine / "daemon").exists()


def test_a_daemon_that_does_not_start_is_a_reason_and_no_error(machine):
    machine.parent.mkdir()
    machine.write_text("")  # a file where the folder of pipes has to be
    assert mps.join_mps().startswith("it does not start: [Errno 17] File exists")


def test_somebody_elses_folder_is_not_used(machine, tmp_path):
    machine.parent.symlink_to(tmp_path)
    assert mps.join_mps() == f"it does not start: {machine.parent} is not this user's"


def test_nodes_are_told_apart_by_reason():
    assert mps._tell({"10.0.0.1": "", "10.0.0.2": "it is not installed", "10.0.0.3": "", "10.0.0.4": "it is not installed"}) == [
        "MPS runs on 10.0.0.1, 10.0.0.3: trials that share a GPU compute side by side",
        "no MPS on 10.0.0.2, 10.0.0.4 (it is not installed): trials there take turns on a GPU",
    ]
