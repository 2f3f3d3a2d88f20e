"""A node with one (logical) GPU and ``resources: {gpu: 0.5}``: two trials at a time see it, with their own CPU threads."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

MPS_STAND_IN = Path(__file__).parent.parent / "orchestrator" / "driver"  # its nvidia-cuda-mps-control

# An objective that writes down where it is computed, and gives a second trial time to begin beside it.
SPY = '''
import json, os, pathlib, time, torch
import trainer.trial
from trainer.alphas import constructor
from trainer.pairs import Pairs

seen = pathlib.Path(os.environ["SPY"])
deadline = time.time() + float(os.environ["SPY_WAIT"])

asked = []

def on_a_cpu(name):  # the GPU is a logical one
    asked.append(name)
    return torch.device("cpu")

trainer.trial._device = on_a_cpu

@constructor()
def spy(d: Pairs, tau: float) -> torch.Tensor:
    """A trial that says where it runs; a batch has 512 anchors, the check of a plug-in 32."""
    if len(d.inter) != 512:
        return torch.softmax(-d.inter / tau, dim=1)
    row = {"at": time.time(), "devices": os.environ.get("CUDA_VISIBLE_DEVICES"), "threads": torch.get_num_threads()}
    row["asked"], row["pipes"] = asked[-1], os.environ.get("CUDA_MPS_PIPE_DIRECTORY")
    with open(seen / str(os.getpid()), "a") as file:
        file.write(json.dumps(row) + "\\n")
    while len(list(seen.iterdir())) < 2 and time.time() < deadline:
        time.sleep(0.1)
    return torch.softmax(-d.inter / tau, dim=1)
'''

DRIVER = """
import sys
import ray
from orchestrator.driver.ray_cluster import OBJECT_STORE_BYTES
ray.init(address="local", num_cpus=4, num_gpus=1, include_dashboard=False, log_to_driver=False,
                object_store_memory=OBJECT_STORE_BYTES, _temp_dir=sys.argv[1])
from orchestrator.cli import main
sys.exit(main(sys.argv[2:]))
"""

SPACE = """
plugins: [spy]
trial: {{dataset: digits, images: 300, batch_size: 256, epochs: 1, objective: spy}}
space: {{seed: [0, 1]}}
resources: {{cpu: {cpu}, gpu: {gpu}}}
keep_encoders: 0
"""


@pytest.fixture
def ray_folder():
    folder = tempfile.mkdtemp(prefix="alphacl-ray-", dir="/tmp")  # sockets in it need a short path
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.ray
@pytest.mark.parametrize(("cpu", "gpu", "at_once", "wait"), [(1, 0.5, 2, 100), (2, 1, 1, 8)])
def test_trials_share_the_gpu_as_asked(cpu, gpu, at_once, wait, tmp_path, ray_folder, data_root, empty_store, write):
    (tmp_path / "spy.py").write_text(SPY)
    seen = tmp_path / "seen"
    seen.mkdir()
    (tmp_path / "runs").mkdir()
    shutil.copy(empty_store, tmp_path / "runs" / "mlflow.db")
    space = write(SPACE.format(cpu=cpu, gpu=gpu))
    command = [sys.executable, "-c", DRIVER, ray_folder, "sweep", str(space), "--storage", str(tmp_path / "runs")]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    environment |= {"SPY": str(seen), "SPY_WAIT": str(wait), "TMPDIR": str(tmp_path)}
    environment["PATH"] = os.pathsep.join([str(MPS_STAND_IN), environment["PATH"]])
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {file.name: [json.loads(line) for line in file.read_text().splitlines()] for file in seen.iterdir()}
    spans = [(steps[0]["at"], steps[-1]["at"]) for steps in rows.values()]
    assert {row["devices"] for steps in rows.values() for row in steps} == {"0"}
    assert {row["asked"] for steps in rows.values() for row in steps} == {"cuda"}
    assert {row["threads"] for steps in rows.values() for row in steps} == {cpu}
    shared = at_once == 2
    pipes = tmp_path / f"alphacl-mps-{os.getuid()}" / "pipes"
    assert {row["pipes"] for steps in rows.values() for row in steps} == {str(pipes) if shared else None}
    assert ("trials that share a GPU compute side by side" in done.stderr) == shared
    assert not (pipes / "daemon").exists()  # it was stopped
    assert max(sum(a <= moment <= b for a, b in spans) for span in spans for moment in span) == at_once
