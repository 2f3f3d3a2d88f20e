"""The tracker against real MLflow servers: killed and started again, silent, losing answers, over PostgreSQL, with a password."""

import importlib.util
import random
import shutil
import signal
import socket
import threading
import time

import pytest

from orchestrator.tracking.rebuild import rebuild
from orchestrator.tracking.tracker import Tracker
from tests.mlflow_runs import runs_of
from trainer.errors import UserError

pytestmark = pytest.mark.server

SMALL = """
trial: {epochs: 3, encoder: convnet(width=4), read_at: [2]}
space: {objective: [infonce, uniform], tau: [0.1], seed: [0, 1]}
"""


@pytest.fixture(autouse=True)
def unhurried(monkeypatch):
    """A machine that runs other tests as well may answer late."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "100")


def open_tracker(sweep, uri):
    """One whose thread does not wait long after a failure."""
    tracker = Tracker(sweep.folder, uri, keep=0)
    tracker.back_off = 0.5
    return tracker


def run_some(sweep, tracker, digests):
    for digest in digests:
        sweep.begin(digest)
        for epoch in range(4):
            sweep.report(digest, epoch)
            tracker.mark([digest])
            time.sleep(0.05)


@pytest.fixture
def written_from_scratch(tmp_path, empty_store, holdings):
    """``written_from_scratch(sweep)`` → what a new store would hold of it."""

    def write(sweep):
        shutil.copy(empty_store, tmp_path / "scratch.db")
        uri = f"sqlite:///{tmp_path / 'scratch.db'}"
        rebuild(sweep.folder, uri, keep=0)
        return holdings(uri)

    return write


def test_a_server_that_is_killed_and_comes_back_misses_and_doubles_nothing(
    fake_sweep, server, written_from_scratch, holdings, deleted_runs
):
    sweep, here = fake_sweep(space=SMALL), server()
    tracker = open_tracker(sweep, here.uri)
    tracker.start()
    run_some(sweep, tracker, sweep.digests[:2])
    here.kill()
    run_some(sweep, tracker, sweep.digests[2:3])
    deadline = time.monotonic() + 30
    while "nothing answers there" not in tracker.problem:
        assert time.monotonic() < deadline, tracker.problem
        time.sleep(0.1)
    here.start()
    run_some(sweep, tracker, sweep.digests[3:])
    assert tracker.close("FINISHED"), tracker.problem
    assert tracker.problem == ""
    held = holdings(here.uri)
    assert len(held) == 6
    assert held == written_from_scratch(sweep)
    assert deleted_runs(here.uri) == []


def test_a_silent_server_holds_up_neither_the_sweep_nor_its_end(fake_sweep, server, written_from_scratch, holdings, monkeypatch):
    sweep, here = fake_sweep(space=SMALL), server()
    tracker = open_tracker(sweep, here.uri)
    here.signal(signal.SIGSTOP)  # it takes connections, and says nothing
    tracker.start()
    run_some(sweep, tracker, sweep.digests)
    assert all(t.result for t in sweep.folder.record.trials())
    assert tracker.problem == ""  # the whole sweep ran while the writer waited for one answer
    assert set(sweep.digests) - set(tracker.store.runs), "what the server has not answered counts as written"
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")  # of the requests that follow, one of which the end must wait for
    here.signal(signal.SIGCONT)
    deadline = time.monotonic() + 100
    while set(sweep.digests[:1]) - set(tracker.store.runs):
        assert time.monotonic() < deadline, tracker.problem
        time.sleep(0.1)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    here.signal(signal.SIGSTOP)
    assert not tracker.close("FINISHED", patience=1)
    assert "it timed out" in tracker.problem
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "100")
    here.signal(signal.SIGCONT)
    rebuild(sweep.folder, here.uri, keep=0)
    assert holdings(here.uri) == written_from_scratch(sweep)


class LosesAnswers:
    """A proxy that passes requests on, and some answers not: the request was carried out, and nobody hears of it."""

    def __init__(self, port, lose):
        self.port, self.lose, self.seen = port, lose, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.uri = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        request = client.recv(1 << 20)
        head, _, body = request.partition(b"\r\n\r\n")
        length = next((int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")), 0)
        while len(body) < length:
            body += client.recv(1 << 20)
        kept = [line for line in head.split(b"\r\n") if not line.lower().startswith((b"connection", b"host"))]
        kept[1:1] = [b"Connection: close", b"Host: 127.0.0.1:%d" % self.port]
        with socket.create_connection(("127.0.0.1", self.port)) as upstream:
            upstream.sendall(b"\r\n".join(kept) + b"\r\n\r\n" + body)
            answer = b""
            while piece := upstream.recv(1 << 20):
                answer += piece
        self.seen += 1
        if not self.lose(self.seen):
            client.sendall(answer)
        client.close()


def test_requests_whose_answer_is_lost_are_not_carried_out_twice(fake_sweep, server, written_from_scratch, holdings, seed):
    sweep, here = fake_sweep(space=SMALL), server()
    dice = random.Random(seed)
    proxy = LosesAnswers(here.port, lambda number: number > 12 and dice.random() < 0.1)
    tracker = open_tracker(sweep, proxy.uri)
    tracker.start()
    run_some(sweep, tracker, sweep.digests)
    time.sleep(3)
    proxy.lose = lambda number: False
    assert tracker.close("FINISHED"), tracker.problem
    assert tracker.store.doubted is False
    assert holdings(here.uri) == written_from_scratch(sweep)


def test_a_server_over_postgresql(fake_sweep, server, postgres, written_from_scratch, holdings):
    sweep, here = fake_sweep(space=SMALL), server(backend=postgres)
    tracker = open_tracker(sweep, here.uri)
    tracker.start()
    run_some(sweep, tracker, sweep.digests[:2])
    here.kill()
    here.start()
    run_some(sweep, tracker, sweep.digests[2:])
    assert tracker.close("FINISHED"), tracker.problem
    scratch = written_from_scratch(sweep)
    assert holdings(here.uri) == scratch
    rebuild(sweep.folder, here.uri, keep=0)
    assert holdings(here.uri) == scratch


def test_postgresql_without_a_server(fake_sweep, postgres, written_from_scratch, holdings):
    sweep = fake_sweep(space=SMALL)
    for digest in sweep.digests[:2]:
        sweep.run(digest)
    rebuild(sweep.folder, postgres, keep=0)
    held = holdings(postgres)
    assert len(held) == 4
    assert "accuracy.md" in held["sweep"]["artifacts"]
    assert list((sweep.folder.path.parent / "mlartifacts" / "s").iterdir())


@pytest.fixture
def guarded(server):
    """A server that asks for a password."""
    if importlib.util.find_spec("flask_wtf") is None:
        pytest.skip("flask-wtf is not installed (pip install 'mlflow[auth]')")
    keys = {"MLFLOW_FLASK_SERVER_SECRET_KEY": "for this test", "MLFLOW_AUTH_ADMIN_PASSWORD": "correct horse battery"}
    return server(extra=["--app-name", "basic-auth"], environment=keys)


def test_a_server_that_asks_for_a_password(fake_sweep, guarded, holdings, monkeypatch, written_from_scratch):
    sweep = fake_sweep(space="trial: {epochs: 1, encoder: convnet(width=4), read_at: []}\nspace: {seed: [0, 1]}\n")
    sweep.run(sweep.digests[0], range(2))
    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME", raising=False)
    for uri in (guarded.uri, guarded.uri.replace("//", "//admin:wrong@")):
        with pytest.raises(UserError, match="it refuses the user name or password") as caught:
            rebuild(sweep.folder, uri, keep=0)
        assert "\n" not in str(caught.value)
        assert "wrong" not in str(caught.value)
    inside = guarded.uri.replace("//", "//admin:correct%20horse%20battery@")
    rebuild(sweep.folder, inside, keep=0)
    runs = runs_of(f"sqlite:///{guarded.folder / 'server.db'}", "s")  # past the server, which hashes at every request
    assert sorted(r.data.tags["alphacl.key"] for r in runs) == sorted(["sweep", sweep.digests[0]])
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "correct horse battery")
    sweep.run(sweep.digests[1], range(2))
    rebuild(sweep.folder, guarded.uri, keep=0)
    assert holdings(guarded.uri) == written_from_scratch(sweep)
