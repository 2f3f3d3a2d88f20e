"""A cluster of three hosts and a laptop, brought up as orchestrator/clusters/README.md says."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.hosts import Switch, why_not

REPOSITORY = Path(__file__).parents[2]
SMALL = "--num-cpus=1 --object-store-memory=100000000"
# A node that is not heard of is given up after 9 seconds, not after 63.
HASTY = "".join(f"export RAY_health_check_{key}={value}; " for key, value in
                {"initial_delay_ms": 1000, "period_ms": 1000, "timeout_ms": 2000, "failure_threshold": 3}.items())  # fmt: skip

# A sweep of six real trials whose epochs last half a second at least and begin when a file is there: the test decides when. A
# host that is lost is no failure of its trial, so retries: 0 does not end that.
PLUGIN = '''
import os, time
import torch
from trainer.alphas import constructor
from trainer.pairs import Pairs

@constructor(p="> 0")
def paced(d: Pairs, tau: float, p: float = 4.0) -> torch.Tensor:
    """direct(p), in its own time; a batch has 512 anchors, the check of a plug-in 32."""
    if len(d.inter) == 512:
        while not os.path.exists("/mnt/alphacl/begin"):
            time.sleep(0.05)
        time.sleep(0.5)
    return torch.softmax(-d.inter.pow(p / 2) / tau, dim=1)
'''
SPACE = """
plugins: [paced]
trial: {dataset: digits, images: 400, batch_size: 256, epochs: 20, tau: 0.5}
space: {objective: [paced(p=2), paced(p=4)], seed: [0, 1, 2]}
retries: 0
"""
TRIALS = 6


def wait_until(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """Ask until the answer is true; returns it."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.2)
    return answer


@pytest.fixture(scope="session")
def switch():
    """A network to put hosts on; skipped where that can't be."""
    reason = why_not()
    if reason:
        pytest.skip(f"no hosts out of namespaces: {reason}")
    folder = Path(tempfile.mkdtemp(prefix="alphacl-hosts-", dir="/tmp"))
    try:
        with Switch(folder, REPOSITORY) as made:
            yield made
    finally:
        shutil.rmtree(folder)


class Cluster:
    """A laptop, a head and two workers of one CPU each, which share /mnt or nothing. ``runs`` lies in the head's /mnt."""

    FILE = "orchestrator/clusters/local.yaml"

    def __init__(self, switch: Switch, names: str = "laptop head worker1 worker2", shares: bool = True) -> None:
        self.laptop, self.head, *self.workers = switch.add(*names.split(), shares=shares)
        self.hosts = [self.head, *self.workers]
        self.mounts = {host.mnt for host in (self.laptop, *self.hosts)}
        self.runs = self.head.mnt / "alphacl" / "runs"
        for mount in self.mounts:
            (mount / "alphacl").mkdir()
            (mount / "alphacl/paced.py").write_text(PLUGIN)
            (mount / "alphacl/paced.yaml").write_text(SPACE)
        self.project = self.laptop.disk / "root/project"  # a clone, with what a clone gathers
        only_tracked = ["--filter", "dir-merge,- .gitignore", "--exclude", ".git", "--exclude", ".venv"]  # which may be a link
        subprocess.run(["rsync", "-a", *only_tracked, f"{REPOSITORY}/", self.project], check=True)
        for ballast in (".venv/lib", "runs/old", "data/images"):
            (self.project / ballast).mkdir(parents=True)
            (self.project / ballast / "ballast").write_bytes(os.urandom(20_000_000))
        (self.project / self.FILE).write_text(yaml.safe_dump(self.config()))

    def config(self) -> dict[str, Any]:
        """local.yaml with these hosts' addresses, small nodes, and this Python in place of an install."""
        config: dict[str, Any] = yaml.safe_load((REPOSITORY / self.FILE).read_text())
        config["provider"] |= {"head_ip": self.head.ip, "worker_ips": [worker.ip for worker in self.workers]}
        config["auth"]["ssh_user"] = "root"
        (install,) = [place for place, line in enumerate(config["setup_commands"]) if "pip install" in line]
        config["setup_commands"][install] = f"ln -sfn {sys.prefix} ~/alphacl-venv"
        config["setup_commands"][-1] = config["setup_commands"][-1].replace("$HOME/alphacl-runs", "/mnt/alphacl/runs")
        config["setup_commands"].append("echo 'export PYTHONPATH=$HOME/alphacl' >> ~/.alphacl.sh")
        for key in ("head_start_ray_commands", "worker_start_ray_commands"):
            config[key][-1] = HASTY + config[key][-1].rstrip() + f" {SMALL}"
        return config

    def begin(self) -> None:
        """Let epochs begin."""
        for mount in self.mounts:
            (mount / "alphacl/begin").touch()

    def hold(self) -> None:
        """Let no epoch begin."""
        for mount in self.mounts:
            (mount / "alphacl/begin").unlink(missing_ok=True)

    def on_laptop(self, line: str, timeout: float = 120, check: bool = True, **env: str) -> tuple[int, str]:
        """A command of the user's, in the project's folder."""
        return self.laptop.run(f"cd ~/project && {line}", timeout, check, **({"PYTHONPATH": "/root/project"} | env))

    def on_head(self, line: str) -> str:
        """What a command says to somebody who has logged in on the head."""
        return self.head.run(["bash", "--login", "-c", f". ~/.bashrc; {line}"])[1]

    def up(self) -> None:
        """The README's first steps: a token, then ``ray up``; and wait for the workers."""
        self.on_laptop("ray get-auth-token --generate")
        self.on_laptop(f"ray up --yes {self.FILE}", timeout=180)
        wait_until(lambda: self.alive() == 3, 120, "three nodes")

    def alive(self) -> int:
        """How many nodes the head takes to be alive."""
        code = "import ray; ray.init('auto', log_to_driver=False, logging_level='error')"
        code += "; print('alive', sum(node['Alive'] for node in ray.nodes()))"
        return int(re.findall(r"^alive (\d+)$", self.on_head(f'python -c "{code}"'), re.MULTILINE)[0])

    def submit(self, words: str, log: Path) -> subprocess.Popen[Any]:
        """``ray submit`` a sweep; it goes on while the test does."""
        line = f"cd ~/project && ray submit {self.FILE} orchestrator/submit.py {words}"
        return self.laptop.start(line, log, PYTHONPATH="/root/project")

    def status(self, name: str) -> dict[str, Any]:
        """What ``alphacl status`` says on the head."""
        found: dict[str, Any] = json.loads(self.on_head(f"alphacl status {name} --json"))
        return found


@pytest.fixture(scope="session")
def cluster(switch):
    """The cluster, up and running."""
    made = Cluster(switch)
    made.up()
    return made
