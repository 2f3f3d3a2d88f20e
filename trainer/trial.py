"""One trial from configuration to metrics: pretrain, probe, report. It does not know who listens."""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from trainer.all_probes import probe_all
from trainer.check_networks import check_networks
from trainer.compiling import share_compiled_code
from trainer.config import TrialConfig, blaming
from trainer.data import data_dir, load, make_splits
from trainer.environment import environment
from trainer.errors import ConfigError, TrialDiverged, UserError, first_line
from trainer.files import checksum
from trainer.image_store import image_budget, stores
from trainer.metrics import untrained_name
from trainer.numerics import LAYOUTS, Numerics, choose
from trainer.pretrain import Pretrainer, build, check_batch, check_state
from trainer.pretrained import Pretrained
from trainer.probe import Features
from trainer.recipes import recipe_for
from trainer.step import be_deterministic, set_up_gpu, steady_malloc, trim_malloc, with_number

RECORD_VERSION = 2  # from 2 on a record carries a checksum


@dataclass(frozen=True)
class Report:
    """Report of a trial after an epoch.

    Args:
        epoch: the epoch; 0 is the untrained encoder.
        epochs: how many epochs the trial has.
        metrics: floats by name: ``train/loss``, ``time/epoch_s``, ``val/linear``, ``val/knn``, and where the test set was read
            ``test/linear``, ``test/knn`` (with ``probe: paper`` also ``test/linear_paper``); accuracies in percent, times in
            seconds. :mod:`trainer.metrics` lists all.
        state: makes a checkpoint from which :func:`run_trial` goes on after this epoch.
        record: the trial's JSON record in the last report, which is ``final``; None before.
    """

    epoch: int
    epochs: int
    metrics: dict[str, float]
    state: Callable[[], dict[str, Any]]
    record: dict[str, Any] | None = None

    @property
    def final(self) -> bool:
        """Tell whether this is the trial's last report."""
        return self.record is not None


def run_trial(
    config: TrialConfig,
    *,
    resume: dict[str, Any] | None = None,
    device: str = "auto",
    threads: int | None = None,
    data_root: str | os.PathLike[str] | None = None,
    pretrained: Pretrained | None = None,
    deterministic: bool = False,
    gpu_share: float = 1.0,
    alike: int = 1,
) -> Iterator[Report]:
    """Run a trial, yielding a :class:`Report` per epoch; the last one is final.

    The same configuration gives the same metrics on the same CPU with the same number of threads, resumed or not; on a GPU it
    does so with ``deterministic``.

    Args:
        config: what to compute.
        resume: a ``Report.state()``; the epochs it holds are not reported again.
        device: ``auto`` (a GPU if there is one), ``cpu``, ``cuda``, ``cuda:1``, …
        threads: CPU threads for this process; as PyTorch has it when not given.
        data_root: folder of downloads and decoded images, see :func:`trainer.data.data_dir`.
        pretrained: probe this encoder; ``config.epochs`` must be 0.
        deterministic: choose only kernels that give the same bits every time; slower on a GPU.
        gpu_share: the part of the GPU's memory that this process may take, where other trials share the card.
        alike: how many trials of the same shapes are run; on a GPU the compiler pays sooner where they share what it makes.

    Raises:
        UserError: if the data cannot be had or do not suit the configuration, or if ``resume`` is another trial's.
        TrialDiverged: if the loss, or a feature that is to be probed, is not finite.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    if deterministic:
        be_deterministic()
    if pretrained is not None and config.epochs != 0:
        raise ConfigError("epochs", f"expected epochs=0 with a pretrained encoder, which is probed as it is, got {config.epochs}")
    if resume is not None:
        check_state(resume, config)
    trial = _Trial(config, _device(device), data_root, resume, pretrained, gpu_share, alike)
    if resume is not None:
        trial.restore(resume)
    else:
        yield trial.report(trial.baseline())
    while trial.trainer.epoch < config.epochs:
        yield trial.report(trial.epoch())
    if resume is not None and resume["epoch"] == config.epochs:  # stopped between the last epoch and its report
        yield trial.report(trial.history.pop())


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda"):
            raise RuntimeError("only CPUs and CUDA GPUs are supported")
        return with_number(device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"cannot use device {name!r}: {first_line(error)}; known: auto, cpu, cuda, cuda:N") from None


def _numerics(
    config: TrialConfig,
    shape: tuple[int, ...],
    device: torch.device,
    data_root: str | os.PathLike[str] | None,
    resume: dict[str, Any] | None,
) -> Numerics:
    """As the trial began, where it is resumed; otherwise as chosen on this machine."""
    stored = (resume or {}).get("numerics")
    if stored and stored[1] in LAYOUTS and not (device.type == "cuda" and stored[1] == "contiguous"):
        return Numerics(*stored)
    return choose(config, build(config, shape[1], shape[-1])[0], shape[1:], device, data_root)


class _Trial:
    """The state of a running trial: its data, its trainer and what it has reported."""

    def __init__(
        self,
        config: TrialConfig,
        device: torch.device,
        data_root: str | os.PathLike[str] | None,
        resume: dict[str, Any] | None = None,
        pretrained: Pretrained | None = None,
        gpu_share: float = 1.0,
        alike: int = 1,
    ) -> None:
        self.config, self.device, self.pretrained = config, device, pretrained
        if device.type == "cpu":
            steady_malloc()
        else:
            set_up_gpu(device, gpu_share)
            share_compiled_code(data_dir(data_root))
        budget = image_budget(device, gpu_share)
        arrays = load(config.dataset, config.image_size, data_root)
        splits = make_splits(arrays, config.held_out, config.images, config.pretrain_on_held_out)
        self.classes = splits.classes
        self.trainer = Pretrainer(
            config, splits.pretrain, device, _numerics(config, splits.pretrain.shape, device, data_root, resume), budget, alike
        )
        if pretrained is not None:
            pretrained.load_into(self.trainer.encoder, config.encoder, self.trainer.size)
        labelled = {"train": splits.train, "val": splits.val, "test": splits.test}
        left = budget - self.trainer.images.resident_bytes
        images = stores([images for images, _ in labelled.values()], device, left)
        self.splits = {name: (store, labelled[name][1].to(device)) for name, store in zip(labelled, images, strict=True)}
        self.history: list[dict[str, float]] = []
        self.started, self.seconds_before = time.monotonic(), 0.0

    def restore(self, state: dict[str, Any]) -> None:
        self.trainer.load_state_dict(state)
        self.history = [dict(row) for row in state["history"]]
        self.seconds_before = state["seconds"]

    def state(self) -> dict[str, Any]:
        return {**self.trainer.state_dict(), "history": self.history, "seconds": self._seconds()}

    def _seconds(self) -> float:
        return self.seconds_before + time.monotonic() - self.started

    def baseline(self) -> dict[str, float]:
        """Epoch 0: what the untrained encoder reaches, on held-out and test images."""
        figures = self.probes(read_test=True)
        if self.config.epochs == 0:
            return figures
        return {untrained_name(key): value for key, value in figures.items()}

    def epoch(self) -> dict[str, float]:
        """Train one epoch and probe where it is due."""
        began = time.perf_counter()
        metrics = self.trainer.train_epoch()
        metrics["time/epoch_s"] = time.perf_counter() - began
        epoch = self.trainer.epoch
        if epoch in self.config.probe_epochs:
            began = time.perf_counter()
            metrics |= self.probes(read_test=epoch in self.config.read_at or epoch == self.config.epochs)
            metrics["time/probe_s"] = time.perf_counter() - began
        return metrics

    def probes(self, read_test: bool) -> dict[str, float]:
        """Probe the held-out images, and with the penalty chosen there, if asked, the test images once."""
        if self.trainer.device.type == "cpu":
            trim_malloc()
        features = {split: self._features(split) for split in ("train", "val", *(["test"] if read_test else []))}
        return probe_all(self.trainer, features, self.classes)

    def _features(self, split: str) -> Features:
        images, labels = self.splits[split]
        x = self.trainer.embed(images)
        if not x.isfinite().all():  # no probe of such features means anything
            raise TrialDiverged(self.trainer.epoch, f"the encoder's features of the {split} images are not finite")
        return Features(x, labels)

    def report(self, metrics: dict[str, float]) -> Report:
        epoch, epochs = self.trainer.epoch, self.config.epochs
        metrics = {name: value for name, value in metrics.items() if name != "epoch"}
        self.history.append({"epoch": epoch, **metrics})
        return Report(epoch, epochs, metrics, self.state, self.record(metrics) if epoch == epochs else None)

    def record(self, final: dict[str, float]) -> dict[str, Any]:
        """The trial as a JSON record: configuration, figures, history, and what they were made with."""
        record = {
            "version": RECORD_VERSION,
            "digest": self.config.digest if self.pretrained is None else self.pretrained.digest(self.config),
            "config": self.config.to_dict(),
            "protocol": self.config.protocol,
            **({} if self.pretrained is None else {"pretrained": self.pretrained.describe()}),
            "metrics": {**{k: v for row in self.history for k, v in row.items() if k.startswith("untrained/")}, **final},
            "history": [dict(row) for row in self.history],
            "seconds": round(self._seconds(), 3),
            "finished": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "environment": environment(self.trainer),
        }
        return {**record, "checksum": checksum(record)}


def check_trial(config: TrialConfig, data_root: str | os.PathLike[str] | None = None) -> None:
    """Prepare a trial's data on this machine and refuse what cannot run, before anything is computed.

    Raises:
        UserError: if :func:`run_trial` would raise it later, because of the data, the batch size or the networks.
    """
    arrays = load(config.dataset, config.image_size, data_root)
    splits = make_splits(arrays, config.held_out, config.images, config.pretrain_on_held_out)
    check_batch(config, len(splits.pretrain))
    _, channels, size, _ = splits.pretrain.shape
    with blaming("augmentation"):
        recipe_for(config.augmentation, config.dataset, size)
    check_networks(config, channels, size)
