"""What the tests of MLflow's pages share: sweeps made without training, real servers, and all that MLflow holds of a sweep."""

import contextlib
import glob
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import mlflow
import pytest
from mlflow.entities import ViewType

from results.record.mlflow_names import LOAD_KEY
from tests.ports import free_port


@pytest.fixture
def holdings():
    """``holdings(uri, name)`` → all that MLflow holds of a sweep; the machine's load where it is asked for by ``load=True``."""
    return all_held


def all_held(uri, name="s", times=True, load=False):
    """All that MLflow holds of a sweep, without the ids that it made up itself."""
    client = mlflow.MlflowClient(uri)
    experiment = client.get_experiment_by_name(name)
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    names = {r.info.run_id: r.data.tags.get("alphacl.key") for r in runs}
    found = {}
    for run in runs:
        key = names[run.info.run_id]
        if key == LOAD_KEY and not load:
            continue
        assert key not in found, f"two runs of {key}"
        tags = {k: names.get(v, v) for k, v in run.data.tags.items()}
        history = {name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
        found[key] = {
            "name": run.info.run_name,
            "status": run.info.status,
            "tags": tags,
            "params": run.data.params,
            "metrics": {name: [(p.step, p.value, p.timestamp) for p in points] for name, points in history.items()},
            "inputs": [(d.dataset.name, d.dataset.digest) for d in run.inputs.dataset_inputs],
            "artifacts": artifacts(client, run.info.run_id),
        }
        if times:
            found[key]["times"] = (run.info.start_time, run.info.end_time)
    models = client.search_logged_models([experiment.experiment_id])
    found["models"] = sorted((names[m.source_run_id], m.name, str(m.status), m.tags["alphacl.key"]) for m in models)
    return found


def artifacts(client, run, path=None):
    """Paths of a run's artifacts, folders entered, with their contents."""
    found = {}
    for file in client.list_artifacts(run, path):
        if file.is_dir:
            found |= artifacts(client, run, file.path)
        else:
            found[file.path] = Path(client.download_artifacts(run, file.path)).read_bytes()
    return found


@pytest.fixture
def deleted_runs():
    """``deleted_runs(uri)`` → the runs that were taken out of a sweep's experiment."""

    def search(uri, name="s"):
        client = mlflow.MlflowClient(uri)
        return client.search_runs([client.get_experiment_by_name(name).experiment_id], run_view_type=ViewType.DELETED_ONLY)

    return search


class Server:
    """A real ``mlflow server`` of this machine that can be killed, stopped and started again on the same port."""

    def __init__(self, folder, backend=None, extra=(), environment=None):
        self.folder, self.port = folder, free_port()
        self.backend = backend or f"sqlite:///{folder / 'server.db'}"
        self.extra, self.environment, self.process = extra, environment or {}, None
        self.uri = f"http://127.0.0.1:{self.port}"
        folder.mkdir(parents=True, exist_ok=True)

    def start(self, wait=True):
        command = [
            sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1",
            "--backend-store-uri", self.backend, "--artifacts-destination", str(self.folder / "artifacts"), *self.extra,
        ]  # fmt: skip
        log = open(self.folder / "server.log", "ab")  # noqa: SIM115 - the server's for as long as it runs
        no_jobs = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # five processes more, of which tracking needs none
        environment = {**os.environ, **no_jobs, **self.environment}
        self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder, start_new_session=True, env=environment)
        log.close()
        deadline = time.monotonic() + 120
        while wait:
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=5):
                    return self
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                assert self.process.poll() is None, (self.folder / "server.log").read_text()
                assert time.monotonic() < deadline, (self.folder / "server.log").read_text()
                time.sleep(0.2)
        return self

    def signal(self, number):
        os.killpg(self.process.pid, number)

    def kill(self):
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.signal(signal.SIGCONT)
                self.signal(signal.SIGKILL)
            self.process.wait(30)


@pytest.fixture
def server(tmp_path, empty_store):
    """``server(backend=…, extra=…)`` → a started :class:`Server`; all are killed in the end."""
    started = []

    def make(**words):
        started.append(Server(tmp_path / f"server{len(started)}", **words))
        shutil.copy(empty_store, started[-1].folder / "server.db")
        return started[-1].start()

    yield make
    for one in started:
        one.kill()


@pytest.fixture(scope="session")
def postgresql():
    """A PostgreSQL server of this test run on a free port of the loopback; yields a function: database name → its URL."""
    found = [shutil.which("initdb"), *sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"), reverse=True)]
    tools = next((Path(file).resolve().parent for file in found if file), None)
    if tools is None:
        pytest.skip("PostgreSQL's initdb is not installed")
    user = {"user": pwd.getpwnam("nobody").pw_uid} if os.getuid() == 0 else {}  # the server refuses to run as root
    folder = Path(tempfile.mkdtemp(prefix="alphacl-pg-", dir="/tmp"))
    shutil.chown(folder, user.get("user", os.getuid()))
    port = free_port()

    def run(*words: str) -> None:
        done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=folder, **user)
        assert done.returncode == 0, done.stdout + done.stderr

    server = [str(tools / "pg_ctl"), "-D", str(folder / "data"), "-w"]
    run(str(tools / "initdb"), "-D", str(folder / "data"), "-U", "alphacl", "-A", "trust", "--no-sync", "-E", "UTF8")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
    run(*server, "-l", str(folder / "log"), "-o", options, "start")

    def database(name: str) -> str:
        run(str(tools / "createdb"), "-h", "127.0.0.1", "-p", str(port), "-U", "alphacl", name)
        return f"postgresql://alphacl@127.0.0.1:{port}/{name}"

    database.stop = lambda: run(*server, "-m", "immediate", "stop")
    database.start = lambda: run(*server, "-l", str(folder / "log"), "-o", options, "start")
    yield database
    subprocess.run([*server, "-m", "immediate", "stop"], capture_output=True, check=False, cwd=folder, **user)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres(postgresql, tmp_path):
    """The address of a real, empty PostgreSQL database."""
    return postgresql("".join(letter for letter in tmp_path.name.lower() if letter.isalnum()))


@pytest.fixture
def storage(tmp_path, data_root, empty_store):
    """A storage folder whose MLflow database is there already."""
    (tmp_path / "runs").mkdir()
    shutil.copy(empty_store, tmp_path / "runs" / "mlflow.db")
    return tmp_path / "runs"


GRID = """
trial: {dataset: digits, images: 300, epochs: 40, batch_size: 64}
keep_encoders: 1
space: {objective: [infonce, uniform], seed: [0, 1]}
"""


def computed_here(file, storage):
    """Compute a grid's trials in this process, one after the other and without Ray, and return the sweep ``s`` as it ended."""
    from results.record.reader import open_sweep
    from results.record.sweep_writer import SweepWriter
    from search_spaces import load_spec
    from trainer import run_trial

    spec = load_spec(file)
    sweep = SweepWriter.create(storage, "s", spec, {})
    for config in spec.leaves():
        with contextlib.closing(sweep.trial(config.digest)) as trial:
            trial.begin()
            for report in run_trial(config, device="cpu", threads=1):
                trial.add(report)
    return open_sweep(storage, "s")


@pytest.fixture(scope="session")
def calm_grid(data_root, tmp_path_factory):
    """A grid of four trials that nobody disturbs: its space's file, and the sweep as it ended."""
    folder = tmp_path_factory.mktemp("calm")
    (folder / "grid.yaml").write_text(GRID, encoding="utf-8")
    return folder / "grid.yaml", computed_here(folder / "grid.yaml", folder / "runs")
