"""``alphacl sweep --dry-run``: print a sweep's trials, its expected time on this machine and the disk space it needs."""

from __future__ import annotations

import argparse
import os
import sys

import torch

from orchestrator.commands.check_data import check_data
from orchestrator.commands.exit_codes import OK
from orchestrator.commands.trial_cost import Cost, calibrate, from_earlier_trials, size_of
from orchestrator.tracking.addresses import default_uri
from search_spaces import SweepSpec
from trainer import TrialConfig
from trainer.encoders import make_encoder
from trainer.image_sources import SHAPES
from trainer.metrics import metric_of

REPORT_BYTES, RECORD_BYTES = 700, 8000


def print_plan(spec: SweepSpec, name: str, arguments: argparse.Namespace) -> int:
    """Print what a sweep would do and return the exit code; only decoded images are written, into the data folder.

    Args:
        spec: the sweep.
        name: the name it would get.
        arguments: those of ``alphacl sweep``.

    Raises:
        UserError: if the space or its data are wrong.
    """
    check_data(spec, arguments.data_dir, only_here=True)
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
        towards = "maximising" if metric_of(search.metric).direction == "maximize" else "minimising"
        how = f"({search.sampler}, seed {search.seed}), {towards} {search.metric}"
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
        size = size_of(config.to_dict())
        if size not in costs:
            cost = from_earlier_trials(size, arguments.storage)
            if cost is None:
                print("measuring a few training steps and a probe …", file=sys.stderr, flush=True)
                cost = calibrate(config, spec, arguments.data_dir)
            if cost is None:
                print(f"  time: unknown; {config.dataset} is not on this machine yet ('alphacl sweep' downloads it)")
                return
            costs[size] = cost
        seconds += costs[size].seconds * share
    cpus = os.cpu_count() or 1
    slots = max(1, cpus // spec.resources.cpu)
    if spec.resources.gpu:
        slots = max(1, min(slots, int(max(1, torch.cuda.device_count()) / spec.resources.gpu)))
    sources = ", ".join(dict.fromkeys(c.source for c in costs.values()))
    slots = min(slots, spec.trials)
    at_once = "one at a time" if slots == 1 else f"{slots} at a time"
    gpu = f", {seconds * spec.resources.gpu / 3600:.2g} GPU-hours" if spec.resources.gpu else ""
    print(f"  time: about {_clock(seconds / slots)} with trials {at_once}{gpu} ({sources})")


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
