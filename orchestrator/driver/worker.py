"""The worker's side of a trial: what a Ray worker runs, :func:`train`, recorded in the trial's folder epoch by epoch.

Importing this module must stay cheap. A worker imports it while it starts, and where trials are short Tune gives the trial of a
worker that still starts to one that is free, and stops the first: a worker that took seconds to start would never get to run. So
PyTorch comes with the first trial.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray import tune

from orchestrator.driver.mps import join_mps
from orchestrator.driver.retries import ending_for_good
from results.record.layout import CONFIG, RESULT
from results.record.patience import patiently
from results.record.reader import read_json
from results.record.trial_writer import TrialWriter

if TYPE_CHECKING:
    from trainer import Report


def device_of(gpu: float) -> str:
    """Return the device of a trial that was given ``gpu`` GPUs by Ray, which shows a worker those and no others.

    Ray leaves CUDA_VISIBLE_DEVICES alone for a trial that asks for none: without this it would compute on another one's GPU.
    """
    return "cuda" if gpu else "cpu"


def train(
    config: dict[str, Any],
    trials: str,
    threads: int,
    gpu: float,
    mps: bool,
    alike: int,
    data_root: str,
    plugins: tuple[str, ...],
    start_in: str,
    path: tuple[str, ...],
    run: Callable[..., Iterator[Report]] | None = None,
) -> None:
    """Run a trial from its last checkpoint, or from the start, and report every epoch to its folder and to Tune.

    An error that no retry would mend (bad input, a diverged loss) is written into the trial's folder and ends the trial; any
    other is raised, and Tune tries again.

    Args:
        config: Tune's configuration of the trial, ``{"digest": …}``.
        trials: the folder that holds the trials' folders.
        threads: how many PyTorch may use.
        gpu: how many GPUs the trial was given, or which part of one.
        mps: whether a trial with a part of a GPU becomes a client of NVIDIA's MPS, where that is installed.
        alike: how many trials of the sweep have this one's tensor shapes.
        data_root: where downloads and decoded images lie.
        plugins: modules of losses to import.
        start_in: the driver's working folder, from which a relative ``folder:PATH`` counts.
        path: folders in which the plugins may lie.
        run: stands in for :func:`trainer.run_trial`.
    """
    from trainer import TrialConfig, run_trial
    from trainer.plugins import load_plugin

    if os.path.isdir(start_in):
        os.chdir(start_in)
    sys.path += [p for p in path if p not in sys.path]
    for module in plugins:
        load_plugin(module)
    folder = TrialWriter(Path(trials) / config["digest"], tell=lambda message: tune.report({"storage": message}))
    result = read_json(folder.folder / RESULT)
    if result is not None:  # the worker died after it had finished, before Tune heard of it
        tune.report({"epoch": result["config"]["epochs"], **result["metrics"]})
        return
    stored = read_json(folder.folder / CONFIG)
    assert stored is not None
    with ending_for_good(folder):
        trial = TrialConfig.from_dict(stored["config"])
        begun = patiently(folder.begin)
        device = device_of(gpu)
        settings: dict[str, Any] = {"device": device, "threads": threads, "data_root": data_root, "alike": alike}
        if 0 < gpu < 1:
            settings["gpu_share"] = gpu  # others share the card: each has its part of the memory
            if mps:
                join_mps()  # the driver has told the user where there is none
        for report in (run or run_trial)(trial, resume=begun, **settings):
            folder.add(report)
            tune.report({"epoch": report.epoch, **report.metrics})
