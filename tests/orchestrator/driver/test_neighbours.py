"""A sweep's neighbours on the machine and in the network: which ports they see, and that no password is shown to them."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from results.record.reader import open_sweep

pytestmark = [pytest.mark.ray, pytest.mark.server]

SPACE = """
plugins: [held]
trial: {dataset: digits, images: 200, epochs: 1, batch_size: 64, objective: held}
search: {trials: 1, seed: 1, metric: val/knn}
keep_encoders: 0
space: {tau: {float: [0.05, 1], log: true}}
"""
PLUGIN = '''
import os, time
from trainer.alphas import constructor

@constructor()
def held(d, tau: float):
    """InfoNCE, whose trial waits until its neighbours have looked; a batch has 128 anchors, the check of a plug-in 32."""
    while len(d.inter) == 128 and not os.path.exists(os.environ["LOOKED"]):
        time.sleep(0.05)
    return (-d.inter / tau).softmax(dim=1)
'''
DONE_S = 240


@dataclass(frozen=True)
class Seen:
    """What was seen of a sweep: who listened where, command lines, its output, and the folders that it wrote into."""

    listening: set[tuple[str, str]]
    command_lines: str
    output: str
    folder: Path
    session: Path
    password: str


@pytest.fixture(scope="module")
def seen(data_root, postgresql, empty_store, tmp_path_factory):
    """One sweep of one trial, with the password of its MLflow server and of its study's database in the environment."""
    from tests.orchestrator.conftest import Server

    folder, password = tmp_path_factory.mktemp("neighbours"), f"pw{uuid.uuid4().hex}"
    session = Path(tempfile.mkdtemp(prefix="alphacl-ray-", dir="/tmp"))  # Ray's, whose sockets bear no long path
    (folder / "held.py").write_text(PLUGIN)
    (folder / "space.yaml").write_text(SPACE)
    (folder / "home").mkdir()
    server = Server(folder / "server")
    shutil.copy(empty_store, folder / "server/server.db")
    server.start()
    uri, study = server.uri.replace("//", "//ada@"), postgresql("neighbours")
    secret = {
        "ALPHACL_TRACKING_URI": uri.replace("@", f":{password}@"),
        "ALPHACL_STUDY_STORAGE": study.replace("@", f":{password}@"),
    }
    here = {"HOME": str(folder / "home"), "RAY_TMPDIR": str(session), "LOOKED": str(folder / "looked")}
    command = [sys.executable, "-m", "orchestrator", "sweep", str(folder / "space.yaml"), "--storage", str(folder / "runs")]
    log = folder / "log"
    with open(log, "wb") as out:
        process = subprocess.Popen(
            [*command, "--tracking-uri", uri, "--study-storage", study],
            env={**os.environ, **secret, **here},
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + DONE_S
            while not list(folder.glob("runs/space/trials/*/attempt-0001/reports.jsonl")):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)
            family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
            listening, lines = set(), []
            for one in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    lines.append(" ".join(one.cmdline()))
                    ips = {c.laddr.ip for c in one.net_connections("inet") if c.status == psutil.CONN_LISTEN}
                    listening |= {(one.name(), ip) for ip in ips}
            (folder / "looked").touch()
            assert process.wait(DONE_S) == 0, log.read_text()
            yield Seen(listening, "\n".join(lines), log.read_text(), folder, session, password)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            server.kill()
            shutil.rmtree(session, ignore_errors=True)


def test_nothing_listens_beyond_the_loopback(seen):
    assert {ip.removeprefix("::ffff:") for _, ip in seen.listening} == {"127.0.0.1"}
    page = (Path(__file__).parents[3] / "docs/security.md").read_text(encoding="utf-8")
    (row,) = [line for line in page.splitlines() if "| a sweep runs on this machine |" in line]
    names = {re.match(r"(python|ray::[A-Za-z]+|\w+)", name)[0] for name, _ in seen.listening}
    listed = set(re.findall(r"`([^`]+)`", row.split("|")[1]))
    assert names <= listed, "docs/security.md lists what listens; Ray's own agents may do so later than the trial's first epoch"
    assert {"gcs_server", "raylet"} <= names, "Ray's processes were seen"


def test_ray_has_asked_for_a_token(seen):
    token = seen.folder / "home/.ray/auth_token"
    assert token.stat().st_mode & 0o077 == 0


def test_a_password_is_in_no_file_command_line_output_or_store(seen):
    assert [trial.status for trial in open_sweep(seen.folder / "runs", "space").trials()] == ["finished"]
    assert "tracking" in seen.command_lines, "MLflow's process was seen"
    assert seen.password not in seen.command_lines
    assert seen.password not in seen.output
    files = [f for folder in (seen.folder, seen.session) for f in folder.rglob("*") if f.is_file() and not f.is_symlink()]
    assert [f for f in files if seen.password.encode() in f.read_bytes()] == []
    assert any(f.name.startswith("raylet") for f in files), "Ray's logs were searched"
    assert (seen.folder / "server/server.db").stat().st_size > 100_000, "MLflow's store was searched"
