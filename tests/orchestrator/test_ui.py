"""``alphacl ui``: a real server on the storage, for this machine alone."""

import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import psutil
import pytest

from orchestrator.folder import SweepFolder
from orchestrator.tracking import Tracker, default_uri
from search_spaces import load_spec

pytestmark = pytest.mark.ray


def test_it_serves_the_storage_on_127_0_0_1_and_goes_when_it_is_stopped(tmp_path, write):
    folder = SweepFolder.create(tmp_path, "shown", load_spec(write("trial: {epochs: 1}\n")), {})
    tracker = Tracker(folder, default_uri(tmp_path), "what the sweep is")
    tracker.start()
    assert tracker.close("FINISHED")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "orchestrator", "ui", "--storage", str(tmp_path), "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/get-by-name?experiment_name=shown",
            headers={"Host": f"127.0.0.1:{port}"},
        )
        deadline = time.monotonic() + 90
        while True:
            try:
                with urllib.request.urlopen(request, timeout=5) as answer:
                    assert b'"shown"' in answer.read()
                break
            except (urllib.error.URLError, ConnectionError):
                assert time.monotonic() < deadline
                assert process.poll() is None, process.communicate()[0]
                time.sleep(0.5)
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        listening = {c.laddr.ip for p in family for c in p.net_connections(kind="inet") if c.status == psutil.CONN_LISTEN}
        assert listening == {"127.0.0.1"}
    finally:
        process.terminate()
        out = process.communicate(timeout=30)[0]
    assert out.startswith(f"Open http://127.0.0.1:{port} in a browser")
    _, alive = psutil.wait_procs(family, timeout=20)
    assert alive == []
