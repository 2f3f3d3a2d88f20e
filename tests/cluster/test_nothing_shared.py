"""Three hosts that share nothing: workers record through the head; one host powered off and one cut off in the middle."""

from __future__ import annotations

import pytest

from results.record.reader import open_sweep
from results.table import sweep_table
from tests.cluster.conftest import TRIALS, Cluster, wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

SPACE = "/mnt/alphacl/paced.yaml"


@pytest.fixture(scope="module")
def apart(switch):
    """Hosts whose /mnt is their own."""
    return Cluster(switch, "laptop2 head2 worker3 worker4", shares=False)


@pytest.fixture(scope="module")
def calm(apart):
    """The sweep on one host alone, undisturbed."""
    apart.begin()
    line = f"alphacl sweep {SPACE} --name s --storage /mnt/alphacl/calm"
    apart.head.run(line, timeout=300)
    apart.hold()
    return open_sweep(apart.head.mnt / "alphacl/calm", "s")


@pytest.fixture(scope="module")
def disturbed(apart, calm):
    """The same on three hosts, of which one is powered off and one cut off; → exit code and output of ``ray submit``."""
    apart.up()
    off, cut = apart.workers
    log = apart.laptop.disk / "submit.log"
    process = apart.submit(f"{SPACE} --name s --nodes 3", log)

    def begun(epochs: int) -> list:
        assert process.poll() is None, log.read_text()[-3000:]
        rows = apart.runs.glob("s/trials/*/attempt-0001/reports.jsonl")
        return [file for file in rows if file.read_text().count("\n") > epochs]

    wait_until(lambda: len(begun(0)) == 3, 180, "a trial on each host")
    for host in apart.hosts:
        assert host.processes("ray::ImplicitFunc"), host.name
    apart.begin()
    wait_until(lambda: len(begun(4)) == 3, 120, "four epochs of each")
    wait_until(lambda: len(list(apart.runs.glob("s/trials/*/*/checkpoint.pt"))) == 3, 60, "a checkpoint of each")
    off.power_off()
    cut.cut()
    wait_until(lambda: apart.alive() == 1, 90, "two nodes given up")
    cut.rejoin()
    return process.wait(timeout=400), log.read_text()


def test_a_sweep_without_a_shared_disk_outlives_a_host_powered_off_and_one_cut_off(apart, disturbed):
    code, output = disturbed
    assert code == 0, output[-3000:]
    assert "2 of 3 nodes do not see /mnt/alphacl/runs" in output
    trials = open_sweep(apart.runs, "s").trials()
    assert [trial.status for trial in trials] == ["finished"] * TRIALS
    assert sum(len(list(trial.folder.glob("attempt-*"))) > 1 for trial in trials) == 2, "those of the two lost hosts"
    for host in apart.workers:
        assert not (host.mnt / "alphacl/runs").exists(), "the workers' disks hold nothing of it"


def test_its_table_and_every_epoch_are_those_of_the_undisturbed_sweep(apart, calm, disturbed):
    other = open_sweep(apart.runs, "s")
    assert sweep_table(other, "csv") == sweep_table(calm, "csv")
    columns = ("epoch", "train/loss", "val/linear", "test/linear")

    def rows(sweep) -> dict:
        return {t.digest: [{k: row[k] for k in columns if k in row} for row in t.reports] for t in sweep.trials()}

    assert rows(other) == rows(calm)
