"""Running a sweep: Ray Tune schedules and places the trials, everything that must last is in the sweep folder."""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ray import tune
from ray.tune.experiment import Trial

from orchestrator.driver.board import OVER, Board
from orchestrator.driver.display import Display, make_console
from orchestrator.driver.keep_encoders import BestEncoders
from orchestrator.driver.ray_cluster import Watch, check_resources, ray_running
from orchestrator.driver.scheduler import Listener
from orchestrator.driver.worker import train
from orchestrator.suggest.early_stopping import FamilyHalving
from orchestrator.suggest.searchers import (
    ENDED,
    FolderSearcher,
    GridSearcher,
    StudySearcher,
)
from orchestrator.tracking.process import Recorder
from results.record.reader import TrialRecord
from results.record.sweep_writer import SweepFolder
from search_spaces import SweepSpec
from trainer import Report
from trainer.data import data_dir
from trainer.errors import ConfigError, UserError
from trainer.trial import check_trial


@dataclass
class Outcome:
    """How a run of the driver ended."""

    interrupted: bool
    failed: list[TrialRecord] = field(default_factory=list)
    unfinished: int = 0
    problem: str = ""


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


def run_sweep(
    folder: SweepFolder,
    spec: SweepSpec,
    address: str | None = None,
    data_root: str | None = None,
    run: Callable[..., Iterator[Report]] | None = None,
) -> Outcome:
    """Run what is left of a sweep until all its trials have ended or Ctrl-C is pressed. The folder must be held (``driving``).

    ``run`` is what a worker does for a trial in place of :func:`trainer.run_trial`, whose arguments it takes.

    Raises:
        UserError: a record is damaged, the tracking store, the study's database or Ray can't be reached, or no node can
            hold a trial.
    """
    warnings.filterwarnings("ignore", module="ray")
    interrupted = hurried = False
    watch = Watch()
    trials = folder.record.trials()
    for trial in trials:
        if trial.problem:
            raise UserError(trial.problem)
    left = [t.digest for t in trials if t.status not in ENDED]
    complete = not left and len(trials) >= folder.record.planned
    with contextlib.ExitStack() as stack, Recorder(folder, spec) as recorder:
        searcher = StudySearcher(folder, spec, trials) if spec.search else GridSearcher(folder, left)
        if not complete:
            stack.enter_context(ray_running(address))
            check_resources(spec)
        recorder.wait()
        try:
            if not complete:
                board = Board.of(folder.record.name, folder.record.planned, trials, spec.resources.gpu)
                searcher.tell = board.tell
                rule = spec.early_stopping
                halving = FamilyHalving(folder, rule, trials, searcher.given_up) if rule else None
                listener = Listener(folder, board, recorder.mark, BestEncoders(spec.keep_encoders, trials), halving)
                trainable = make_trainable(folder, spec, data_root, run)
                with Display(board, make_console()).showing(), ends_gently(), watch:
                    fit(folder, spec, trainable, searcher, listener)
        except KeyboardInterrupt:  # the second Ctrl-C; the first ends Tune gently
            interrupted = hurried = True
        outcome = _outcome(folder, searcher, interrupted)
        if watch.died:
            outcome.problem = "Ray has died: no node of it is alive"
        if hurried:
            return outcome
        written = recorder.close("KILLED" if outcome.interrupted else "FAILED" if outcome.failed else "FINISHED")
        folder.clear_scratch()
    if recorder.problem and written and not outcome.problem:  # a record that cannot be shown
        outcome.problem = recorder.problem
    if not written:
        outcome.problem = f"{recorder.problem or 'MLflow did not answer'}; 'alphacl resume {folder.record.name}' writes the rest"
    return outcome


def _outcome(folder: SweepFolder, searcher: FolderSearcher, interrupted: bool) -> Outcome:
    """What the folder says now that Tune has ended; trials that are left mean that it was stopped."""
    trials = folder.record.trials()
    ended = sum(t.status in OVER for t in trials)
    failed = [t for t in trials if t.status in ("failed", "diverged", "damaged")]
    problem = ""
    if not interrupted and searcher.done and ended == len(trials) and ended != folder.record.planned:
        folder.update(settled_at=ended)  # a space may hold fewer, and what is stopped early is not repeated
        if searcher.exhausted:
            problem = f"the space holds {ended} configurations, fewer than the trials asked for; all were run"
    left = folder.record.planned - ended
    return Outcome(interrupted or left > 0, failed, left, problem)


def interrupted_outcome(folder: SweepFolder) -> Outcome:
    """How far a sweep has come that was ended at once."""
    return _outcome(folder, FolderSearcher(folder), interrupted=True)


@contextlib.contextmanager
def ends_gently() -> Iterator[None]:
    """While the block runs, SIGTERM is what Ctrl-C is: so end batch schedulers, Kubernetes and ``ray job stop`` what they run."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda number, frame: os.kill(os.getpid(), signal.SIGINT))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def make_trainable(
    folder: SweepFolder, spec: SweepSpec, data_root: str | None, run: Callable[..., Iterator[Report]] | None = None
) -> Callable[[dict[str, Any]], None]:
    """What Tune runs for a trial of this sweep: a function of its configuration, ``{"digest": …}``."""
    function = functools.partial(
        train,
        trials=str(folder.trials),
        threads=spec.resources.cpu,
        data_root=str(data_dir(data_root).resolve()),
        plugins=spec.plugins,
        start_in=os.getcwd(),
        path=tuple(sys.path) if spec.plugins else (),
        run=run,
    )

    def trial(config: dict[str, Any]) -> None:  # Tune wants a plain function with a name
        function(config)

    return trial


def fit(
    folder: SweepFolder,
    spec: SweepSpec,
    trainable: Callable[[dict[str, Any]], None],
    searcher: FolderSearcher,
    listener: Listener,
) -> None:
    """Hand the searcher's trials to Tune and wait for them."""
    searcher.listen = listener.ended
    resources = {"cpu": spec.resources.cpu, "gpu": spec.resources.gpu}
    # Trials asked for ahead of free resources: where a sampler learns they should come late, else early, so that they start on
    # many nodes at once and a worker that has ended one finds the next (Tune stops a worker for which none is waiting).
    learns = spec.search is not None and spec.search.sampler != "random"
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = "auto" if learns else "16"
    tuner = tune.Tuner(
        tune.with_resources(trainable, resources),
        tune_config=tune.TuneConfig(
            search_alg=searcher, scheduler=listener, num_samples=-1, reuse_actors=True, trial_dirname_creator=_short_name
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(folder.path),
            failure_config=tune.FailureConfig(max_failures=spec.retries),
            verbose=0,
        ),
    )
    gc.freeze()  # the many objects of imported libraries, which the collector would go through again and again
    try:
        tuner.fit()
    finally:
        gc.unfreeze()


def _short_name(trial: Trial) -> str:
    return f"{trial.config['digest']}_{trial.trial_id}"
