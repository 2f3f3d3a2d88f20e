"""Looks at a trial's networks and optimiser before anything is computed, so that what cannot run is refused at the launch."""

from __future__ import annotations

import os
from collections.abc import Callable

import torch
from torch import nn

from trainer.components import needs_no_memory
from trainer.config import TrialConfig, blaming
from trainer.encoders import check_features, make_encoder
from trainer.errors import UserError
from trainer.optimisers import make_optimiser
from trainer.projectors import make_projector
from trainer.registry import resolve


def check_networks(config: TrialConfig, channels: int, size: int) -> None:
    """Refuse an encoder, projector or optimiser with which a trial cannot run on images (channels, size, size).

    Raises:
        ConfigError: if one cannot be made, is no such thing, or is larger than this machine's memory.
    """
    with torch.random.fork_rng(devices=[]):
        with blaming("encoder"):
            encoder = _made(config.encoder, "encoder", lambda: make_encoder(config.encoder, channels, size))
            check_features(encoder, config.encoder, channels, size)
        with blaming("projector"):
            width = int(encoder.feature_dim)  # type: ignore[arg-type]
            _made(config.projector, "projector", lambda: make_projector(config.projector, width, config.projection_dim))
        with blaming("optimiser"):
            component, _ = resolve("optimiser", config.optimiser)
            if not component.is_built_in:  # ours are known to be right; making one imports PyTorch's compiler, for a second
                small = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))  # the encoder does not matter
                make_optimiser(config.optimiser, [small], config.lr, config.weight_decay, config.decayed, torch.device("cpu"))


def _made(text: str, noun: str, make: Callable[[], nn.Module]) -> nn.Module:
    """Return the network; one of ours is made without memory for its weights, which are only counted."""
    if not needs_no_memory(noun, text):
        return make()
    with torch.device("meta"):
        network = make()
    needed = sum(p.numel() * p.element_size() for p in network.parameters())
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > there:
        raise UserError(
            f"{text}: its weights take {needed / 1e9:,.0f} GB, more than this machine's memory of {there / 1e9:,.0f} GB"
        )
    return network
