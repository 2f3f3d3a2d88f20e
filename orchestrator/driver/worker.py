"""The worker's side of a trial: what a Ray worker runs, :func:`train`, recorded in the trial's folder epoch by epoch.

Importing this module must stay cheap. A worker imports it while it starts, and where trials are short Tune gives the trial of a
worker that still starts to one that is free, and stops the first: a worker that took seconds to start would never get to run. So
PyTorch comes with the first trial.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray import tune

from orchestrator.driver.head_writer import Head, HeadWriter, sees
from orchestrator.driver.leaving import this_node_leaves
from orchestrator.driver.mps import join_mps
from orchestrator.driver.node_load import NodeLoad
from orchestrator.driver.output import output_into
from orchestrator.driver.report_rate import Teller
from orchestrator.driver.retries import ending_for_good
from results.record.checkpoint_policy import CheckpointPolicy
from results.record.patience import patiently
from results.record.status import Status
from results.record.trial_writer import TrialWriter
from trainer import environment_variables

if TYPE_CHECKING:
    from trainer import Report

LOGGED = ("train/loss", "val/linear", "val/knn", "test/linear", "time/epoch_s", "time/probe_s")  # what a log shows of an epoch


def device_of(gpu: float) -> str:
    """Return the device of a trial that was given ``gpu`` GPUs by Ray, which shows a worker those and no others.

    Ray leaves CUDA_VISIBLE_DEVICES alone for a trial that asks for none: without this it would compute on another one's GPU.
    """
    return "cuda" if gpu else "cpu"


def open_trial(trials: Path, digest: str, head: Head | None) -> TrialWriter | HeadWriter:
    """Return what records a trial: its folder where this node sees that, else the driver's node.

    Args:
        trials: the folder that holds the trials' folders.
        digest: the trial's.
        head: the driver's node; None where all nodes see the folder.
    """

    def tell(message: str) -> None:
        tune.report({"storage": message})

    policy = CheckpointPolicy(is_urgent=this_node_leaves())
    if head is None or (sees(trials, head.run) and not environment_variables.through_head()):
        return TrialWriter(trials / digest, tell, policy)
    tune.report({"through_head": os.uname().nodename})
    return HeadWriter(ray.get_actor(head.records), digest, tell, policy)


@dataclass(frozen=True)
class Setup:
    """The settings that the trials of a sweep have in common, as a worker needs them to run one.

    Args:
        trials: the folder that holds the trials' folders.
        threads: how many PyTorch may use.
        gpu: how many GPUs a trial is given, or which part of one.
        mps: whether a trial with a part of a GPU becomes a client of NVIDIA's MPS, where that is installed.
        alike: how many trials of the sweep have the same tensor shapes.
        data_root: where downloads and decoded images lie.
        start_in: the driver's working folder, from which a relative ``folder:PATH`` counts.
        plugins: modules of losses to import.
        path: folders in which the plugins may lie.
        run: stands in for :func:`trainer.run_trial`.
        head: what records a trial where a node does not see ``trials``; None where every node does.
        tells_all: whether Tune hears of every epoch, however long the driver takes.
    """

    trials: str
    threads: int
    gpu: float
    mps: bool
    alike: int
    data_root: str
    start_in: str
    plugins: tuple[str, ...] = ()
    path: tuple[str, ...] = ()
    run: Callable[..., Iterator[Report]] | None = None
    head: Head | None = None
    tells_all: bool = True


def train(config: dict[str, Any], setup: Setup) -> None:
    """Run a trial from its last checkpoint, or from the start, and report every epoch to its folder and to Tune.

    Errors are written into the trial's folder. One that no retry would mend (bad input, a diverged loss, the same line again)
    ends the trial; any other is raised, and Tune tries again. All that is printed meanwhile goes into the attempt's log.

    Args:
        config: Tune's configuration of the trial, ``{"digest": …}``.
        setup: what it has in common with the sweep's other trials.
    """
    if os.path.isdir(setup.start_in):
        os.chdir(setup.start_in)
    sys.path += [p for p in setup.path if p not in sys.path]
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(contextlib.closing(open_trial(Path(setup.trials), config["digest"], setup.head)))
        result = folder.result()
        if result is not None:  # the worker died after it had finished, before Tune heard of it
            tune.report({"epoch": result["config"]["epochs"], **result["metrics"]})
            return
        if folder.was_stopped():  # somebody has asked for that since Tune was given the trial
            tune.report({"ended": Status.STOPPED.value})
            return
        begun = patiently(folder.begin)
        stack.enter_context(output_into(folder.output))
        stack.enter_context(ending_for_good(folder))
        _run(folder, begun, setup)


def _run(folder: TrialWriter | HeadWriter, begun: dict[str, Any] | None, setup: Setup) -> None:
    """Run a trial whose attempt has begun from a checkpoint, or from the start where there is none; report every epoch."""
    from trainer import TrialConfig, run_trial
    from trainer.plugins import load_plugin

    device = device_of(setup.gpu)
    at = f"epoch {begun['epoch']}" if begun else "the start"
    _say(f"{folder.attempt and folder.attempt.name} on {os.uname().nodename}, process {os.getpid()}, {device}: from {at}")
    for module in setup.plugins:
        load_plugin(module)
    stored = folder.entry()
    assert stored is not None
    trial = TrialConfig.from_dict(stored["config"])
    settings: dict[str, Any] = {"device": device, "threads": setup.threads, "data_root": setup.data_root, "alike": setup.alike}
    if 0 < setup.gpu < 1:
        settings["gpu_share"] = setup.gpu  # others share the card: each has its part of the memory
        if setup.mps:
            join_mps()  # the driver has told the user where there is none
    load, teller = NodeLoad(), Teller(setup.tells_all)
    with load.watching_gpus() if setup.gpu else contextlib.nullcontext():
        for report in (setup.run or run_trial)(trial, resume=begun, **settings):
            folder.add(dataclasses.replace(report, metrics={**report.metrics, **load.since_last()}))
            shown = (f"{name} {report.metrics[name]:.4g}" for name in LOGGED if name in report.metrics)
            _say(f"epoch {report.epoch}/{report.epochs}: {', '.join(shown)}")
            teller.tell({"epoch": report.epoch, **report.metrics}, report.final)


def _say(line: str) -> None:
    """Print a line with the time into the trial's log."""
    print(f"[{datetime.datetime.now().astimezone():%Y-%m-%d %H:%M:%S}] {line}")
