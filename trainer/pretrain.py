"""The pretraining loop: one encoder, two views, one objective; its whole state can be saved and taken up again exactly."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainer.augment import apply, draw, recipe_for, to_float
from trainer.config import TrialConfig
from trainer.diagnostics import diagnose
from trainer.encoders import make_encoder, make_projector
from trainer.errors import ConfigError, TrialDiverged, UserError
from trainer.losses import make_objective

EMBED_BATCH = 512


def learning_rate(config: TrialConfig, epoch: int, step: int, steps: int) -> float:
    """The rate at a step (from 0) of an epoch (from 1).

    ``cosine`` falls to zero over the run. ``paper`` is the authors' code: constant for 10 epochs, then a cosine in epochs whose
    half-period is the number of *steps* per epoch.
    """
    if config.schedule == "constant":
        return config.lr
    if config.schedule == "paper":
        return config.lr / 2 * (1 + math.cos(math.pi * max(0, epoch - 11) / steps))
    done = ((epoch - 1) * steps + step) / (config.epochs * steps)
    return config.lr / 2 * (1 + math.cos(math.pi * done))


def has_bf16(device: torch.device) -> bool:
    """Whether the processor computes in bfloat16 itself."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def check_batch(config: TrialConfig, images: int) -> None:
    """Refuse a batch larger than the pretraining set. Raises ConfigError."""
    if images < config.batch_size:
        expected = f"expected batch_size <= {images}, the number of pretraining images"
        raise ConfigError("batch_size", f"{expected}, got batch_size={config.batch_size}")


class Pretrainer:
    """A trial's model and optimiser on a device, trained epoch by epoch.

    Args:
        config: the trial.
        images: pretraining images, uint8 (N, C, S, S), N at least the batch size.
        device: where to compute.

    Raises:
        ConfigError: fewer images than a batch holds.
    """

    def __init__(self, config: TrialConfig, images: Tensor, device: torch.device) -> None:
        check_batch(config, len(images))
        self.config, self.device = config, device
        self.images = images.to(device)
        self.steps = len(images) // config.batch_size
        self.recipe = recipe_for(config.augmentation, config.dataset, images.shape[-1])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            encoder = make_encoder(config.encoder, images.shape[1], images.shape[-1])
            projector = make_projector(int(encoder.feature_dim), config.projection_dim)  # type: ignore[arg-type]
        self.resnet = hasattr(encoder, "conv1")
        wants_bf16 = config.precision == "bf16" or (config.precision == "auto" and self.resnet and has_bf16(device))
        self.precision = "bf16" if wants_bf16 else "float32"
        self.layout = torch.channels_last if self.resnet else torch.contiguous_format
        self.encoder = encoder.to(device, memory_format=self.layout)  # type: ignore[call-overload]
        self.projector: nn.Module = projector.to(device)
        self.objective = make_objective(config.objective, config.tau)
        parameters = [*self.encoder.parameters(), *self.projector.parameters()]
        self.optimiser = torch.optim.Adam(parameters, lr=config.lr, weight_decay=config.weight_decay, fused=True)
        self.generator = torch.Generator().manual_seed(config.seed)
        self.epoch = 0

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def batches(self) -> Iterator[Tensor]:
        """The next epoch's batches in its order: uint8 (batch_size, C, S, S)."""
        n, size = len(self.images), self.config.batch_size
        order = torch.randperm(n, generator=self.generator) if self.config.shuffle else torch.arange(n)
        for index in order[: self.steps * size].split(size):
            yield self.images[index.to(self.device)]

    def _view(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """One augmented view of a batch: embeddings (N, projection_dim), l2-normalised, and features; BatchNorm sees it alone."""
        parameters = draw(self.recipe, len(batch), batch.shape[-1], self.generator)
        x = apply(batch, parameters, self.recipe).contiguous(memory_format=self.layout)
        with self._autocast():
            features = self.encoder(x)
            projected = self.projector(features)
        return F.normalize(projected.float(), dim=1), features

    def train_step(self, batch: Tensor, step: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Step number ``step`` (from 0) of the epoch: its loss, both views' embeddings and all features, detached."""
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.config, self.epoch + 1, step, self.steps)
        (view1, features1), (view2, features2) = self._view(batch), self._view(batch)
        loss = self.objective(view1, view2)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        return loss.detach(), view1.detach(), view2.detach(), torch.cat([features1, features2]).detach()

    def train_epoch(self) -> dict[str, float]:
        """Train for one epoch; returns its mean loss and the diagnostics of its last batch.

        Raises:
            TrialDiverged: the loss is not finite.
        """
        self.encoder.train()
        self.projector.train()
        total = torch.zeros((), device=self.device)
        for step, batch in enumerate(self.batches()):
            loss, *seen = self.train_step(batch, step)
            total += loss
        self.epoch += 1
        mean = float(total) / self.steps
        if not math.isfinite(mean):
            raise TrialDiverged(
                self.epoch,
                f"train/loss is {mean} with objective={self.config.objective} tau={self.config.tau} lr={self.config.lr}",
            )
        return {"train/loss": mean, **diagnose(self.objective, *seen)}

    @torch.no_grad()
    def embed(self, images: Tensor) -> Tensor:
        """Frozen features of un-augmented images, in eval mode: uint8 (N, C, S, S) → (N, feature_dim) float32."""
        self.encoder.eval()
        chunks = []
        for chunk in images.split(EMBED_BATCH):
            x = to_float(chunk.to(self.device), self.recipe).contiguous(memory_format=self.layout)
            with self._autocast():
                chunks.append(self.encoder(x).float())
        return torch.cat(chunks)

    def state_dict(self) -> dict[str, Any]:
        """All that the next epochs depend on; tensors and plain values, so that ``weights_only=True`` loads it."""
        return {
            "digest": self.config.digest,
            "epoch": self.epoch,
            "encoder": self.encoder.state_dict(),
            "projector": self.projector.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a saved state.

        Raises:
            UserError: it is another trial's.
        """
        if state.get("digest") != self.config.digest:
            raise UserError(f"the checkpoint is of trial {state.get('digest')}, not of this one, {self.config.digest}")
        self.encoder.load_state_dict(state["encoder"])
        self.projector.load_state_dict(state["projector"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.generator.set_state(state["generator"].cpu())
        self.epoch = state["epoch"]
