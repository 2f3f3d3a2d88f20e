"""Projectors: a call string such as ``mlp(hidden=1024)`` becomes the network between features and embeddings.

An objective sees the embeddings; what is kept of a trial is the encoder.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from trainer.components import check_network, make
from trainer.registry import F, register


def projector(**bounds: str) -> Callable[[F], F]:
    """Register a projector: a function from (feature_dim, projection_dim) to a module, (N, feature_dim) → (N, D)."""
    return register("projector", bounds, inputs=2)


@projector(hidden=">= 0 and <= 1000000", layers=">= 2 and <= 100")
def mlp(inputs: int, outputs: int, hidden: int = 0, layers: int = 2, norm: bool = True) -> nn.Sequential:
    """An MLP of ``layers`` linear layers, ReLUs between them; ``norm`` puts BatchNorm without affine before each ReLU.

    ``hidden`` is the width between them; 0 is that of the features. As it stands it is the authors' (arXiv 2201.12680).
    """
    width, before = hidden or inputs, inputs
    modules: list[nn.Module] = []
    for _ in range(layers - 1):
        modules += [nn.Linear(before, width), *([nn.BatchNorm1d(width, affine=False)] if norm else []), nn.ReLU(inplace=True)]
        before = width
    return nn.Sequential(*modules, nn.Linear(before, outputs))


@projector()
def linear(inputs: int, outputs: int) -> nn.Linear:
    """One linear layer."""
    return nn.Linear(inputs, outputs)


@projector()
def none(inputs: int, outputs: int) -> nn.Identity:
    """No projector: the features are the embeddings, and ``projection_dim`` means nothing."""
    return nn.Identity()


def make_projector(text: str, inputs: int, outputs: int) -> nn.Module:
    """Return the projector that a call string names: features (N, ``inputs``) → embeddings (N, ``outputs``).

    Raises:
        UserError: if there is no such projector, or a plug-in's fails, is no module or gives no vectors.
    """

    def check(found: object) -> None:
        check_network(found, f"the projector {text}", torch.zeros(2, inputs), None, ("features", "embeddings"))

    module: nn.Module = make("projector", text, inputs, outputs, check=check)
    return module
