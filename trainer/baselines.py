"""Losses of embeddings, as baselines: they look at the embeddings' covariance, not at pairs, and so have no α.

They take the projections as they are, not brought to unit length.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from trainer.registry import F, register

EPSILON = 1e-4  # added to variances before their root is taken (VICReg); Barlow Twins has BatchNorm's 1e-5


def embedding_loss(**bounds: str) -> Callable[[F], F]:
    """Register a loss of embeddings: two views' raw projections, (N, D) each → a scalar."""
    return register("embedding_loss", bounds, inputs=2)


@embedding_loss(invariance=">= 0", variance=">= 0", covariance=">= 0")
def vicreg(view1: Tensor, view2: Tensor, invariance: float = 25.0, variance: float = 25.0, covariance: float = 1.0) -> Tensor:
    """VICReg: mean squared distance of the views, a hinge at 1 on each dimension's deviation, squared covariances over D.

    Source: Bardes et al. (2022), arXiv 2105.04906; variance and covariance are means and sums over both views as in its code.
    """
    views = torch.stack([view1, view2])
    spread = torch.relu(1 - (views.var(dim=1) + EPSILON).sqrt()).mean()
    centred = views - views.mean(dim=1, keepdim=True)
    off_diagonal = _off_diagonal(centred.mT @ centred / (len(view1) - 1)).square().sum() / views.shape[2]
    value: Tensor = invariance * (view1 - view2).square().mean() + variance * spread + covariance * off_diagonal
    return value


@embedding_loss(redundancy=">= 0")
def barlow_twins(view1: Tensor, view2: Tensor, redundancy: float = 0.0051) -> Tensor:
    """Barlow Twins: Σ_d (1 − C_dd)² + λ Σ_{d≠e} C_de², C the views' cross-correlation over the batch; λ = ``redundancy``.

    Source: Zbontar et al. (2021), arXiv 2103.03230.
    """
    first, second = ((v - v.mean(dim=0)) / (v.var(dim=0, correction=0) + 1e-5).sqrt() for v in (view1, view2))
    correlation = first.T @ second / len(first)
    value: Tensor
    value = (1 - correlation.diagonal()).square().sum() + redundancy * _off_diagonal(correlation).square().sum()
    return value


def _off_diagonal(matrix: Tensor) -> Tensor:
    """Square matrices (…, D, D) with zeros on their diagonals."""
    return matrix - torch.diag_embed(matrix.diagonal(dim1=-2, dim2=-1))
