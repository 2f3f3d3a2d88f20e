"""What tests share: one Ray for all, a data folder, a small tree of real images, and the command line in this process."""

from __future__ import annotations

import logging
import os
import random
import shutil
import sys
import tempfile
import uuid
from pathlib import Path

import numpy as np
import pytest
import torch

from results.record.checkpoint_policy import CheckpointPolicy
from results.record.layout import STOPPED
from results.record.sweep_writer import SweepWriter
from search_spaces import load_spec
from trainer import Report
from trainer.encoders import make_encoder
from trainer.files import write_json
from trainer.registry import REGISTRY

# One thread for each process of a test run: several tests run side by side. A trial of two threads, in a process of its own, has
# them sleep and not spin while they wait for each other: beside other tests spinning doubled its processor time (5 to 10 s).
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))

# Sweeps are marked as one's own by a key that is not the user's.
os.environ.setdefault("ALPHACL_KEY", os.path.join(tempfile.gettempdir(), f"alphacl-test-key-{os.getuid()}"))

TINY = ["--set", "epochs=1", "--set", "held_out=0.2"]


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist looks for the groups
def pytest_collection_modifyitems(items):
    """Keep the tests that share a database in one process, and those that share a Ray in two, by turns of their files."""
    with_ray = {item.path: None for item in items if "ray_here" in item.fixturenames}
    turns = {path: f"ray {turn % 2}" for turn, path in enumerate(with_ray)}
    for item in items:
        if "ray_here" in item.fixturenames:
            item.add_marker(pytest.mark.xdist_group(turns[item.path]))
        elif "postgresql" in item.fixturenames:
            item.add_marker(pytest.mark.xdist_group("postgresql"))


@pytest.fixture(autouse=True)
def seed(request):
    """A new seed for every test, printed when it fails; ALPHACL_TEST_SEED repeats one."""
    value = int(os.environ.get("ALPHACL_TEST_SEED") or random.SystemRandom().randrange(2**31))
    print(f"ALPHACL_TEST_SEED={value}")
    torch.manual_seed(value)
    return value


@pytest.fixture(autouse=True)
def own_components():
    """Forget the components that a test's plug-ins register, so that no other test meets them."""
    before = {kind: dict(components) for kind, components in REGISTRY.items()}
    yield
    for kind, components in REGISTRY.items():
        for name, component in list(components.items()):
            module = component.function.__module__
            if before[kind].get(name) is not component and not module.startswith("trainer."):
                del components[name]
                sys.modules.pop(module, None)


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


SPACE = """
description: two objectives on digits
keep_encoders: 0
trial: {epochs: 3, encoder: convnet(width=4), read_at: [2]}
space: {objective: [infonce, direct(p=2), uniform], tau: [0.1, 0.5], seed: [0, 1]}
"""


class NeverDue(CheckpointPolicy):
    """Saves no checkpoint."""

    def is_due(self):
        return False


class FakeSweep:
    """A sweep folder filled epoch by epoch, as workers do it, with figures drawn from a seed in place of training."""

    def __init__(self, storage, name, spec, seed):
        self.spec = spec
        self.folder = SweepWriter.create(storage, name, spec, {"environment": {"commit": "abc123+", "torch": "2.15.0"}})
        self.random = random.Random(seed)
        self.workers = {}

    @property
    def digests(self):
        return [t.digest for t in self.folder.record.trials()]

    @property
    def uri(self):
        """Where its pages are."""
        from orchestrator.tracking.addresses import tracking_uri

        return tracking_uri(self.folder.record)

    def follow(self, status="FINISHED"):
        """As a driver does it; returns the tracker, closed."""
        from orchestrator.tracking.tracker import Tracker

        tracker = Tracker(self.folder, self.uri)
        tracker.start()
        assert tracker.close(status), tracker.problem
        return tracker

    def begin(self, digest):
        self.workers[digest] = self.folder.trial(digest)
        return self.workers[digest].begin()

    def report(self, digest, epoch, saved=True):
        """The report of an epoch; the last one finishes the trial."""
        config = self.folder.read(digest).config
        accuracy = 50 + 10 * epoch + self.random.random()
        figures = {"val/linear": accuracy, "train/loss": -accuracy, "alpha/effective_negatives": 200.0 - epoch}
        if epoch == 0:
            figures |= {"untrained/linear": 40.0, "untrained/knn": 39.0}
        if epoch in (2, 3):
            figures |= {"test/linear": accuracy - 1, "test/knn": accuracy - 2}
        encoder = make_encoder(config["encoder"], 1, 8).state_dict()
        record = None
        if epoch == config["epochs"]:
            rows = [{k: v for k, v in row.items() if k != "at"} for row in self.folder.read(digest).reports]
            history = [*rows, {"epoch": epoch, **figures}]
            record = {
                "digest": digest, "config": config, "history": history,
                "metrics": {"untrained/linear": 40.0, "untrained/knn": 39.0, **figures},
                "environment": {"device": "cpu: x", "precision": "float32", "threads": 1},
            }  # fmt: skip
        worker = self.workers[digest]
        worker.policy = CheckpointPolicy(share=float("inf")) if saved else NeverDue()
        worker.add(Report(epoch, config["epochs"], figures, lambda: {"epoch": epoch, "encoder": encoder}, record))

    def run(self, digest, epochs=range(4)):
        self.begin(digest)
        for epoch in epochs:
            self.report(digest, epoch)

    def stop(self, digest, epoch):
        """As the pruner does it."""
        self.run(digest, range(epoch + 1))
        write_json(self.folder.trials / digest / STOPPED, {"epoch": epoch, "value": 1.0})


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory):
    """An MLflow database with nothing in it; making one takes seconds."""
    import mlflow

    file = tmp_path_factory.mktemp("store") / "mlflow.db"
    mlflow.MlflowClient(f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture
def fake_sweep(tmp_path, write, seed, empty_store):
    """``fake_sweep()`` → a :class:`FakeSweep` of ten trials in ``tmp_path/runs``, beside an empty store."""

    def make(name="s", storage=None, space=SPACE):
        storage = storage or tmp_path / "runs"
        storage.mkdir(exist_ok=True)
        shutil.copy(empty_store, storage / "mlflow.db")
        return FakeSweep(storage, name, load_spec(write(space)), seed)

    return make


@pytest.fixture(scope="session")
def s3_server():
    """One S3 server for all tests of this process."""
    from tests.s3_server import S3

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = S3()
    yield server
    server.stop()


@pytest.fixture
def s3(s3_server, tmp_path, monkeypatch):
    """The server, with credentials for it in the environment, and a cache that is empty."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in {**s3_server.environment, "AWS_EC2_METADATA_DISABLED": "true"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ALPHACL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    return s3_server


@pytest.fixture
def address(s3):
    """The address of a place in a new bucket."""
    return s3.make_bucket(f"bucket-{uuid.uuid4().hex}")
