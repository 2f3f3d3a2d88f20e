"""``--address``: a Ray head that runs already, with and without token authentication."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from orchestrator.driver.join_cluster import prepare_to_join
from results.record.reader import open_sweep
from tests.ports import free_port
from trainer import UserError

SPACE = "trial: {dataset: digits, images: 200, epochs: 1, batch_size: 64}\nkeep_encoders: 0\n"


@pytest.fixture
def head():
    """Start a head: ``head(mode)`` → (its address, the environment that holds its token)."""
    running, folders = [], []

    def start(mode):
        folder = tempfile.mkdtemp(prefix="alphacl-head-", dir="/tmp")
        folders.append(folder)
        port = free_port()
        environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_AUTH")} | {"RAY_AUTH_TOKEN": "ab" * 32}
        command = [
            sys.executable,
            "-m",
            "ray.scripts.scripts",
            "start",
            "--head",
            "--block",
            "--port",
            str(port),
            "--num-cpus",
            "1",
        ]
        command += ["--include-dashboard=false", "--temp-dir", folder, "--object-store-memory=100000000"]
        log = open(f"{folder}.log", "w")  # noqa: SIM115
        process = subprocess.Popen(
            command, env={**environment, "RAY_AUTH_MODE": mode}, stdout=log, stderr=log, start_new_session=True
        )
        running.append(process)
        deadline = time.monotonic() + 60
        while "Ray runtime started" not in (said := Path(f"{folder}.log").read_text()):
            assert time.monotonic() < deadline, said
            assert process.poll() is None, said
            time.sleep(0.1)
        return f"127.0.0.1:{port}", environment

    yield start
    for process in running:
        process.terminate()
        process.wait(timeout=60)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
        os.unlink(f"{folder}.log")


@pytest.mark.ray
@pytest.mark.parametrize("mode", ["token", "disabled"])
def test_a_sweep_joins_a_head_that_runs(head, mode, write, storage):
    address, environment = head(mode)
    command = [
        sys.executable,
        "-m",
        "orchestrator",
        "sweep",
        str(write(SPACE)),
        "--storage",
        str(storage),
        "--address",
        address,
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [t.status for t in open_sweep(storage, "space").trials()] == ["finished"]


def test_a_dead_address_is_refused_at_once(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    began = time.monotonic()
    with pytest.raises(UserError, match=r"--address 127.0.0.1:1: nobody answers there"):
        prepare_to_join("127.0.0.1:1")
    assert time.monotonic() - began < 10
    prepare_to_join(None)  # no cluster: nothing to check
    prepare_to_join("auto")
