"""The tracker, which shows a sweep folder in MLflow: an experiment per sweep, a parent run with tables, a child run per trial.

The tracker follows the folder from a thread of its own, in a process of its own (:mod:`orchestrator.tracking.process`). It
compares what the folder holds with what MLflow holds and writes the difference; so after any crash it goes on where it was,
without duplicates, and the same code rebuilds everything from the folder. A server that does not answer is tried again.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import threading
import time
from collections.abc import Iterable, Iterator

from filelock import FileLock, Timeout
from mlflow.utils.mlflow_tags import MLFLOW_GIT_COMMIT, MLFLOW_RUN_NOTE, MLFLOW_SOURCE_NAME

from orchestrator.tracking.addresses import artifacts_for
from orchestrator.tracking.experiment_store import ExperimentStore, Wanted
from orchestrator.tracking.machine_load import LoadRecorder, wanted_load
from orchestrator.tracking.models import log_best
from orchestrator.tracking.page_digest import pages_made_of
from orchestrator.tracking.saved_views import experiment_tags
from orchestrator.tracking.store_errors import explain, is_refusal, is_timeout
from orchestrator.tracking.sweep_run import Pages, Study, experiment_note
from orchestrator.tracking.trial_run import is_written, wanted_run
from results.record.mlflow_names import KIND_PARAM, LOAD_KEY, NOT_TRIALS, PAGES_TAG, PARENT_KEY, PLANNED_TAG
from results.record.status import Status
from results.record.store_address import public
from results.record.sweep_writer import SweepWriter
from trainer.errors import UserError

EVERY_S, MACHINE_EVERY_S, PATIENCE_S, BACK_OFF_S = 1.0, 10.0, 60.0, 10.0
# When pages are written first and how often anew, and the share of the time that they may take.
PAGES_AFTER_S, PAGES_EVERY_S, PAGES_SHARE = 10.0, 30.0, 0.05


class Tracker:
    """Follows one sweep's folder and shows it in MLflow; opening the store creates a database that is not there yet.

    ``problem`` is what is wrong now, in one line; empty where nothing is.

    Args:
        folder: the sweep folder.
        uri: the MLflow server or database.
        study: returns the Optuna study of a search, for its pictures.
        keep: how many of the best encoders are logged per dataset; as many as the sweep keeps when not given.
        patience: seconds to wait for another process that writes the same sweep there.

    Raises:
        UserError: if the tracking server or database can't be opened, or another process has been writing this sweep there for
            ``patience`` seconds.
    """

    def __init__(
        self,
        folder: SweepWriter,
        uri: str,
        study: Study | None = None,
        keep: int | None = None,
        patience: float = 0.0,
    ) -> None:
        self.folder, self.uri = folder, uri
        self.keep = folder.record.keep_encoders if keep is None else keep
        self.problem, self.back_off = "", BACK_OFF_S
        self._made_of: str | None = None  # what the pages are made of; empty while they may change, None before the first
        self._lock_file = _hold(folder, uri, patience)
        self._open(study)
        self.damaged: dict[str, str] = {}  # by digest: what could not be shown, and never will be as it is
        self._refused: set[str] = set()
        self._dirty: set[str] = set()
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._news, self._pages_at, self._machine_at = True, time.monotonic() + PAGES_AFTER_S, 0.0
        self._ending: str | None = None  # the parent's status in the end; None while trials run
        self._load = LoadRecorder(folder.path)
        self._thread = threading.Thread(target=self._follow, name="tracker", daemon=True)

    def _open(self, study: Study | None) -> None:
        """Open the store and enter the sweep; once more where a busy server was too slow."""
        record, artifacts = self.folder.record, artifacts_for(self.uri, self.folder.path.parent)
        for last in (False, True):
            try:
                self.store = ExperimentStore(self.uri, record.name, record.meta["id"], artifacts, experiment_tags(record.metric))
                self.pages = Pages(self.store.client, self.folder, study)
                self.note = "" if PARENT_KEY in self.store.runs else record.description
                self._bring_parent("RUNNING")
                return
            except Exception as error:  # noqa: BLE001 - MLflow lets SQLAlchemy's and requests' errors through
                if last or not is_timeout(error):
                    self._lock_file.release()
                    raise UserError(f"cannot open the tracking store {public(self.uri)}: {explain(error)}") from None

    @property
    def parent(self) -> str:
        """Return the id of the sweep's parent run."""
        return self.store.runs[PARENT_KEY].run_id

    @property
    def experiment(self) -> str:
        """Return the id of the sweep's experiment."""
        return self.store.experiment

    # ---------------------------------------------------------------------------------------- following

    def start(self) -> None:
        """Begin to follow the folder, and first write the trials that it holds already."""
        self._mark_unwritten()
        self.remove_gone()
        self._load.start()
        self._thread.start()

    def mark(self, digests: Iterable[str]) -> None:
        """Have the folders of these trials read again."""
        with self._lock:
            self._dirty.update(digests)

    def _mark_unwritten(self) -> None:
        self.mark(self._unwritten())

    def _unwritten(self) -> list[str]:
        """Return the digests of the trials whose runs may lack something that their folders say."""
        runs, parent = self.store.runs, self.store.runs.get(PARENT_KEY)
        return [
            trial.digest
            for trial in self.folder.record.trials()
            if parent is None or trial.digest not in runs or not is_written(runs[trial.digest], trial, parent.run_id)
        ]

    def remove_gone(self) -> None:
        """Delete the runs of trials whose folders were removed; while the storage is away nothing is deleted."""
        with self._writing():
            if self.folder.trials.is_dir():
                for key in [key for key in self.store.runs if key not in NOT_TRIALS and not (self.folder.trials / key).is_dir()]:
                    self.store.remove(key)

    def _follow(self) -> None:
        spent = 0.0
        while not self._stop.wait(self.back_off if self.store.doubt else max(0.0, EVERY_S - spent)):
            began = time.monotonic()
            self._work()
            spent = time.monotonic() - began

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Turn whatever the store raises into ``problem``, and note that it is not known what the failed request did."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever it is, the folder is the record
            self.store.failed()
            self.problem = f"MLflow at {public(self.uri)}: {explain(error)}; trying again"

    def _work(self) -> bool:
        """Write the trials that have news, and return whether all were written; the others stay marked."""
        with self._lock:
            todo, self._dirty = sorted(self._dirty), set()
        written = False
        with self._writing():
            if self.store.doubt:
                self.store.load()
                todo = sorted({*todo, *self._unwritten()})
            if PARENT_KEY not in self.store.runs:  # removed in MLflow's pages
                self._bring_parent("RUNNING")
            while todo:
                self._sync(todo[-1])
                todo.pop()
            now = time.monotonic()
            if now >= self._machine_at:
                self._bring_parent("RUNNING")
                self._machine_at = now + MACHINE_EVERY_S
            if self._news and now >= self._pages_at:
                self._write_pages()
            written = not self.store.doubt
            self.problem = self._standing()
        self.mark(todo)
        return written

    def _sync(self, digest: str) -> None:
        """Bring a trial's run up to what its folder says; a damaged record is noted, and the others go on."""
        self.damaged.pop(digest, None)
        try:
            wanted = wanted_run(self.folder.read(digest), self.parent, running=self._ending in (None, "RUNNING"))
            if wanted is not None and self.store.bring(wanted):
                self._news = True
        except UserError as error:
            self.damaged[digest] = str(error)
        except Exception as error:
            if not is_refusal(error):
                raise
            if digest not in self._refused:  # it may be about a run that was removed in MLflow's pages: look again, once
                self._refused.add(digest)
                self.store.failed()
            self.damaged[digest] = f"MLflow refuses trial {digest}: {explain(error)}"

    def _standing(self) -> str:
        """Return what is wrong with the records, which does not go away by trying again."""
        return "; ".join([*self.damaged.values(), *self.pages.problems])

    def _bring_parent(self, status: str) -> None:
        """Bring the parent run up to what is known of the sweep, and the run of the driver's machine."""
        record = self.folder.record
        environment = {str(k): str(v) for k, v in record.meta.get("environment", {}).items()}
        tags = {MLFLOW_SOURCE_NAME: f"alphacl sweep {record.name}", PLANNED_TAG: str(record.planned), **environment}
        tags |= self.pages.verdict.tags
        if self._made_of is not None:
            tags[PAGES_TAG] = self._made_of or "not final"
        if self.note:
            tags[MLFLOW_RUN_NOTE] = self.note
        if record.meta.get("environment", {}).get("commit"):
            tags[MLFLOW_GIT_COMMIT] = environment["commit"].rstrip("+")
        params: dict[str, str] = {str(key): str(record.meta[key]) for key in (KIND_PARAM,) if key in record.meta}
        created = record.meta.get("created") or datetime.datetime.fromtimestamp(0, datetime.UTC).isoformat()
        start = round(datetime.datetime.fromisoformat(created).timestamp() * 1000)
        end = None if status == "RUNNING" else self._last_heard(start)
        self.store.bring(Wanted(PARENT_KEY, record.name, status, start, end, tags, params, tail=True))
        load = wanted_load(self.folder.path, self.store.runs.get(LOAD_KEY), self.parent, status)
        if load is not None:
            self.store.bring(load)

    def _last_heard(self, start: int) -> int:
        """Return when the last run ended, in milliseconds since 1970: the same however often the sweep is rebuilt."""
        return max([start, *(known.end or 0 for key, known in self.store.runs.items() if key not in NOT_TRIALS)])

    def _write_pages(self) -> None:
        """Write tables, pictures and description, in place of the earlier ones; in the end only where they would be others."""
        began = time.monotonic()
        self._news = False
        try:
            damaged = list(self.damaged.values())
            made_of = pages_made_of(self.folder.record, damaged) if self._ending else ""
            held = self.store.runs[PARENT_KEY].tags.get(PAGES_TAG)
            if made_of and made_of == held and self.pages.are_there(self.parent):
                return
            self.note = self.pages.write(self.parent, damaged)
            self._made_of = made_of if not self.pages.problems else ""
            self._bring_parent("RUNNING")
            self.store.tag_experiment({MLFLOW_RUN_NOTE: experiment_note(self.note)})
        except BaseException:
            self._news = True
            raise
        spent = time.monotonic() - began
        self._pages_at = began + max(PAGES_EVERY_S, spent / PAGES_SHARE)

    # ------------------------------------------------------------------------------------------- ending

    def close(self, status: str, patience: float = PATIENCE_S) -> bool:
        """Stop following, write what is left, and return whether all was written.

        Args:
            status: of the parent run: FINISHED, FAILED, KILLED, or RUNNING in the rebuild of a sweep that a driver is at work on.
            patience: seconds to go on trying where the store does not answer.
        """
        self._load.stop()
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self._ending, self._news, self._pages_at, self._machine_at = status, True, 0.0, 0.0
        deadline = time.monotonic() + patience
        self._mark_unwritten()
        while not (done := self._work() and self._finish(status)) and time.monotonic() < deadline:
            time.sleep(1)
        self._lock_file.release()
        return done

    def _finish(self, status: str) -> bool:
        """Write the best encoders and the parent's status, and return whether that was done; of runs made twice one is kept."""
        done = False
        with self._writing():
            if self.store.doubted:
                self.store.load()
                self.store.doubted = False
            trials = self.folder.record.trials()
            for number, problem in enumerate(log_best(self.store, trials, self.folder.record.metric, self.keep)):
                self.damaged[f"encoder {number}"] = problem
            self._bring_parent(status)
            finished = sum(trial.status == Status.FINISHED for trial in trials)
            self.store.log_metrics(PARENT_KEY, self.pages.verdict.metrics, finished, self._last_heard(0))
            self.problem = self._standing()
            done = True
        return done


def _hold(folder: SweepWriter, uri: str, patience: float) -> FileLock:
    """Keep a second writer of the same sweep out of the same store; the lock goes with the process."""
    lock = FileLock(folder.path / f"tracking-{hashlib.sha256(uri.encode()).hexdigest()[:8]}.lock")
    try:
        lock.acquire(timeout=patience)
    except Timeout:
        raise UserError(
            f"the sweep {folder.record.name!r} is being written to {public(uri)} by another process; wait until it has ended"
        ) from None
    except OSError:
        pass  # a folder that can only be read, as somebody else's: nobody else writes either
    return lock
