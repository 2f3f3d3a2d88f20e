"""Three hosts: ``ray up``, ``ray job submit``, ``ray submit``; one host powered off and one cut off in the middle of a sweep."""

from __future__ import annotations

import re
import sqlite3
import time
from pathlib import Path

import pytest

from results.record.reader import open_sweep
from results.table import sweep_table
from tests.cluster.conftest import REPOSITORY, TRIALS, wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

SWEEP = "/mnt/alphacl/paced.yaml"
DECODED = "root/.cache/alphacl/cache/digits"
API = "http://127.0.0.1:8265"
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_API_SERVER_ADDRESS": API}


@pytest.fixture(scope="module")
def tunnel(cluster):
    """The head's dashboard on the laptop's port 8265."""
    process = cluster.laptop.start(f"cd ~/project && exec ray dashboard {cluster.FILE}", cluster.laptop.disk / "tunnel.log")
    knock = "python -c \"import socket; socket.create_connection(('127.0.0.1', 8265))\""
    wait_until(lambda: cluster.laptop.run(knock, check=False)[0] == 0, 30, "the tunnel to the dashboard")
    yield
    process.kill()
    process.wait()


@pytest.fixture(scope="module")
def calm(cluster, tunnel):
    """The sweep run by ``ray job submit`` with a token, undisturbed, its data in a folder that all share; → its output."""
    cluster.begin()
    job = f"alphacl sweep {SWEEP} --name calm --data-dir /mnt/data"
    return cluster.on_laptop(f"ray job submit --working-dir . --submission-id calm -- {job}", timeout=240, **TOKEN)[1]


def test_a_job_without_the_token_is_refused(cluster, tunnel):
    code, output = cluster.on_laptop("ray job submit --working-dir . -- alphacl spaces", check=False,
                                     RAY_AUTH_MODE="disabled", RAY_API_SERVER_ADDRESS=API)  # fmt: skip
    assert code != 0
    assert "401" in output or "nauthorized" in output, output
    ask = f"import requests; print(requests.get('{API}/api/jobs/').status_code)"
    assert cluster.laptop.run(["python", "-c", ask])[1].strip() == "401"


LISTENING = """
import psutil, re
for process in psutil.process_iter():
    for one in process.net_connections("inet"):
        if one.status == psutil.CONN_LISTEN and not one.laddr.ip.endswith("127.0.0.1"):
            print(re.match(r"(python|ray::[A-Za-z]+|[a-z_]+)", process.name())[0], one.laddr.port)
"""


def test_what_listens_beyond_a_hosts_loopback_is_what_the_documentation_lists(cluster):
    page = (REPOSITORY / "docs/security.md").read_text(encoding="utf-8")
    (row,) = [line for line in page.splitlines() if "| a sweep runs on this machine |" in line]
    listed = set(re.findall(r"`([^`]+)`", row.split("|")[1])) | {"ray::JobSupervisor", "sshd"}
    for host in cluster.hosts:
        found = [line.split() for line in host.run(["python", "-c", LISTENING])[1].splitlines()]
        assert {"raylet", "sshd"} <= {name for name, _ in found} <= listed, found
        assert (["gcs_server", "6379"] in found) == (host is cluster.head)
        assert "8265" not in [port for _, port in found], "the dashboard listens on the loopback"


def test_a_client_without_the_token_is_refused(cluster):
    code, output = cluster.on_laptop(f"ray health-check --address {cluster.head.ip}:6379", check=False, RAY_AUTH_MODE="disabled")
    assert code != 0
    assert "AuthenticationError" in output, output


def test_a_job_with_the_token_runs_the_sweep(cluster, calm):
    assert "digits: top-1 accuracy in %" in calm
    assert "paced(p=4)" in calm
    record = open_sweep(cluster.runs, "calm")
    assert [trial.status for trial in record.trials()] == ["finished"] * TRIALS
    assert "Job 'calm' succeeded" in cluster.on_laptop("ray job status calm", **TOKEN)[1]
    assert "digits: top-1 accuracy in %" in cluster.on_laptop("ray job logs calm", **TOKEN)[1]


def test_a_job_that_fails_says_so_by_its_exit_code(cluster, tunnel):
    code, output = cluster.on_laptop("ray job submit --working-dir . -- alphacl sweep quikstart", check=False, **TOKEN)
    assert code == 1
    assert "no search space 'quikstart'; did you mean 'quickstart'?" in output


def test_the_upload_leaves_out_what_git_ignores(cluster, calm):
    """The project's folder holds 60 MB in .venv, runs and data."""
    unpacked = (cluster.head.disk / "tmp/ray").glob("session_*/runtime_resources/working_dir_files/_ray_pkg_*")
    folders = [path for path in unpacked if path.is_dir()]
    assert folders
    for folder in folders:
        assert (folder / "orchestrator/cli.py").exists()
        assert not [name for name in (".venv", "runs", "data", ".git") if (folder / name).exists()]


def test_shared_data_are_decoded_once_for_all(cluster, calm):
    assert [entry.name for entry in (cluster.head.mnt / "data/cache").iterdir() if entry.is_dir()] == ["digits"]
    assert not [host.name for host in cluster.hosts if (host.disk / "root/.cache/alphacl/cache").exists()]


def test_results_are_fetched_and_read_on_the_laptop(cluster, calm):
    cluster.on_laptop("mkdir -p runs/calm")
    cluster.on_laptop(f"ray rsync-down {cluster.FILE} /mnt/alphacl/runs/calm/ runs/calm/")
    table = cluster.on_laptop("alphacl table calm --format csv")[1]
    assert table == sweep_table(open_sweep(cluster.runs, "calm"), "csv")


@pytest.fixture(scope="module")
def disturbed(cluster, calm):
    """The same sweep by ``ray submit``, one worker powered off and the other cut off on the way; → what was seen."""
    off, cut = cluster.workers
    log = cluster.laptop.disk / "submit.log"
    cluster.hold()
    process = cluster.submit(f"{SWEEP} --name disturbed --nodes 3", log)
    trials, seen = cluster.runs / "disturbed/trials", {}

    def begun(epochs: int) -> list[Path]:
        """The reports of the trials that have come so far."""
        assert process.poll() is None, log.read_text()
        return [file for file in trials.glob("*/attempt-0001/reports.jsonl") if file.read_text().count("\n") > epochs]

    wait_until(lambda: len(begun(0)) == 3, 120, "a trial on each host")
    for host in cluster.hosts:
        assert host.processes("ray::ImplicitFunc")
        seen[host.name] = (host.disk / DECODED).stat().st_ino
    cluster.begin()
    wait_until(lambda: len(begun(4)) == 3, 60, "four epochs of each")
    stale = cut.processes("ray::ImplicitFunc")
    off.power_off()
    cut.cut()
    cut.signal("STOP", stale)  # so that it is in the middle of its trial when another attempt at it has begun
    began, moment = time.monotonic(), time.time()
    lost = begun(4)
    wait_until(lambda: cluster.alive() == 1, 60, "two nodes given up")
    noticed = time.monotonic() - began

    def goes_on(first: Path) -> bool:
        return any(file.stat().st_mtime > moment + 1 for file in first.parent.parent.glob("attempt-*/reports.jsonl"))

    wait_until(lambda: all(map(goes_on, lost)), 150, "a new attempt at each lost trial")
    before = {file: file.stat().st_mtime_ns for file in trials.glob("*/*/*")}
    cut.signal("CONT", stale)  # the stale attempt goes on, and sees the storage
    time.sleep(3)
    written = [file for file in trials.glob("*/*/*") if before.get(file) != file.stat().st_mtime_ns]
    survivors = cut.processes("ray::ImplicitFunc")
    cut.rejoin()
    code = process.wait(timeout=240)
    print(f"given up after {noticed:.0f} s; the sweep ended {time.monotonic() - began:.0f} s after the disturbance;")
    print(f"{len(lost)} trials under way then; written within 3 s while two attempts ran: {[str(f)[-30:] for f in written]}")
    return {"code": code, "log": log.read_text(), "inodes": seen, "stale": stale, "survivors": survivors}


def test_a_sweep_outlives_a_host_powered_off_and_one_cut_off(cluster, disturbed):
    assert disturbed["code"] == 0, disturbed["log"][-3000:]
    assert disturbed["stale"]
    assert disturbed["survivors"] == disturbed["stale"]  # else nothing would be shown of a stale writer
    assert cluster.status("disturbed")["counts"]["finished"] == TRIALS
    assert cluster.status("disturbed")["state"] == "finished"


def test_its_table_is_that_of_the_undisturbed_sweep(cluster, disturbed):
    calm, other = open_sweep(cluster.runs, "calm"), open_sweep(cluster.runs, "disturbed")
    assert sweep_table(other, "csv").replace("disturbed", "calm") == sweep_table(calm, "csv")


def test_every_epoch_of_every_trial_is_that_of_the_undisturbed_sweep(cluster, disturbed):
    def rows(name: str) -> dict:
        kept = {}
        for trial in open_sweep(cluster.runs, name).trials():
            kept[trial.digest] = [{k: v for k, v in row.items() if k in ("epoch", "train/loss", "val/linear", "test/linear")}
                                  for row in trial.reports]  # fmt: skip
        return kept

    calm, other = rows("calm"), rows("disturbed")
    assert calm.keys() == other.keys()
    assert calm == other


def test_the_stale_writer_wrote_into_no_other_attempt(cluster, disturbed):
    trials = open_sweep(cluster.runs, "disturbed").trials()
    assert sum(len(list(t.folder.glob("attempt-*"))) > 1 for t in trials) >= 2, "the trials of both lost hosts were begun again"
    for trial in trials:
        lines = (trial.attempt / "reports.jsonl").read_text().splitlines()
        assert len(lines) == trial.config["epochs"] + 1
        assert not list(trial.folder.glob("*/checkpoint.pt")) or len(list(trial.folder.glob("attempt-*"))) > 1


def test_mlflow_has_every_trial_once(cluster, disturbed):
    with sqlite3.connect(f"file:{cluster.runs}/mlflow.db?mode=ro", uri=True) as database:
        runs = database.execute(
            "select r.status, count(*) from runs r join experiments e using (experiment_id) where e.name = 'disturbed'"
            " and r.lifecycle_stage = 'active' and r.name <> 'load of the driver''s machine' group by r.status"
        ).fetchall()
    assert dict(runs) == {"FINISHED": TRIALS + 1}  # and the parent


def test_every_host_decoded_the_data_once(cluster, disturbed):
    for host in cluster.hosts:
        entries = [e for e in (host.disk / "root/.cache/alphacl/cache").iterdir() if e.is_dir()]
        assert [(e.name, e.stat().st_ino) for e in entries] == [("digits", disturbed["inodes"][host.name])]


def test_submitting_again_goes_on_and_finds_nothing_to_do(cluster, disturbed):
    before = {file: file.stat().st_mtime_ns for file in (cluster.runs / "disturbed/trials").glob("*/result.json")}
    log = cluster.laptop.disk / "again.log"
    assert cluster.submit(f"{SWEEP} --name disturbed", log).wait(timeout=120) == 0, log.read_text()
    assert "disturbed is in /mnt/alphacl/runs already: going on with it" in log.read_text()
    assert {file: file.stat().st_mtime_ns for file in before} == before


def test_another_search_space_under_the_same_name_is_refused(cluster, disturbed):
    log = cluster.laptop.disk / "other.log"
    assert cluster.submit("quickstart --name disturbed", log).wait(timeout=120) == 1
    assert "was launched from another search space" in log.read_text()
