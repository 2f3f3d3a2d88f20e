"""Distances between two views' embeddings, which every objective is a function of (arXiv 2201.12680, section 2)."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import torch
from torch import Tensor

from trainer.errors import UserError


class Pairs(NamedTuple):
    """Squared distances from the 2N anchors, the N embeddings of view 1 and then the N of view 2, to negatives and positives.

    Args:
        inter: (2N, 2N − 2), d²_ij = ½‖z_i − z_j‖² to the negatives, the views of all other images.
        intra: (2N, 1), d²_i = ½‖z_i − z_i′‖² to the positive, the other view of the same image.
    """

    inter: Tensor
    intra: Tensor

    @property
    def gaps(self) -> Tensor:
        """Return d²_i − d²_ij, (2N, 2N − 2): the argument of ψ."""
        return self.intra - self.inter

    def detach(self) -> Pairs:
        """Return the same distances as constants, rounding errors below zero removed."""
        return Pairs(self.inter.detach().clamp_min(0), self.intra.detach().clamp_min(0))


def pair_distances(view1: Tensor, view2: Tensor) -> Pairs:
    """Return the squared distances among two views of N images, computed in float32, or in float64 for float64 input.

    On the unit sphere d² = 1 − cos, in [0, 2]. Memory is O(N²): no difference vectors are formed.

    Args:
        view1: embeddings of the first view, (N, D).
        view2: embeddings of the second view, (N, D); row n of both is image n.

    Raises:
        UserError: if the shapes differ or are not (N, D), or if N < 2 (there would be no negative).
    """
    if view1.shape != view2.shape or view1.ndim != 2 or view1.shape[0] < 2:
        raise UserError(f"expected two views of shape (N, D) with N >= 2, got {tuple(view1.shape)} and {tuple(view2.shape)}")
    z = torch.cat([view1, view2])
    z = z if z.dtype == torch.float64 else z.float()
    half_norms = z.square().sum(dim=1) / 2
    squared = half_norms[:, None] + half_norms[None, :] - z @ z.T
    anchors, n = torch.arange(len(z), device=z.device)[:, None], len(view1)
    return Pairs(
        inter=squared.gather(1, negatives_of(n, z.device)),
        intra=squared.gather(1, (anchors + n) % len(z)),
    )


def negatives_of(n: int, device: torch.device | None = None) -> Tensor:
    """Return the indices of each anchor's negatives among 2N embeddings of N images, (2N, 2N − 2), in ``Pairs.inter``'s order."""
    offsets = torch.arange(1, 2 * n - 1, device=device)
    offsets = offsets + (offsets >= n)  # 1 … 2N − 1 without N, which leads to the positive
    return (torch.arange(2 * n, device=device)[:, None] + offsets) % (2 * n)


def in_same_view(n: int, device: torch.device | None = None) -> Tensor:
    """Tell which of each anchor's negatives are of the anchor's own view, (2N, 2N − 2) bool, in ``Pairs.inter``'s order."""
    return (negatives_of(n, device) < n) == (torch.arange(2 * n, device=device)[:, None] < n)


def square_of(values: Tensor, fill: float) -> Tensor:
    """Return values of negatives (2N, 2N − 2) as a matrix of all embeddings (2N, 2N), ``fill`` at the anchor and its positive."""
    n = len(values) // 2
    return values.new_full((2 * n, 2 * n), fill).scatter(1, negatives_of(n, values.device), values)


def warn_of_length(name: str, view: Tensor) -> None:
    """Warn where the first embedding is not of unit length; not on a GPU, where looking at a value would make the host wait."""
    if view.device.type != "cpu" or torch.compiler.is_compiling() or not len(view):
        return
    length = float(view[0].detach().norm())
    if abs(length - 1) > 0.02:
        warnings.warn(
            f"{name}: expected l2-normalised embeddings, got one of length {length:.3g};"
            " normalise them first: torch.nn.functional.normalize(view, dim=1)",
            stacklevel=3,
        )
