"""MLflow as a view of the sweep folder: an experiment per sweep, a parent run with accuracy tables, a child run per trial.

The writer follows the folder from a thread of its own, so the sweep never waits for it. What it has written it reads back from
MLflow at the start, by a stable key in a tag; so after any crash it goes on where it was, without duplicates. A server that
does not answer is tried again.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NOTE

from orchestrator.folder import SweepFolder
from results.records import SweepRecord, TrialRecord
from results.table import Table, build_tables, to_markdown
from trainer.errors import UserError

EVERY_S, TABLE_EVERY_S, PATIENCE_S = 1.0, 10.0, 60.0
BATCH = 1000  # MLflow's limit of metrics in one call
OUTCOMES = {"finished": "FINISHED", "failed": "FAILED", "diverged": "FAILED", "started": "KILLED", "waiting": "KILLED"}


def default_uri(storage: Path) -> str:
    """The SQLite database in a storage folder."""
    return f"sqlite:///{storage.resolve() / 'mlflow.db'}"


def tracking_uri(sweep: SweepRecord) -> str:
    """Where a sweep is recorded: as it was launched with, else the database in the storage folder, wherever that is now."""
    return str(sweep.meta.get("tracking_uri") or default_uri(sweep.folder.parent))


def artifact_root(storage: Path) -> str:
    """The artifacts beside it."""
    return (storage.resolve() / "mlartifacts").as_uri()


class Tracker:
    """Follows one sweep's folder into MLflow. Make it in the driver, before any worker starts: it creates the database.

    Raises:
        UserError: the tracking server or database can't be opened.
    """

    def __init__(self, folder: SweepFolder, uri: str, description: str) -> None:
        self.folder, self.uri = folder, uri
        self.problem = ""
        logging.getLogger("mlflow").setLevel(logging.ERROR)
        logging.getLogger("alembic").setLevel(logging.ERROR)
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        try:
            self.client = MlflowClient(tracking_uri=uri)
            self.experiment = self._experiment()
            self.runs, self.logged = self._known_runs()
            self.parent = self.runs.get("sweep") or self._create("sweep", folder.record.name, {MLFLOW_RUN_NOTE: description})
            self.client.update_run(self.parent, status="RUNNING")
        except Exception as error:  # noqa: BLE001 - MLflow lets SQLAlchemy's and requests' errors through
            raise UserError(f"cannot open the tracking store {uri}: {_first_line(error)}; see --tracking-uri") from None
        self._dirty: set[str] = set()
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._tables_at = -TABLE_EVERY_S
        self._thread = threading.Thread(target=self._follow, name="tracker", daemon=True)

    # ------------------------------------------------------------------------------------ what is there

    def _experiment(self) -> str:
        """The sweep's experiment; a different sweep's of the same name is left alone."""
        name, key = self.folder.record.name, self.folder.record.meta["id"]
        for candidate in (name, f"{name} ({key[:8]})"):
            found = self.client.get_experiment_by_name(candidate)
            if found is not None and found.tags.get("alphacl.sweep") == key and found.lifecycle_stage == "active":
                return str(found.experiment_id)
            if found is None:
                storage = self.folder.path.parent
                root = artifact_root(storage) + f"/{candidate}" if self.uri == default_uri(storage) else None
                return str(self.client.create_experiment(candidate, artifact_location=root, tags={"alphacl.sweep": key}))
        raise MlflowException(f"the experiments {name!r} and {name} ({key[:8]}) belong to other sweeps or are deleted")

    def _known_runs(self) -> tuple[dict[str, str], dict[str, int]]:
        """Run ids and the last epoch written, by the trial's digest (``sweep`` for the parent)."""
        runs: dict[str, str] = {}
        logged: dict[str, int] = {}
        token = None
        while True:
            page = self.client.search_runs([self.experiment], max_results=1000, page_token=token)
            for run in page:
                key = run.data.tags.get("alphacl.key")
                if key:
                    runs[key] = run.info.run_id
                    logged[key] = int(run.data.tags.get("alphacl.epoch", "-1"))
            token = page.token
            if not token:
                return runs, logged

    def _create(self, key: str, name: str, tags: dict[str, str]) -> str:
        run = self.client.create_run(self.experiment, run_name=name, tags={"alphacl.key": key, **tags})
        self.runs[key], self.logged[key] = run.info.run_id, -1
        return str(run.info.run_id)

    # ---------------------------------------------------------------------------------------- following

    def start(self) -> None:
        """Begin to follow; trials that the folder holds already are caught up with."""
        self._describe()
        self.mark(t.digest for t in self.folder.record.trials() if t.status != "waiting")
        self._thread.start()

    def mark(self, digests: Iterable[str]) -> None:
        """These trials have news."""
        with self._lock:
            self._dirty.update(digests)

    def _follow(self) -> None:
        while not self._stop.wait(EVERY_S):
            self._work()

    def _work(self) -> bool:
        """Write the news; what could not be written stays marked. Returns whether all was."""
        with self._lock:
            todo, self._dirty = sorted(self._dirty), set()
        try:
            while todo:
                self._sync(self.folder.read(todo[-1]))
                todo.pop()
            if time.monotonic() - self._tables_at > TABLE_EVERY_S:
                self._write_tables()
                self._tables_at = time.monotonic()
            self.problem = ""
        except UserError as error:  # a record damaged by hand: say so, go on with the others
            self.problem = str(error)
            self.mark(todo[:-1])
            return not todo
        except Exception as error:  # noqa: BLE001 - whatever the store raises, the folder is the record
            self.problem = f"MLflow: {_first_line(error)}; trying again"
            self.mark(todo)
            return False
        return True

    def _sync(self, trial: TrialRecord) -> None:
        """Bring a trial's run up to what its folder says."""
        if trial.digest not in self.runs:
            self._create(trial.digest, trial.label, self._tags(trial))
            params = [Param(k, str(v)) for k, v in trial.config.items() if v not in (None, [])]
            self.client.log_batch(self.runs[trial.digest], params=params)
        run, last = self.runs[trial.digest], self.logged[trial.digest]
        metrics, epoch = [], last
        for row in trial.reports:
            if row["epoch"] > last:
                epoch = row["epoch"]
                metrics += [Metric(k, v, int(row["at"] * 1000), epoch) for k, v in row.items() if k not in ("epoch", "at")]
        for start in range(0, len(metrics), BATCH):
            last_batch = start + BATCH >= len(metrics)
            tags = [RunTag("alphacl.epoch", str(epoch))] if last_batch else []
            self.client.log_batch(run, metrics=metrics[start : start + BATCH], tags=tags)
        self.logged[trial.digest] = epoch
        if trial.status in ("finished", "failed", "diverged"):
            self.client.set_tag(run, "outcome", trial.status)
            if trial.error is not None:
                self.client.set_tag(run, "error", str(trial.error["message"])[:5000])
            self.client.set_terminated(run, OUTCOMES[trial.status])
        else:
            self.client.update_run(run, status="RUNNING")

    def _tags(self, trial: TrialRecord) -> dict[str, str]:
        family = str(trial.config["objective"]).partition("(")[0]
        return {MLFLOW_PARENT_RUN_ID: self.parent, "family": family, "dataset": str(trial.config["dataset"])}

    def _describe(self) -> None:
        """The parent's own facts: what was launched, on what."""
        meta = self.folder.record.meta
        params = [Param(k, str(meta[k])) for k in ("kind", "trials") if k in meta]
        tags = [RunTag(k, str(v)) for k, v in meta.get("environment", {}).items()]
        self.client.log_batch(self.parent, params=params, tags=tags)
        self.client.log_text(
            self.parent, self.folder.record.folder.joinpath("sweep.yaml").read_text(encoding="utf-8"), "sweep.yaml"
        )

    def _write_tables(self) -> None:
        """Put the accuracy tables on the parent run, in place of the earlier ones."""
        trials = self.folder.record.trials()
        if not any(t.result for t in trials):
            return
        tables = build_tables(trials)
        present = {f.path for f in self.client.list_artifacts(self.parent)}
        for table in tables:
            name = f"accuracy_{_file_name(table.dataset)}.json"
            columns = table_columns(table)
            if name in present:  # log_table would append to it
                keys = list(columns)
                rows = [list(values) for values in zip(*columns.values(), strict=True)]
                self.client.log_dict(self.parent, {"columns": keys, "data": rows}, name)
            else:
                self.client.log_table(self.parent, columns, name)
        self.client.log_text(self.parent, to_markdown(tables), "accuracy.md")

    def close(self, status: str) -> bool:
        """Write what is left, waiting up to a minute for a store that does not answer; returns whether all was written.

        ``status`` is the parent's: FINISHED, FAILED or KILLED.
        """
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        deadline = time.monotonic() + PATIENCE_S
        self.mark(t.digest for t in self.folder.record.trials() if t.status == "started")
        self._tables_at = -TABLE_EVERY_S  # and once more the tables
        while not self._work() or not self._terminate(status):
            if time.monotonic() > deadline:
                return False
            time.sleep(1)
        return True

    def _terminate(self, status: str) -> bool:
        try:
            for trial in self.folder.record.trials():
                if trial.status == "started":
                    self.client.set_terminated(self.runs[trial.digest], "KILLED")
            self.client.set_terminated(self.parent, status)
        except Exception as error:  # noqa: BLE001 - as in _work
            self.problem = f"MLflow: {_first_line(error)}"
            return False
        return True


def table_columns(table: Table) -> dict[str, list[Any]]:
    """A table as columns: settings, n, and mean, std and best of every figure."""
    columns: dict[str, list[Any]] = {s: [_plain(r.settings.get(s)) for r in table.rows] for s in table.settings}
    columns["n"] = [row.done for row in table.rows]
    for name in table.columns:
        cells = [row.cells[name] for row in table.rows]
        columns[f"{name} mean"] = [round(c.mean, 4) if c.values else None for c in cells]
        columns[f"{name} std"] = [None if c.std is None else round(c.std, 4) for c in cells]
        columns[f"{name} best"] = [round(max(c.values), 4) if c.values else None for c in cells]
    return columns


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, (str, int, float)) else str(value)


def _file_name(dataset: str) -> str:
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in dataset.removeprefix("folder:").strip("/"))


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0][:300]
