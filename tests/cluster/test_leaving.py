"""A node of two whose end is announced: its trial saves every epoch, and goes on elsewhere without costing a retry."""

from __future__ import annotations

import re
import signal
import subprocess
import sys

import psutil
import pytest

from results.record.reader import open_sweep
from tests.cluster.conftest import wait_until
from trainer.files import load_checkpoint

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

SLOW = """
import time
import torch
from trainer.alphas import constructor
from trainer.pairs import Pairs

@constructor(p="> 0")
def slow(d: Pairs, tau: float, p: float = 4.0) -> torch.Tensor:
    '''direct(p), in its own time.'''
    if len(d.inter) == 512:
        time.sleep(0.3)
    return torch.softmax(-d.inter.pow(p / 2) / tau, dim=1)
"""
SPACE = """
plugins: [slow]
trial: {dataset: digits, images: 400, batch_size: 256, epochs: 60, tau: 0.5, objective: slow}
space: {seed: [0, 1]}
retries: 0
keep_encoders: 0
"""
SMALL = {"num_cpus": 1, "object_store_memory": 80_000_000}


def test_a_node_that_leaves_saves_its_trial_which_goes_on_elsewhere(tmp_path, monkeypatch):
    from ray.cluster_utils import Cluster

    (tmp_path / "slow.py").write_text(SLOW)
    (tmp_path / "s.yaml").write_text(SPACE)
    monkeypatch.setenv("ALPHACL_SAVE_SHARE", "1e-9")  # of the nodes: the first epoch is saved, then none for years
    driver = None
    nodes = Cluster(initialize_head=True, head_node_args={**SMALL, "include_dashboard": False})
    try:
        added = nodes.add_node(**SMALL)
        raylet = psutil.Process(added.all_processes["raylet"][0].process.pid)
        words = ["sweep", str(tmp_path / "s.yaml"), "--storage", str(tmp_path / "runs"), "--address", nodes.address]
        with open(tmp_path / "log", "wb") as log:
            driver = subprocess.Popen([sys.executable, "-m", "orchestrator", *words], stdout=log, stderr=log)
        wait_until(lambda: (tmp_path / "runs/s/sweep.json").exists(), 240, "a sweep")
        record = open_sweep(tmp_path / "runs", "s")

        def trial_there():
            assert driver.poll() is None, (tmp_path / "log").read_text()[-3000:]
            workers = {str(child.pid) for child in raylet.children(recursive=True)}
            for trial in record.trials():
                log = trial.attempt / "output.log" if trial.attempt else None
                if len(trial.reports) > 4 and workers & set(re.findall(r"process (\d+)", log.read_text())):
                    return trial
            return None

        trial = wait_until(trial_there, 240, "a trial on the node that leaves")
        checkpoint = trial.attempt / "checkpoint.pt"

        def saved():
            return load_checkpoint(checkpoint, lambda line: None)["epoch"]

        assert saved() == 0, "nothing since the first epoch"
        leave = [sys.executable, "-m", "orchestrator.leave", "--address", nodes.address, "--seconds", "90"]
        leave += ["--node", added.node_id]
        done = subprocess.run(leave, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "its trials save a checkpoint after every epoch" in done.stdout
        epoch = wait_until(lambda: saved() or None, 30, "a checkpoint")
        assert epoch > 4
        raylet.send_signal(signal.SIGTERM)
        assert driver.wait(300) == 0, (tmp_path / "log").read_text()[-3000:]
    finally:
        if driver is not None and driver.poll() is None:
            driver.kill()
        nodes.shutdown()
    trials = record.trials()
    assert [t.status for t in trials] == ["finished", "finished"]
    (moved,) = [t for t in trials if t.digest == trial.digest]
    assert moved.attempt.name == "attempt-0002"
    begun = re.search(r"from epoch (\d+)", (moved.attempt / "output.log").read_text())
    assert int(begun[1]) >= epoch
    assert [row["epoch"] for row in moved.reports] == list(range(61))
