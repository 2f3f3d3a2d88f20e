"""``slurm.sh`` on two hosts, run as sbatch runs it, with a stand-in for srun that starts the command once on every node."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from results.record.reader import open_sweep

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

HERE = Path(__file__).parent
SWEEP = "quickstart --set tau=[0.5] --set seed=[0] --set epochs=2"


@pytest.fixture(scope="module")
def sbatch(switch):
    """Run the script with some arguments on the job's first node; → exit code and output."""
    nodes = switch.add("node1", "node2")
    for node in nodes:  # as in a home that nodes share
        (node.disk / "root/.ray").mkdir()
        (node.disk / "root/.ray/auth_token").write_text("ab" * 32)
    tools = switch.shared / "bin"
    tools.mkdir()
    for tool in ("srun", "scontrol"):
        shutil.copy(HERE / tool, tools)

    def run(words: str) -> tuple[int, str]:
        slurm = {"SLURM_JOB_ID": "4711", "SLURM_JOB_NUM_NODES": "2", "SLURM_CPUS_ON_NODE": "1"}
        slurm["SLURM_JOB_NODELIST"] = "node1,node2"
        own = {"ALPHACL_VENV": sys.prefix, "ALPHACL_STORAGE": "/mnt/slurm", "USER": "root"}
        own["PATH"] = f"/mnt/bin:{nodes[0].environment['PATH']}"
        return nodes[0].run(f"bash orchestrator/clusters/slurm.sh {words}", timeout=280, check=False, **slurm, **own)

    yield run
    for node in nodes:
        node.power_off()


def test_a_job_runs_the_sweep_on_all_its_nodes(sbatch, switch):
    code, output = sbatch(SWEEP)
    assert code == 0, output
    assert "2 nodes share /mnt/slurm" in output
    assert [trial.status for trial in open_sweep(switch.shared / "slurm", "quickstart").trials()] == ["finished"] * 4


def test_the_exit_code_is_the_sweeps(sbatch):
    code, output = sbatch("quikstart")
    assert code == 2, output
    assert "did you mean 'quickstart'" in output
