"""The driver of a sweep, :func:`run_sweep`: Ray Tune schedules and places the trials, everything that must last is in the folder.

Failures are handled in these places: a trial that fails is retried as :mod:`orchestrator.driver.retries` says; Ctrl-C and
SIGTERM end Tune gently (:mod:`orchestrator.driver.interrupts`). After kill -9 the next driver reads everything from the sweep
folder: a trial goes on from its last checkpoint (:mod:`results.record.trial_writer`), and the searchers of
:mod:`orchestrator.suggest` hand out again what was left; Tune's own state is never restored. ``docs/durability.md`` lists every
case with its test.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ray import tune
from ray.tune.experiment import Trial

from orchestrator.driver.board import Board
from orchestrator.driver.budget import BudgetWatch
from orchestrator.driver.display import Display, make_console
from orchestrator.driver.events import TrialEvents
from orchestrator.driver.head_records import head_for_others
from orchestrator.driver.head_writer import Head
from orchestrator.driver.incoming_requests import Requests
from orchestrator.driver.interrupts import ends_gently
from orchestrator.driver.keep_encoders import EncoderKeeper
from orchestrator.driver.memory_kills import memory_kills_are_deaths
from orchestrator.driver.mps import sharing_gpus
from orchestrator.driver.outcome import Outcome, outcome_of
from orchestrator.driver.ray_cluster import Watch, check_resources, ray_running
from orchestrator.driver.retries import Failures
from orchestrator.driver.scheduler import SweepScheduler
from orchestrator.driver.slots import most_at_once
from orchestrator.driver.tune_log import tune_is_quiet
from orchestrator.driver.worker import Setup, train
from orchestrator.suggest.early_stopping import FamilyHalving
from orchestrator.suggest.families import FamiliesSearcher
from orchestrator.suggest.searchers import FolderSearcher, GridSearcher
from orchestrator.suggest.study_searcher import NextIndex, StudySearcher
from orchestrator.tracking.process import TrackingProcess
from results.record.reader import TrialRecord
from results.record.status import Status
from results.record.sweep_writer import SweepWriter
from search_spaces import SweepSpec
from trainer import Report, environment_variables
from trainer.data import data_dir
from trainer.errors import UserError

MOST_PENDING = 100_000  # trials that Tune holds and that have not started: the searcher's own limit is lower


def run_sweep(
    folder: SweepWriter,
    spec: SweepSpec,
    address: str | None = None,
    data_root: str | None = None,
    tracking_uri: str | None = None,
    study_url: str | None = None,
    run: Callable[..., Iterator[Report]] | None = None,
    offered: Mapping[str, TrialRecord] | None = None,
) -> Outcome:
    """Run what is left of a sweep until all its trials have ended or Ctrl-C is pressed, and return how it ended.

    Args:
        folder: the sweep folder, whose lock the caller must hold (``folder.driving()``).
        spec: the sweep.
        address: of a Ray cluster to join; $RAY_ADDRESS or this machine alone when not given.
        data_root: where downloads and decoded images lie; the default folder when not given.
        tracking_uri: the MLflow server or database; the one that the sweep was launched with when not given.
        study_url: the database of the Optuna study; the one that the sweep was launched with when not given.
        run: what a worker does for a trial in place of :func:`trainer.run_trial`, whose arguments it takes.
        offered: finished trials by digest, which a search takes over where it asks for them.

    Raises:
        UserError: if a record is damaged, the tracking store, the study's database or Ray can't be reached, or no node can
            hold a trial.
    """
    warnings.filterwarnings("ignore", module="ray")
    interrupted = hurried = False
    watch = Watch()
    trials = folder.record.trials()
    for trial in trials:
        if trial.problem:
            raise UserError(trial.problem)
    _drop_left_checkpoints(folder, trials)
    left = [t.digest for t in trials if t.status.is_resumable]
    complete = not left and len(trials) >= folder.record.planned
    with contextlib.ExitStack() as stack, TrackingProcess(folder, tracking_uri, study_url) as tracking:
        board = Board.of(folder.record, trials, spec.resources.gpu)
        events = TrialEvents(folder, board, tracking.mark, EncoderKeeper(spec.keep_encoders, spec.metric, trials))
        searcher = make_searcher(folder, spec, trials, left, events, study_url, offered)
        if searcher.said:
            _say(searcher.said)
        budget = BudgetWatch(spec.budget, folder.path, board)
        searcher.at_once, searcher.used_up = spec.budget.trials_at_once, budget.used_up
        if not complete:
            _say("starting Ray …" if address is None and environment_variables.ray_address() is None else "joining Ray …")
            stack.enter_context(ray_running(address))
            check_resources(spec)
            for line in stack.enter_context(sharing_gpus(spec)):
                print(line, file=sys.stderr)
            head = stack.enter_context(head_for_others(folder, address))
        if not tracking.is_ready:
            _say("opening MLflow …")
        tracking.wait()
        try:
            if not complete:
                rule = spec.early_stopping
                halving = FamilyHalving(folder, rule, trials, searcher.given_up) if rule else None
                trainable = make_trainable(folder, spec, data_root, run, head)
                with (
                    Display(board, make_console()).showing(),
                    ends_gently(),
                    tune_is_quiet(board.tell),
                    memory_kills_are_deaths(),
                    watch,
                    Requests(folder, board) as requests,
                ):
                    scheduler = SweepScheduler(events, Failures(spec.retries), halving, requests.stopping, budget.used_up)
                    fit(folder, spec, trainable, searcher, scheduler)
        except KeyboardInterrupt:  # the second Ctrl-C; the first ends Tune gently
            interrupted = hurried = True
        outcome = outcome_of(folder, interrupted, searcher, budget.used_up())
        if watch.died:
            outcome.problem = "Ray has died: no node of it is alive"
        if hurried:
            return outcome
        _say("writing MLflow …")
        written = tracking.close(
            "KILLED" if outcome.interrupted or outcome.used_up else "FAILED" if outcome.failed else "FINISHED"
        )
        folder.clear_scratch()
    if tracking.problem and written and not outcome.problem:  # a record that cannot be shown
        outcome.problem = tracking.problem
    if not written:
        outcome.problem = f"{tracking.problem or 'MLflow did not answer'}; 'alphacl resume {folder.record.name}' writes the rest"
    return outcome


def _drop_left_checkpoints(folder: SweepWriter, trials: list[TrialRecord]) -> None:
    """Remove the checkpoints of trials that are over, whose worker or driver was killed before it could."""
    for trial in trials:
        if trial.status in (Status.FINISHED, Status.STOPPED):
            with contextlib.suppress(OSError):
                folder.trial(trial.digest).drop_checkpoints()


def _say(phase: str) -> None:
    """Print what the driver is at, where it would be silent for seconds."""
    print(phase, flush=True)


def make_searcher(
    folder: SweepWriter,
    spec: SweepSpec,
    trials: list[TrialRecord],
    left: list[str],
    events: TrialEvents,
    study_url: str | None = None,
    offered: Mapping[str, TrialRecord] | None = None,
) -> FolderSearcher:
    """Return the searcher that names the next trial: the study of a search, or what is left of a grid.

    Args:
        folder: the sweep folder.
        spec: the sweep.
        trials: all trials that the folder holds.
        left: the digests of those that a grid has still to run.
        events: is given the end of every trial, and a message while the storage is away.
        study_url: the database of the Optuna study.
        offered: finished trials by digest, which a search takes over where it asks for them.

    Raises:
        UserError: if the study's database can't be opened.
    """
    listeners: dict[str, Any] = {"tell": events.waits_for_storage, "on_end": events.ended}
    if spec.search:
        of_study = functools.partial(StudySearcher, folder, spec, trials, study_url=study_url, offered=offered, **listeners)
        if not spec.search.per_family:
            return of_study()
        index = NextIndex(len(trials))
        return FamiliesSearcher(folder, [of_study(family=branch.label, index=index) for branch in spec.branches], **listeners)
    return GridSearcher(folder, left, **listeners)


def make_trainable(
    folder: SweepWriter,
    spec: SweepSpec,
    data_root: str | None,
    run: Callable[..., Iterator[Report]] | None = None,
    head: Head | None = None,
) -> Callable[[dict[str, Any]], None]:
    """Return the function that Tune runs for a trial of this sweep; its argument is Tune's configuration, ``{"digest": …}``.

    Args:
        folder: the sweep folder.
        spec: the sweep.
        data_root: where downloads and decoded images lie; the default folder when not given.
        run: what the worker runs in place of :func:`trainer.run_trial`.
        head: what records trials of nodes that do not see the folder; None where every node does.
    """
    setup = Setup(
        trials=str(folder.trials),
        threads=spec.resources.cpu,
        gpu=spec.resources.gpu,
        mps=spec.resources.mps,
        alike=spec.alike,
        data_root=str(data_dir(data_root).resolve()),
        plugins=spec.plugins,
        start_in=os.getcwd(),
        path=tuple(sys.path) if spec.plugins else (),
        run=run,
        head=head,
        tells_all=spec.early_stopping is not None,
    )

    def trial(config: dict[str, Any]) -> None:  # Tune wants a plain function with a name
        train(config, setup)

    return trial


def fit(
    folder: SweepWriter,
    spec: SweepSpec,
    trainable: Callable[[dict[str, Any]], None],
    searcher: FolderSearcher,
    scheduler: SweepScheduler,
) -> None:
    """Hand the searcher's trials to Tune and wait until they have ended.

    The scheduler decides whether a trial that has failed is run again, see :mod:`orchestrator.driver.retries`.

    Args:
        folder: the sweep folder.
        spec: the sweep, of which the resources per trial are taken.
        trainable: what a worker runs, from :func:`make_trainable`.
        searcher: names the trials.
        scheduler: passes Tune's events on and stops trials early.
    """
    resources = {"cpu": spec.resources.cpu, "gpu": spec.resources.gpu}
    searcher.most_at_once = most_at_once(spec)  # Tune asks for as many trials as that: every free slot is filled at once
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(MOST_PENDING)
    # Tune's own loggers write per trial what the sweep folder holds already; its new output prints a box even when silent.
    os.environ |= {"TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1", "RAY_AIR_NEW_OUTPUT": "0", "TUNE_GLOBAL_CHECKPOINT_S": "3600"}
    tuner = tune.Tuner(
        tune.with_resources(trainable, resources),
        tune_config=tune.TuneConfig(
            search_alg=searcher, scheduler=scheduler, num_samples=-1, reuse_actors=True, trial_dirname_creator=_short_name
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(folder.path),
            failure_config=Failures.FOR_EVER,
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
