"""Running a sweep: Ray Tune schedules and places the trials, everything that must last is in the sweep folder."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import sys
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Before Ray is imported: Tune's own loggers write per trial what the sweep folder holds already.
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # the new one prints a box even when it is to be silent
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "3600")

import ray
from ray import tune
from ray.tune.experiment import Trial

from orchestrator.folder import SweepFolder
from orchestrator.progress import Board, Display, make_console
from orchestrator.suggest import ENDED, FolderSearcher, GridSearcher, StudySearcher
from orchestrator.tracking import Tracker, tracking_uri
from orchestrator.trainable import train
from results.records import TrialRecord
from search_spaces import SweepSpec
from trainer.data import data_dir
from trainer.errors import ConfigError, UserError
from trainer.trial import check_trial

OBJECT_STORE_BYTES = 100_000_000  # trials exchange figures, not tensors


@dataclass
class Outcome:
    """How a run of the driver ended."""

    interrupted: bool
    failed: list[TrialRecord] = field(default_factory=list)
    unfinished: int = 0
    problem: str = ""


class Listener(tune.Callback):
    """Tune's events → the board and the tracker; and an error record for a trial whose worker could not write one."""

    def __init__(self, folder: SweepFolder, board: Board, tracker: Tracker) -> None:
        self.folder, self.board, self.tracker = folder, board, tracker

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its callbacks into a state that is never restored

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        digest = trial.config["digest"]
        line = self.board.lines.get(digest) or self.board.enter(self.folder.read(digest))
        line.status = "running"

    def on_trial_result(self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any) -> None:
        digest = trial.config["digest"]
        line = self.board.lines[digest]
        line.note(result)
        if "test/linear" in result:
            line.last = f"test/linear {result['test/linear']:.2f}"
        self.tracker.mark([digest])

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._ended(trial.config["digest"])

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        digest = trial.config["digest"]
        if self.folder.read(digest).result is None:
            self.folder.trial(digest).fail("failed", last_lines(trial))
        self._ended(digest)

    def _ended(self, digest: str) -> None:
        record = self.folder.read(digest)
        self.board.lines[digest].status = "waiting" if record.status == "started" else record.status
        if record.error is not None:
            self.board.lines[digest].last = str(record.error["message"])
        self.tracker.mark([digest])


def last_lines(trial: Trial, count: int = 8) -> str:
    """The end of a failed trial's error."""
    text = ""
    with contextlib.suppress(OSError):
        text = Path(trial.error_file).read_text(encoding="utf-8") if trial.error_file else ""
    lines = [line for line in text.splitlines() if line.strip()]
    return "\n".join(lines[-count:]) or "the worker died without an error message"


def check_data(spec: SweepSpec, data_root: str | None) -> None:
    """Prepare every dataset of a sweep, so that what cannot work is said before anything runs.

    Raises:
        SpaceError: the place in the YAML, and what is wrong with the data it names.
    """
    for config, place in spec.on_data():
        try:
            check_trial(config, data_root)
        except ConfigError as error:
            names_it = place[1] == error.field
            path = place if names_it else ("space" if error.field in spec.domains else "trial", error.field)
            raise spec.document.error(path, str(error)) from None
        except UserError as error:
            raise spec.document.error(place, str(error)) from None


@contextlib.contextmanager
def ray_running(address: str | None) -> Any:
    """Ray, joined at ``address`` (or $RAY_ADDRESS), else started on this machine and stopped again.

    Raises:
        UserError: no cluster answers at the address.
    """
    address = address or os.environ.get("RAY_ADDRESS")
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}
    if ray.is_initialized():  # a caller's own, as in the tests
        yield
        return
    try:
        if address:
            ray.init(address=address, **quiet)
        else:
            ray.init(address="local", include_dashboard=False, object_store_memory=OBJECT_STORE_BYTES, **quiet)
    except (ConnectionError, ValueError, RuntimeError) as error:
        where = f"join Ray at {address} (if it asks for a token, RAY_AUTH_TOKEN must hold it)" if address else "start Ray"
        raise UserError(f"cannot {where}: {str(error).strip().splitlines()[0]}") from None
    try:
        yield
    finally:
        ray.shutdown()


def check_resources(spec: SweepSpec) -> None:
    """Refuse a trial that no node could ever hold. Raises SpaceError."""
    totals = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    for name, key, wanted in (("cpu", "CPU", spec.resources.cpu), ("gpu", "GPU", spec.resources.gpu)):
        most = max((t.get(key, 0) for t in totals), default=0)
        if wanted > most:
            raise spec.document.error(("resources", name), f"a trial wants {name}: {wanted:g}, and the largest node has {most:g}")


def run_sweep(folder: SweepFolder, spec: SweepSpec, address: str | None = None, data_root: str | None = None) -> Outcome:
    """Run what is left of a sweep until all its trials have ended or Ctrl-C is pressed. The folder must be held (``driving``).

    Raises:
        UserError: the tracking store or Ray can't be reached, or no node can hold a trial.
    """
    warnings.filterwarnings("ignore", module="ray")
    interrupted = False
    left = [t.digest for t in folder.record.trials() if t.status not in ENDED]
    complete = not left and len(folder.record.trials()) >= folder.record.planned
    with contextlib.ExitStack() as stack:
        if not complete:
            stack.enter_context(ray_running(address))
            check_resources(spec)
        tracker = Tracker(folder, tracking_uri(folder.record), spec.description)
        tracker.start()
        searcher = StudySearcher(folder, spec) if spec.search else GridSearcher(folder, left)
        try:
            if not complete:
                _show_and_fit(folder, spec, searcher, tracker, data_root)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            outcome = _outcome(folder, searcher, interrupted)
            written = tracker.close("KILLED" if outcome.interrupted else "FAILED" if outcome.failed else "FINISHED")
            folder.clear_scratch()
    if not written:
        outcome.problem = f"{tracker.problem or 'MLflow did not answer'}; 'alphacl resume {folder.record.name}' writes the rest"
    return outcome


def _outcome(folder: SweepFolder, searcher: FolderSearcher, interrupted: bool) -> Outcome:
    """What the folder says now that Tune has ended; trials that are left mean that it was stopped."""
    trials = folder.record.trials()
    ended = sum(t.status in ("finished", "failed", "diverged") for t in trials)
    failed = [t for t in trials if t.status in ("failed", "diverged")]
    left = folder.record.planned - ended
    if left and not interrupted and searcher.exhausted:
        folder.mark_exhausted(ended)
        return Outcome(False, failed, 0, f"the space holds {ended} configurations, fewer than the trials asked for; all were run")
    return Outcome(interrupted or left > 0, failed, left)


def _show_and_fit(
    folder: SweepFolder, spec: SweepSpec, searcher: FolderSearcher, tracker: Tracker, data_root: str | None
) -> None:
    """Run the searcher's trials, with a board of them on the terminal or in the log."""
    board = Board.of(folder.record.name, folder.record.planned, folder.record.trials())
    with Display(board, make_console()).showing():
        _fit(folder, spec, searcher, Listener(folder, board, tracker), data_root)


def _fit(folder: SweepFolder, spec: SweepSpec, searcher: FolderSearcher, listener: Listener, data_root: str | None) -> None:
    """Hand the searcher's trials to Tune and wait for them."""
    resources = {"cpu": spec.resources.cpu, "gpu": spec.resources.gpu}
    trainable = functools.partial(
        train,
        trials=str(folder.trials),
        threads=spec.resources.cpu,
        data_root=str(data_dir(data_root).resolve()),
        plugins=spec.plugins,
        start_in=os.getcwd(),
        path=tuple(sys.path) if spec.plugins else (),
    )
    tuner = tune.Tuner(
        tune.with_resources(_named(trainable), resources),
        tune_config=tune.TuneConfig(search_alg=searcher, num_samples=-1, reuse_actors=True, trial_dirname_creator=_short_name),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(folder.path),
            callbacks=[listener],
            failure_config=tune.FailureConfig(max_failures=spec.retries),
            verbose=0,
        ),
    )
    tuner.fit()


def _named(function: functools.partial[None]) -> Any:
    """Tune wants a plain function with a name."""

    def trial(config: dict[str, Any]) -> None:
        function(config)

    return trial


def _short_name(trial: Trial) -> str:
    return f"{trial.config['digest']}_{trial.trial_id}"
