"""Diagnostics of one batch: how α is spread over the pairs, and whether the embeddings collapse; cheap enough for every epoch.

Each function maps tensors to a float. α is as an objective gives it, (2N, 2N − 2); for entropies and shares the magnitudes of
each row are brought to sum 1, and rows without any weight count as such.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from trainer import label_free
from trainer.energy import energy
from trainer.extra_metrics import own_metrics
from trainer.objectives import Objective
from trainer.pairs import Pairs, pair_distances

HARDEST = 0.01  # share of an anchor's negatives that count as the hardest, one at least


def alpha_entropy(alpha: Tensor) -> float:
    """Return the entropy of α (2N, 2N − 2) in nats, mean over anchors; log(2N − 2) when all negatives weigh alike."""
    return float(torch.special.entr(_rows(alpha)).sum(dim=1).mean())


def effective_negatives(alpha: Tensor) -> float:
    """Return how many negatives matter: exp(entropy of α) per anchor, mean over anchors; 0 for an anchor without any weight."""
    rows = _rows(alpha)
    return float((torch.special.entr(rows).sum(dim=1).exp() * (rows.sum(dim=1) > 0)).mean())


def hardest_share(alpha: Tensor, inter: Tensor) -> float:
    """Return the share of α on the hardest (nearest) 1 % of each anchor's negatives, mean over anchors.

    ``alpha`` and the squared distances to the negatives, ``inter``, are (2N, 2N − 2) each.
    """
    count = max(1, math.ceil(HARDEST * inter.shape[1]))
    nearest = inter.topk(count, dim=1, largest=False).indices
    return float(_rows(alpha).gather(1, nearest).sum(dim=1).mean())


def sparsity(alpha: Tensor) -> float:
    """Return the share of negatives whose α is exactly zero."""
    return float((alpha == 0).float().mean())


def alignment(d: Pairs) -> float:
    """Return the mean squared distance ‖z_i − z_i′‖² between an image's two views; 0 when views coincide.

    Source: Wang and Isola (2020), whose exponent α is 2 here.
    """
    return float(2 * d.intra.mean())


def uniformity(d: Pairs) -> float:
    """Return log mean exp(−2 ‖z_i − z_j‖²) over negatives; 0 for a collapse, lower is more uniform.

    Source: Wang and Isola (2020), with t = 2.
    """
    return float(torch.logsumexp(-4 * d.inter.flatten(), dim=0) - math.log(d.inter.numel()))


def rank_me(x: Tensor) -> float:
    """Return RankMe of vectors (N, D), exp(entropy of their normalised singular values); 1 for a full collapse.

    Source: Garrido et al. (2023).
    """
    values = label_free.squared_singular_values(x).sqrt()
    shares = values / values.sum().clamp_min(1e-12)
    return float(torch.special.entr(shares).sum().exp())


@torch.no_grad()
def diagnose(objective: Objective, view1: Tensor, view2: Tensor, features: Tensor) -> dict[str, float]:
    """Return all diagnostics of a batch by metric name; those of α are missing where the objective weighs no pairs.

    Args:
        objective: the objective whose α is described.
        view1: embeddings of the first view, (N, D), l2-normalised.
        view2: embeddings of the second view, (N, D), l2-normalised.
        features: the encoder's features of both views, (2N, F).
    """
    d = pair_distances(view1, view2).detach()
    weights = objective.alpha_beta(view1, view2)
    of_alpha = {}
    if weights is not None:
        alpha = weights.alpha
        of_alpha = {
            "alpha/entropy": alpha_entropy(alpha),
            "alpha/effective_negatives": effective_negatives(alpha),
            "alpha/hardest_1pct": hardest_share(alpha, d.inter),
            "alpha/sparsity": sparsity(alpha),
            "alpha/energy": float(energy(alpha, d, weights.beta)),
        }
    return {
        **of_alpha,
        "embedding/alignment": alignment(d),
        "embedding/uniformity": uniformity(d),
        "embedding/rank": rank_me(torch.cat([view1, view2])),
        "feature/rank": rank_me(features),
        **label_free.measure(features),
        **own_metrics(view1, view2, features),
    }


def _rows(alpha: Tensor) -> Tensor:
    alpha = alpha.abs()
    total = alpha.sum(dim=1, keepdim=True)
    return torch.where(
        total > 0, alpha / total.clamp_min(1e-300 if alpha.dtype == torch.float64 else 1e-38), torch.zeros_like(alpha)
    )
