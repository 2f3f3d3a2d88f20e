"""Pretraining: one encoder, two views, one objective, in a loop whose whole state can be saved and taken up again exactly.

Within an epoch nothing waits for the device: order, augmentation parameters and the sum of losses live there. CPU and GPU run the
same lines; only what draws random numbers (a generator of the device) and what launches a step (:mod:`trainer.step`) differ.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainer.augment import Parameters, apply, draw, to_float
from trainer.compiling import compiled, engine_for, is_of_compiler
from trainer.config import TrialConfig
from trainer.diagnostics import diagnose
from trainer.encoders import check_features, make_encoder
from trainer.errors import ConfigError, TrialDiverged, UserError, first_line
from trainer.image_store import Rows, Store
from trainer.numerics import Numerics, candidates
from trainer.objectives import make_objective
from trainer.optimisers import make_optimiser
from trainer.per_view import separate_views, separates_views
from trainer.projectors import make_projector
from trainer.recipes import recipe_for
from trainer.schedules import learning_rate
from trainer.step import make_step, weakly

EMBED_BATCH = {"cpu": 128, "cuda": 2048}  # images of 32×32 that a probe embeds at a time


def embed_batch(device: torch.device, size: int) -> int:
    """Return how many images of side ``size`` a probe embeds at a time: on a GPU fewer where they are larger."""
    most = EMBED_BATCH[device.type]
    return most if device.type == "cpu" else max(1, min(most, most * 32 * 32 // size**2))


def check_batch(config: TrialConfig, images: int) -> None:
    """Raise ConfigError where the trial's batch is larger than ``images``, the number of pretraining images."""
    if images < config.batch_size:
        expected = f"expected batch_size <= {images}, the number of pretraining images"
        raise ConfigError("batch_size", f"{expected}, got batch_size={config.batch_size}")


class Pretrainer:
    """A trial's model and optimiser on a device, trained epoch by epoch.

    Args:
        config: the trial.
        images: pretraining images, uint8 (N, C, S, S), N at least the batch size.
        device: where to compute.
        numerics: precision and memory layout; the usual ones of the device when not given.
        budget: the most bytes of images that stay on a GPU, see :class:`trainer.image_store.Store`.
        alike: how many trials of the same shapes share what is compiled, see :func:`trainer.compiling.engine_for`.

    Raises:
        ConfigError: if there are fewer images than a batch holds.
    """

    def __init__(
        self,
        config: TrialConfig,
        images: Tensor | Rows,
        device: torch.device,
        numerics: Numerics | None = None,
        budget: float | None = None,
        alike: int = 1,
    ) -> None:
        check_batch(config, len(images))
        self.config, self.device = config, device
        self.images = Store(images, device, budget)
        _, self.channels, self.size, _ = self.images.shape
        self.steps = len(images) // config.batch_size
        self.recipe = recipe_for(config.augmentation, config.dataset, self.size)
        encoder, projector = build(config, self.channels, self.size)
        self.numerics = numerics or candidates(config, encoder, device)[0]
        self.encoder = encoder.to(device, memory_format=self.numerics.memory_format)  # type: ignore[call-overload]
        self.projector: nn.Module = projector.to(device)
        self.objective = make_objective(config.objective, config.tau)
        self.optimiser = self._make_optimiser()
        self.generator = torch.Generator(device).manual_seed(config.seed)
        self.epoch = 0
        self.engine = engine_for(device, self.steps * config.epochs, alike)
        self.one_pass = not config.two_forwards or (self.engine == "compile" and self._separate_views())
        self._begin()

    @property
    def precision(self) -> str:
        """Return the precision that the model computes in, ``bf16`` or ``float32``."""
        return self.numerics.precision

    def _make_optimiser(self) -> torch.optim.Optimizer:
        c = self.config
        return make_optimiser(c.optimiser, (self.encoder, self.projector), c.lr, c.weight_decay, c.decayed, self.device)

    def _begin(self) -> None:
        """(Re)make the step: a captured one holds addresses that a loaded state no longer has."""
        self.augment = compiled(apply, self.engine)
        self.model = compiled(weakly(self._embed_views), self.engine)
        self.step = make_step(weakly(self._step), self.engine, self.device)

    def _separate_views(self) -> bool:
        """Let one pass over both views give what a pass per view gives; tell whether the networks can.

        It halves the launches, but costs a copy at every BatchNorm, which only compiled kernels do without.
        """
        if not (separates_views(self.encoder) and separates_views(self.projector)):
            return False
        separate_views(self.encoder)
        separate_views(self.projector)
        return True

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def batches(self) -> Iterator[Tensor]:
        """Yield the next epoch's batches in its order: uint8 (batch_size, C, S, S)."""
        n, kept = len(self.images), self.steps * self.config.batch_size
        drawn = {"generator": self.generator, "device": self.device}
        order = torch.randperm(n, **drawn) if self.config.shuffle else torch.arange(n, device=self.device)  # type: ignore[call-overload]
        yield from self.images.batches(order[:kept], self.config.batch_size)

    def parameters(self) -> Iterator[Parameters]:
        """Yield the augmentation parameters of both views, 2N rows, step by step: the first view's, then the second's.

        On a CPU they are drawn as they are needed; on a GPU, where a hundred small kernels cost more than the numbers, they are
        drawn for all of the epoch at once.
        """
        n, size = self.config.batch_size, self.size
        if self.device.type == "cpu":
            for _ in range(self.steps):
                views = [draw(self.recipe, n, size, self.generator) for _ in range(2)]
                yield Parameters(*(torch.cat(pair) for pair in zip(*views, strict=True)))
            return
        drawn = draw(self.recipe, 2 * n * self.steps, size, self.generator, self.device)
        for step in zip(*(t.split(2 * n) for t in drawn), strict=True):
            yield Parameters(*step)

    def _forward(self, view: Tensor) -> tuple[Tensor, Tensor]:
        """A view → features (N, F) and projections (N, D). Its own autocast, so that gradients of two views add up in float32."""
        with self._autocast():
            features = self.encoder(view)
            return features, self.projector(features)

    def _embed_views(self, views: Tensor) -> tuple[Tensor, Tensor]:
        """Both views (2N, C, S, S) → their features (2N, F) and projections (2N, D).

        BatchNorm sees each view alone unless the trial says otherwise.
        """
        if self.one_pass:
            return self._forward(views)
        (features1, projected1), (features2, projected2) = (self._forward(view) for view in views.chunk(2))
        return torch.cat([features1, features2]), torch.cat([projected1, projected2])

    def _step(self, batch: Tensor, *drawn: Tensor) -> tuple[Tensor, ...]:
        """One step of gradient descent: loss, both views' embeddings, all features; ``drawn`` are both views' parameters."""
        self.optimiser.zero_grad(set_to_none=True)  # before the activations need the memory
        # One call for both views halves the launches on a GPU; on a CPU the larger tensors leave the cache, at the same bits.
        if batch.device.type == "cpu":
            halves = zip(*(t.chunk(2) for t in drawn), strict=True)
            views = torch.cat([self.augment(batch, Parameters(*half), self.recipe) for half in halves])
        else:
            views = self.augment(batch, Parameters(*drawn), self.recipe)
        features, projected = self.model(views.contiguous(memory_format=self.numerics.memory_format))
        raw = projected.float()
        normalised = F.normalize(raw, dim=1)
        loss = self.objective(*(normalised if self.objective.is_normalised else raw).chunk(2))
        view1, view2 = normalised.chunk(2)
        loss.backward()
        self.optimiser.step()
        return loss.detach(), view1.detach(), view2.detach(), features.detach()

    def train_step(self, batch: Tensor, parameters: Parameters, step: int) -> tuple[Tensor, ...]:
        """Train on one batch and return its loss, both views' embeddings (N, D) each and all features (2N, F), detached.

        Args:
            batch: images, uint8 (N, C, S, S).
            parameters: the augmentation parameters of both views, 2N rows.
            step: the step's number within the epoch, from 0, which the learning rate depends on.
        """
        rate = learning_rate(self.config, self.epoch + 1, step, self.steps)
        for group in self.optimiser.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate
        try:
            return self.step(batch, *parameters)
        except RuntimeError as error:
            if self.engine != "compile" or not is_of_compiler(error):
                raise
            warnings.warn(f"the compiler failed ({first_line(error)}); going on without it", stacklevel=2)
            self.engine = "graph" if self.device.type == "cuda" else "eager"
            self._begin()
            return self.step(batch, *parameters)  # the compiler works before the optimiser does: no weight has changed

    def train_epoch(self) -> dict[str, float]:
        """Train for one epoch; return its mean loss and the diagnostics of its last batch, by metric name.

        Raises:
            TrialDiverged: if the loss is not finite.
        """
        self.encoder.train()
        self.projector.train()
        total = torch.zeros((), device=self.device)
        seen: list[Tensor] = []
        for step, (batch, parameters) in enumerate(zip(self.batches(), self.parameters(), strict=True)):
            loss, *seen = self.train_step(batch, parameters, step)
            total += loss
        self.epoch += 1
        mean = float(total) / self.steps  # the epoch's first wait for the device
        if not math.isfinite(mean):
            raise TrialDiverged(
                self.epoch,
                f"train/loss is {mean} with objective={self.config.objective} tau={self.config.tau} lr={self.config.lr}",
            )
        return {"train/loss": mean, **diagnose(self.objective, *seen)}

    @torch.no_grad()
    def embed(self, images: Tensor | Rows | Store) -> Tensor:
        """Return the frozen features of un-augmented images, in eval mode: uint8 (N, C, S, S) → (N, feature_dim) float32."""
        self.encoder.eval()
        store = images if isinstance(images, Store) else Store(images, self.device)
        chunks = []
        for chunk in store.batches(torch.arange(len(store)), embed_batch(self.device, self.size)):
            x = to_float(chunk, self.recipe).contiguous(memory_format=self.numerics.memory_format)
            with self._autocast():
                chunks.append(self.encoder(x).float())
        return torch.cat(chunks)

    @torch.no_grad()
    def project(self, features: Tensor) -> Tensor:
        """Return the projector's output of frozen features, in eval mode: (N, feature_dim) → (N, projection_dim) float32."""
        self.projector.eval()
        with self._autocast():
            return torch.cat([self.projector(part).float() for part in features.split(embed_batch(self.device, self.size))])

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next epochs depend on: tensors and plain values, so that ``weights_only=True`` loads it."""
        return {
            "digest": self.config.digest,
            "epoch": self.epoch,
            "encoder": self.encoder.state_dict(),
            "projector": self.projector.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "generator": self.generator.get_state(),
            "device": self.device.type,
            "numerics": list(self.numerics),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a saved state, exactly on the kind of device that it was saved on; another draws new random numbers from here.

        Raises:
            UserError: if the state is another trial's, or no trial's.
        """
        check_state(state, self.config)
        self.encoder.load_state_dict(state["encoder"])
        self.projector.load_state_dict(state["projector"])
        keys = ("lr", "capturable", "fused")
        fresh = [{key: group[key] for key in keys if key in group} for group in self.optimiser.param_groups]
        self.optimiser.load_state_dict(state["optimiser"])
        for group, mine in zip(self.optimiser.param_groups, fresh, strict=True):
            group.update(mine)  # the rate is set anew at every step
        if state.get("device", "cpu") == self.device.type:
            self.generator.set_state(state["generator"].cpu())
        else:
            self.generator.manual_seed(self.config.seed + 1_000_003 * state["epoch"])
        self.epoch = state["epoch"]
        self._begin()


def build(config: TrialConfig, channels: int, size: int) -> tuple[nn.Module, nn.Module]:
    """Return the untrained encoder and projector of a trial, built from its seed; the global random state is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        encoder = make_encoder(config.encoder, channels, size)
        check_features(encoder, config.encoder, channels, size)
        return encoder, make_projector(config.projector, int(encoder.feature_dim), config.projection_dim)  # type: ignore[arg-type]


STATE_KEYS = {"digest", "epoch", "encoder", "projector", "optimiser", "generator"}


def check_state(state: Any, config: TrialConfig) -> None:
    """Raise UserError where ``state`` is no checkpoint of this trial."""
    if not isinstance(state, dict) or not state.keys() >= STATE_KEYS:
        raise UserError("the checkpoint is no trial's: it lacks what training goes on from; an encoder is given by --pretrained")
    if state["digest"] != config.digest:
        raise UserError(f"the checkpoint is of trial {state['digest']}, not of this one, {config.digest}")
