"""What tests share: one Ray for all, a data folder, a small tree of real images, and the command line in this process."""

from __future__ import annotations

import os
import random
import shutil
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

    from orchestrator.driver.ray_cluster import OBJECT_STORE_BYTES

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
        try:
            code = main([str(word) for word in words])
        except SystemExit as left:  # from the parser of the options
            code = left.code
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
