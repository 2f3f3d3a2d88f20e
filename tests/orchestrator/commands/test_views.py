"""``alphacl ui``: a real server on the storage, for this machine alone, and its pages in a real browser."""

import contextlib
import html
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request

import mlflow
import psutil
import pytest

from orchestrator.commands import views
from orchestrator.tracking.addresses import tracking_uri
from orchestrator.tracking.rebuild import rebuild
from orchestrator.tracking.tracker import Tracker
from tests.ports import free_port
from trainer.errors import UserError

pytestmark = pytest.mark.server


@contextlib.contextmanager
def served(storage, *names):
    """``alphacl ui`` on a storage folder: its address and its process, stopped in the end."""
    port = free_port()
    command = [sys.executable, "-m", "orchestrator", "ui", *names, "--storage", str(storage), "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                    break
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                assert process.poll() is None, process.communicate()[0]
                assert time.monotonic() < deadline
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}", process
    finally:
        if process.poll() is None:
            process.terminate()
            process.communicate(timeout=30)


def test_it_serves_the_storage_on_127_0_0_1_and_goes_when_it_is_stopped(fake_sweep):
    sweep = fake_sweep("shown")
    tracker = Tracker(sweep.folder, tracking_uri(sweep.folder.record))
    tracker.start()
    assert tracker.close("FINISHED")
    with served(sweep.folder.path.parent, "shown") as (address, process):
        with pytest.raises(UserError, match=r"--port: cannot listen on 127\.0\.0\.1:[0-9]+: Address already in use"):
            views._check_free(int(address.rpartition(":")[2]))
        with urllib.request.urlopen(
            f"{address}/api/2.0/mlflow/experiments/get-by-name?experiment_name=shown", timeout=30
        ) as answer:
            assert b'"shown"' in answer.read()
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        listening = {c.laddr.ip for p in family for c in p.net_connections(kind="inet") if c.status == psutil.CONN_LISTEN}
        assert listening == {"127.0.0.1"}
        process.terminate()
        out = process.communicate(timeout=30)[0]
    client = mlflow.MlflowClient(tracking_uri(sweep.folder.record))
    experiment = client.get_experiment_by_name("shown").experiment_id
    (parent,) = client.search_runs([experiment], "tags.`alphacl.key` = 'sweep'")
    assert f"{address}/#/experiments/{experiment}/runs/{parent.info.run_id}" in out
    assert "viewStateShareKey=best" in out
    _, alive = psutil.wait_procs(family, timeout=20)
    assert alive == []


@pytest.fixture
def browse(tmp_path):
    """``browse(address)`` → the text of a page, as a headless Chromium has drawn it, and its whole document."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("Chromium is not installed (apt-get install chromium)")

    def load(address, needed):
        for attempt in range(3):  # a busy machine may need longer to draw than the page is given
            command = [
                chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
                "--disable-background-networking", "--disable-component-update", f"--user-data-dir={tmp_path / 'chromium'}",
                "--window-size=1900,1200", f"--virtual-time-budget={30000 * (attempt + 1)}", "--dump-dom", address,
            ]  # fmt: skip
            dom = subprocess.run(command, capture_output=True, text=True, timeout=150).stdout
            text = html.unescape(re.sub(r"<[^>]*>", " ", dom))
            if all(word in text for word in needed):
                break
        for word in needed:
            assert word in text
        return text, dom

    return load


def test_runs_table_and_figure_are_seen_in_a_browser(fake_sweep, browse):
    sweep = fake_sweep("shown")
    for digest in sweep.digests:
        sweep.run(digest)
    uri = tracking_uri(sweep.folder.record)
    rebuild(sweep.folder, uri, keep=0)
    client = mlflow.MlflowClient(uri)
    experiment = client.get_experiment_by_name("shown").experiment_id
    (parent,) = client.search_runs([experiment], "tags.`alphacl.key` = 'sweep'")
    with served(sweep.folder.path.parent) as (address, _):
        runs, training = f"{address}/#/experiments/{experiment}/runs", "workflowType=machine_learning"
        names = [t.label for t in sweep.folder.record.trials()]
        text, _ = browse(f"{runs}?{training}", ["two objectives on digits", "shown", "matching runs"])
        assert re.search(r"11\s+matching runs", text)
        assert names[0] not in text  # the trials are folded into their parent
        browse(f"{runs}?{training}&viewStateShareKey=best", ["Best first", "val/linear", "outcome", "finished", *names[:2]])
        page = f"{runs}/{parent.info.run_id}"
        browse(f"{page}?{training}", ["Chosen by val/linear", "10 finished", "untrained encoder", "Child runs", names[-1]])
        browse(f"{page}/artifacts/accuracy_digits.json?{training}", ["test/linear mean", "untrained encoder", "infonce"])
        _, dom = browse(f"{page}/artifacts/digits/accuracy_by_tau.png?{training}", ["digits/accuracy_by_tau.png"])
        assert re.search(r"<img[^>]*(blob:|artifact)[^>]*>", dom)
