"""The contrastive energy of α and β, and the α and β that a loss implies (arXiv 2201.12680, section 3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from trainer.pairs import Pairs


class Weights(NamedTuple):
    """How strongly an objective pushes and pulls: minus and plus its derivatives by squared distances, times 2N.

    Args:
        alpha: weight of each negative, which is pushed away where it is positive, (2N, 2N − 2).
        beta: weight of each anchor's positive, which is pulled, (2N, 1); None where it is the sum of the row of ``alpha``, as
            in every objective that only depends on the gaps d²_i − d²_ij.
    """

    alpha: Tensor
    beta: Tensor | None = None


def energy(alpha: Tensor, d: Pairs, beta: Tensor | None = None) -> Tensor:
    """Return the contrastive energy E = mean_i [Σ_j α_ij d²_ij − β_i d²_i], a scalar.

    Source: arXiv 2201.12680, section 3, where β_i = Σ_j α_ij.

    Args:
        alpha: weight of each negative, (2N, 2N − 2).
        d: squared distances of 2N anchors.
        beta: weight of each positive, (2N, 1); the sums of ``alpha``'s rows when not given.
    """
    if beta is None:
        return -(alpha * d.gaps).sum(dim=1).mean()
    return ((alpha * d.inter).sum(dim=1) - (beta * d.intra).sum(dim=1)).mean()


def implied_alpha(function: Callable[..., Tensor], d: Pairs, **parameters: Any) -> Tensor:
    """Return the α that a loss of the family implies, φ′(ξ_i) ψ′(d²_i − d²_ij), (2N, 2N − 2): its derivative by the gaps.

    Source: arXiv 2201.12680, section 3.

    Args:
        function: the loss, gaps (2N, 2N − 2) → values (2N,).
        d: squared distances of 2N anchors.
        parameters: the loss's hyper-parameters.
    """
    with torch.enable_grad():
        gaps = d.gaps.detach().requires_grad_()
        return torch.autograd.grad(function(gaps, **parameters).sum(), gaps)[0]


def implied_weights(function: Callable[..., Tensor], d: Pairs, **parameters: Any) -> Weights:
    """Return the α and β that a loss of pairs implies: its derivatives by the squared distances.

    Args:
        function: the loss, :class:`~trainer.pairs.Pairs` → values (2N,).
        d: squared distances of 2N anchors.
        parameters: the loss's hyper-parameters.
    """
    with torch.enable_grad():
        free = Pairs(d.inter.detach().requires_grad_(), d.intra.detach().requires_grad_())
        by_inter, by_intra = torch.autograd.grad(function(free, **parameters).sum(), free, materialize_grads=True)
    return Weights(-by_inter, by_intra)
