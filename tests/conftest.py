"""What tests share: one Ray for all, a data folder, a small tree of real images, and the command line in this process."""

from __future__ import annotations

import glob
import os
import pwd
import random
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch

TINY = ["--set", "epochs=1", "--set", "held_out=0.2"]


@pytest.fixture(autouse=True)
def seed(request):
    """A new seed for every test, printed when it fails; ALPHACL_TEST_SEED repeats one."""
    value = int(os.environ.get("ALPHACL_TEST_SEED") or random.SystemRandom().randrange(2**31))
    print(f"ALPHACL_TEST_SEED={value}")
    torch.manual_seed(value)
    return value


@pytest.fixture(scope="session")
def data_root(tmp_path_factory):
    """Downloads and decoded images of this test run."""
    root = tmp_path_factory.mktemp("data")
    os.environ["ALPHACL_DATA"] = str(root)
    return root


@pytest.fixture(scope="session")
def image_tree(tmp_path_factory):
    """A tree of real scans as image files: three classes, 40 training and 12 test images each, 16×16 RGB JPEG and PNG."""
    from PIL import Image
    from sklearn.datasets import load_digits

    root = tmp_path_factory.mktemp("tree")
    bunch = load_digits()
    for label in range(3):
        scans = bunch.images[bunch.target == label][:52]
        for place, scan in enumerate(scans):
            folder = root / ("train" if place < 40 else "test") / f"digit{label}"
            folder.mkdir(parents=True, exist_ok=True)
            image = Image.fromarray(np.uint8(scan * 15)).convert("RGB").resize((16, 16))
            image.save(folder / f"{place:03}.{'jpg' if place % 2 else 'png'}")
    return root


@pytest.fixture(scope="session")
def ray_here():
    """One Ray for all tests of this run, with a temporary folder of its own."""
    import ray

    from orchestrator.nodes import OBJECT_STORE_BYTES

    folder = Path(tempfile.mkdtemp(prefix="alphacl-ray-", dir="/tmp"))
    ray.init(
        address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=OBJECT_STORE_BYTES,
        _temp_dir=str(folder),
    )  # fmt: skip
    yield
    ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def alphacl(capsys):
    """The command line in this process: ``alphacl('sweep', …)`` → (exit code, standard output, standard error)."""
    from orchestrator.cli import main

    def run(*words: object):
        capsys.readouterr()
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def write(tmp_path):
    """Write a search space: ``write('trial: …')`` → its file."""

    def put(text: str, name: str = "space.yaml") -> Path:
        file = tmp_path / name
        file.write_text(text, encoding="utf-8")
        return file

    return put


@pytest.fixture(scope="session")
def postgresql():
    """A PostgreSQL server of this test run on a free port of the loopback; yields a function: database name → its URL."""
    found = [shutil.which("initdb"), *sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"), reverse=True)]
    tools = next((Path(file).resolve().parent for file in found if file), None)
    if tools is None:
        pytest.skip("PostgreSQL's initdb is not installed")
    user = {"user": pwd.getpwnam("nobody").pw_uid} if os.getuid() == 0 else {}  # the server refuses to run as root
    folder = Path(tempfile.mkdtemp(prefix="alphacl-pg-", dir="/tmp"))
    shutil.chown(folder, user.get("user", os.getuid()))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def run(*words: str) -> None:
        done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=folder, **user)
        assert done.returncode == 0, done.stdout + done.stderr

    server = [str(tools / "pg_ctl"), "-D", str(folder / "data"), "-w"]
    run(str(tools / "initdb"), "-D", str(folder / "data"), "-U", "alphacl", "-A", "trust", "--no-sync", "-E", "UTF8")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
    run(*server, "-l", str(folder / "log"), "-o", options, "start")

    def database(name: str) -> str:
        run(str(tools / "createdb"), "-h", "127.0.0.1", "-p", str(port), "-U", "alphacl", name)
        return f"postgresql://alphacl@127.0.0.1:{port}/{name}"

    database.stop = lambda: run(*server, "-m", "immediate", "stop")
    database.start = lambda: run(*server, "-l", str(folder / "log"), "-o", options, "start")
    yield database
    subprocess.run([*server, "-m", "immediate", "stop"], capture_output=True, check=False, cwd=folder, **user)
    shutil.rmtree(folder, ignore_errors=True)
