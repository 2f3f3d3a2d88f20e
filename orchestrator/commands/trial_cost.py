"""Estimates the seconds that a trial takes on this machine: from trials of the same size, else from a few steps and probes."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from orchestrator.commands.check_data import is_here
from results.record.reader import list_sweeps, open_sweep
from results.record.status import Status
from search_spaces import SweepSpec
from trainer import TrialConfig
from trainer.all_probes import probe_all
from trainer.data import load, make_splits
from trainer.errors import UserError
from trainer.pretrain import Pretrainer
from trainer.probe import Features
from trainer.step import set_up_gpu, steps_before_steady, with_number

ALIKE = (
    "dataset", "encoder", "batch_size", "images", "image_size", "held_out", "pretrain_on_held_out", "precision", "augmentation",
    "epochs", "probe", "probe_every", "probe_projector", "read_at", "two_forwards",
)  # fmt: skip
STEPS, CALIBRATION_S = 5, 10.0
PROBED = 600  # images that the probes are timed with; their time grows in proportion to the number


@dataclass(frozen=True)
class Cost:
    """An estimate of the time that a trial takes.

    Args:
        seconds: for the whole trial, its probes included.
        source: where the estimate is from, as text for the user.
    """

    seconds: float
    source: str


def size_of(config: dict[str, object]) -> tuple[object, ...]:
    """Return what decides how long a trial takes: the settings that two trials of the same size have in common."""
    return tuple(str(config.get(name)) for name in ALIKE)


def from_earlier_trials(size: tuple[object, ...], storage: Path) -> Cost | None:
    """Return the median cost of the finished trials of the same size in this storage folder; None without any."""
    seconds = []
    for name in list_sweeps(storage):
        try:
            trials = open_sweep(storage, name).trials()
        except UserError:
            continue
        alike = [t for t in trials if t.status == Status.FINISHED and size_of(t.config) == size]
        seconds += [float(s) for t in alike if (s := (t.summary or {}).get("seconds")) is not None]
    return Cost(statistics.median(seconds), f"from {len(seconds)} earlier trials") if seconds else None


def calibrate(config: TrialConfig, spec: SweepSpec, data_root: str | None) -> Cost | None:
    """Time a few training steps and the probes of few images on this machine.

    Returns None where the data would have to be downloaded first.
    """
    if not is_here(config.dataset, data_root):
        return None
    arrays = load(config.dataset, config.image_size, data_root)
    splits = make_splits(arrays, config.held_out, config.images, config.pretrain_on_held_out)
    device = torch.device("cuda" if spec.resources.gpu and torch.cuda.is_available() else "cpu")
    before = torch.get_num_threads()
    torch.set_num_threads(spec.resources.cpu)
    try:
        if device.type == "cuda":
            device = with_number(device)
            set_up_gpu(device)
        trainer = Pretrainer(config, splits.pretrain, device)
        step_s, steps = _time_steps(trainer)
        images, labels = splits.test
        count = max(3, min(PROBED, len(images)))
        some = torch.linspace(0, len(images) - 1, count).long()  # of all classes, where those lie in order
        try:
            held_out_s, read_s = _time_probes(trainer, images.take(some), labels[some].to(device), splits.classes)
            probed = "and a probe"
        except UserError as error:  # a plug-in's probe that so few images are not enough for
            held_out_s, read_s, probed = 0.0, 0.0, f"without probes ({error})"
    finally:
        torch.set_num_threads(before)
    held_out, test = len(splits.train[1]) + len(splits.val[1]), len(splits.test[1])
    reads = len({*config.read_at, config.epochs}) + 1  # one more for the untrained encoder
    probes_s = held_out_s * (len(config.probe_epochs) + 1) * held_out + read_s * reads * (held_out + test)
    seconds = config.epochs * trainer.steps * step_s + probes_s
    return Cost(seconds, f"from {steps} training step{'s' * (steps > 1)} {probed} on this {device.type.upper()}")


def _time_steps(trainer: Pretrainer) -> tuple[float, int]:
    """Return the median seconds of a training step, and how many were made."""
    times: list[float] = []
    skipped = steps_before_steady(trainer.engine)
    for step, (batch, drawn) in enumerate(zip(trainer.batches(), trainer.parameters(), strict=True)):
        at = time.perf_counter()
        if step <= skipped:
            began = at  # however long kernels are chosen or compiled, a step that is none of that is timed
        loss = trainer.train_step(batch, drawn, step)[0]
        loss.item()  # waits for the device
        times.append(time.perf_counter() - at)
        if len(times) == skipped + STEPS or (step >= skipped and time.perf_counter() - began > CALIBRATION_S):
            break
    return statistics.median(times[skipped:] or times), len(times)


def _time_probes(trainer: Pretrainer, images: torch.Tensor, labels: torch.Tensor, classes: int) -> tuple[float, float]:
    """Return the seconds that the trial's probes take for each image: on held-out images, and what a read of the test adds.

    The first is for each image of the training and the held-out ones; the second for each of these and of the test images. A
    third of the images that are given stand for each of the three.
    """

    def probed(names: tuple[str, ...]) -> float:
        began = time.perf_counter()
        features = {name: Features(trainer.embed(images[thirds[name]]), labels[thirds[name]]) for name in names}
        probe_all(trainer, features, classes)
        if labels.device.type == "cuda":
            torch.cuda.synchronize(labels.device)
        return time.perf_counter() - began

    thirds = {name: torch.arange(first, len(labels), 3) for first, name in enumerate(("train", "val", "test"))}
    probed(("train", "val"))  # a first time takes longer: kernels are chosen, modules are imported
    without = probed(("train", "val"))
    added = probed(("train", "val", "test")) - without
    return without / (len(thirds["train"]) + len(thirds["val"])), max(0.0, added) / len(labels)
