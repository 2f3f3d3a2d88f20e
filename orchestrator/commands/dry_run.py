"""``alphacl sweep --dry-run``: print a sweep's trials, its expected time on this machine and the disk space it needs."""

from __future__ import annotations

import argparse
import os
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from orchestrator.commands.exit_codes import OK
from orchestrator.tracking.addresses import default_uri
from results.record.reader import TrialRecord, list_sweeps, open_sweep
from results.record.status import Status
from search_spaces import SweepSpec
from trainer import TrialConfig
from trainer.data import data_dir, load, make_splits
from trainer.encoders import make_encoder
from trainer.errors import ConfigError, UserError
from trainer.pretrain import Pretrainer
from trainer.sources import SHAPES, folder_of
from trainer.step import steps_before_steady

COSTS = (
    "dataset",
    "encoder",
    "batch_size",
    "images",
    "image_size",
    "held_out",
    "pretrain_on_held_out",
    "precision",
    "augmentation",
)
PROBES = 1.1  # of the time that pretraining takes, goes with the probes
STEPS, CALIBRATION_S = 5, 10.0
REPORT_BYTES, RECORD_BYTES = 700, 8000


@dataclass(frozen=True)
class Cost:
    """An estimate of the time that an epoch takes.

    Args:
        seconds: for one epoch, its share of the probes included.
        source: where the estimate is from, as text for the user.
    """

    seconds: float
    source: str


def print_plan(spec: SweepSpec, name: str, arguments: argparse.Namespace) -> int:
    """Print what a sweep would do and return the exit code; only decoded images are written, into the data folder.

    Args:
        spec: the sweep.
        name: the name it would get.
        arguments: those of ``alphacl sweep``.

    Raises:
        UserError: if the space or its data are wrong.
    """
    configs = _configs(spec)
    print(f"{name}: {spec.description}" if spec.description else name)
    _print_trials(spec, configs)
    share = spec.trials / len(configs)
    gpu = f", {spec.resources.gpu:g} GPU" if spec.resources.gpu else ""
    epochs = round(share * sum(c.epochs for c in configs))
    print(f"  {epochs} epochs in all; each trial takes {spec.resources.cpu} CPU{gpu}")
    _print_hours(spec, configs, share, arguments)
    print(f"  disk: about {_size(_disk(spec, configs))} in the sweep folder, of it {spec.keep_encoders} encoders per dataset")
    print(f"  sweep folder {arguments.storage / name}, tracking {arguments.tracking_uri or default_uri(arguments.storage)}")
    return OK


def _configs(spec: SweepSpec) -> list[TrialConfig]:
    """Return a grid's trials; for a search one configuration for every value that changes what a trial costs."""
    return [config for config, _ in spec.on_data()] if spec.search else spec.leaves()


def _print_trials(spec: SweepSpec, configs: list[TrialConfig]) -> None:
    if spec.search:
        search = spec.search
        each = f" for each of {len(spec.branches)} objectives" if search.per_family else ""
        how = f"({search.sampler}, seed {search.seed}), maximising {search.metric}"
        print(f"  {search.trials} trials{each} suggested by Optuna {how}")
        if search.repeat:
            print(f"  each with the seeds {', '.join(map(str, search.repeat))}, and counted by its mean")
        if search.top:
            of = " of each objective" if search.per_family else ""
            print(f"  the best {search.top}{of} are confirmed with {search.fresh} fresh seeds each: {spec.trials} trials in all")
    else:
        print(f"  {len(configs)} trials:")
        groups: dict[str, list[int]] = {}
        for leaf in configs:
            tau = "" if leaf.tau is None else f" · tau {leaf.tau:g}"
            groups.setdefault(f"{leaf.dataset} · {leaf.objective}{tau}", []).append(leaf.seed)
        for label, seeds in groups.items():
            print(f"    {label} · seeds {', '.join(map(str, dict.fromkeys(seeds)))}")
    if spec.early_stopping:
        rule = spec.early_stopping
        print(
            f"  from epoch {rule.grace} on, trials below the best 1/{rule.reduction:g} of their family are stopped (fewer epochs)"
        )


# ---------------------------------------------------------------------------------------------- hours


def _print_hours(spec: SweepSpec, configs: list[TrialConfig], share: float, arguments: argparse.Namespace) -> None:
    """Print the expected time, or why it is not known."""
    costs: dict[tuple[object, ...], Cost] = {}
    seconds = 0.0
    for config in configs:
        key = _key(config.to_dict())
        if key not in costs:
            cost = _from_earlier_runs(key, arguments.storage) or _calibrated(config, spec, arguments.data_dir)
            if cost is None:
                print(f"  time: unknown; {config.dataset} is not on this machine yet ('alphacl sweep' downloads it)")
                return
            costs[key] = cost
        seconds += costs[key].seconds * (config.epochs + 1) * share
    cpus = os.cpu_count() or 1
    slots = max(1, cpus // spec.resources.cpu)
    if spec.resources.gpu:
        slots = max(1, min(slots, int(max(1, torch.cuda.device_count()) / spec.resources.gpu)))
    sources = ", ".join(dict.fromkeys(c.source for c in costs.values()))
    slots = min(slots, spec.trials)
    at_once = "one at a time" if slots == 1 else f"{slots} at a time"
    gpu = f", {seconds * spec.resources.gpu / 3600:.2g} GPU-hours" if spec.resources.gpu else ""
    print(f"  time: about {_clock(seconds / slots)} with trials {at_once}{gpu} ({sources})")


def _key(config: dict[str, object]) -> tuple[object, ...]:
    return tuple(config.get(name) for name in COSTS)


def _from_earlier_runs(key: tuple[object, ...], storage: Path) -> Cost | None:
    """Return the median cost of an epoch over the finished trials of the same size in this storage folder; None without any."""
    epoch_times = []
    for name in list_sweeps(storage):
        try:
            trials = open_sweep(storage, name).trials()
        except UserError:
            continue
        alike = [t for t in trials if t.status == Status.FINISHED and _key(t.config) == key]
        epoch_times += [s for t in alike if (s := _epoch_s(t)) is not None]
    return Cost(statistics.median(epoch_times), f"from {len(epoch_times)} earlier trials") if epoch_times else None


def _epoch_s(trial: TrialRecord) -> float | None:
    seconds = (trial.result or {}).get("seconds")
    return None if seconds is None else float(seconds) / (int(trial.config["epochs"]) + 1)


def _calibrated(config: TrialConfig, spec: SweepSpec, data_root: str | None) -> Cost | None:
    """Return what :func:`_calibrate` does; a setting that the data do not allow is refused with its line."""
    try:
        return _calibrate(config, spec, data_root)
    except ConfigError as error:
        section = "space" if error.field in spec.domains else "trial"
        raise spec.document.error((section, error.field), str(error)) from None


def _calibrate(config: TrialConfig, spec: SweepSpec, data_root: str | None) -> Cost | None:
    """Time a few training steps on this machine; return None where the data would have to be downloaded first."""
    local = config.dataset == "digits" or folder_of(config.dataset) is not None
    if not local and not (data_dir(data_root) / "cache" / config.dataset).exists():
        return None
    arrays = load(config.dataset, config.image_size, data_root)
    splits = make_splits(arrays, config.held_out, config.images, config.pretrain_on_held_out)
    device = torch.device("cuda" if spec.resources.gpu and torch.cuda.is_available() else "cpu")
    before = torch.get_num_threads()
    torch.set_num_threads(spec.resources.cpu)
    try:
        trainer = Pretrainer(config, splits.pretrain, device)
        times: list[float] = []
        skipped = steps_before_steady(trainer.engine)
        began = time.perf_counter()
        for step, (batch, drawn) in enumerate(zip(trainer.batches(), trainer.parameters(), strict=True)):
            at = time.perf_counter()
            loss = trainer.train_step(batch, drawn, step)[0]
            loss.item()  # waits for the device
            times.append(time.perf_counter() - at)
            if len(times) == skipped + STEPS or time.perf_counter() - began > CALIBRATION_S:
                break
    finally:
        torch.set_num_threads(before)
    step_s = statistics.median(times[skipped:] or times)
    return Cost(step_s * trainer.steps * PROBES, f"from {len(times)} training steps on this {device.type.upper()}")


def _clock(seconds: float) -> str:
    if seconds < 5400:
        return f"{seconds / 60:.1f} minutes"
    return f"{seconds / 3600:.1f} hours" if seconds < 2 * 86400 else f"{seconds / 86400:.1f} days"


# ----------------------------------------------------------------------------------------------- disk


def _disk(spec: SweepSpec, configs: list[TrialConfig]) -> float:
    """Return the bytes that a sweep takes: kept encoders, the checkpoints of running trials, reports and records."""
    encoders = {c.encoder: c for c in configs}
    largest = max(_encoder_bytes(config) for config in encoders.values())
    datasets = len({c.dataset for c in configs})
    kept = min(spec.keep_encoders * datasets, spec.trials) * largest
    at_once = max(1, (os.cpu_count() or 1) // spec.resources.cpu)
    epochs = spec.trials * max(c.epochs for c in configs)
    # A checkpoint holds the weights and Adam's two moments; a record repeats the reports.
    return kept + at_once * 3 * largest + 2 * epochs * REPORT_BYTES + spec.trials * RECORD_BYTES


def _encoder_bytes(config: TrialConfig) -> float:
    with torch.device("meta"):
        encoder = make_encoder(config.encoder, *SHAPES.get(config.dataset, (3, config.image_size or 32)))
    return float(sum(t.numel() * t.element_size() for t in encoder.state_dict().values()))


def _size(count: float) -> str:
    return f"{count / 1e6:.0f} MB" if count < 1e9 else f"{count / 1e9:.1f} GB"
