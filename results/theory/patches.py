"""Makes real image patches and their contrastive covariance, for checking the theory of the max player."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from trainer.objectives import make_objective
from trainer.pairs import negatives_of, pair_distances

SIDE = 8


def photo_patches(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return two views of ``count`` grey 8×8 patches of scikit-learn's two photographs: (count, 64) each, float64, centred.

    The second view of a patch is the photograph one or two pixels further, brighter or darker by up to a fifth.
    """
    from sklearn.datasets import load_sample_images

    photos = [torch.tensor(p.mean(axis=2) / 255) for p in load_sample_images().images]
    rng = np.random.default_rng(seed)
    views: tuple[list[Tensor], list[Tensor]] = ([], [])
    for _ in range(count):
        photo = photos[rng.integers(len(photos))]
        top, left = (int(rng.integers(2, edge - SIDE - 2)) for edge in photo.shape)
        down, right = rng.integers(-2, 3, size=2)
        views[0].append(photo[top : top + SIDE, left : left + SIDE].flatten())
        moved = photo[top + down : top + down + SIDE, left + right : left + right + SIDE].flatten()
        views[1].append(moved * rng.uniform(0.8, 1.2))
    first, second = torch.stack(views[0]), torch.stack(views[1])
    mean = torch.cat([first, second]).mean(dim=0)
    return first - mean, second - mean


def fixed_alpha(first: Tensor, second: Tensor, objective: str, tau: float) -> Tensor:
    """Return a constant α, (2N, 2N), for all pairs of views: the objective's at the l2-normalised patches themselves.

    Args:
        first: first views, (N, D).
        second: second views, (N, D).
        objective: the objective's call string.
        tau: its temperature.
    """
    unit = [torch.nn.functional.normalize(v, dim=1) for v in (first, second)]
    alpha = make_objective(objective, tau).alpha(*unit)
    n = len(first)
    full = torch.zeros(2 * n, 2 * n, dtype=alpha.dtype)
    return full.scatter_(1, negatives_of(n), alpha)


def contrastive_covariance(first: Tensor, second: Tensor, alpha: Tensor) -> Tensor:
    """Return the contrastive covariance C_α, (D, D), of views for a fixed α (arXiv 2201.12680, section 3).

    C_α = mean_i Σ_j α_ij [(x_i − x_j)(x_i − x_j)ᵀ − (x_i − x_i′)(x_i − x_i′)ᵀ]; a linear W has E_α = ½ tr(W C_α Wᵀ).
    Views are (…, N, D); ``alpha`` is (2N, 2N), zero for an anchor itself and its positive.
    """
    x, other = torch.cat([first, second], dim=-2), torch.cat([second, first], dim=-2)
    rows, columns = alpha.sum(dim=1), alpha.sum(dim=0)
    cross = x.mT @ (alpha @ x)
    inter = x.mT @ ((rows + columns)[:, None] * x) - cross - cross.mT
    gap = x - other
    return (inter - gap.mT @ (rows[:, None] * gap)) / len(alpha)


def patch_energy(first: Tensor, second: Tensor, alpha: Tensor) -> float:
    """Return the contrastive energy E_α of image patches by its definition, to check :func:`contrastive_covariance` against.

    Args:
        first, second: the two views of N patches, (N, D) each.
        alpha: the weight of every pair, (2N, 2N).
    """
    d = pair_distances(first, second)
    picked = alpha.gather(1, negatives_of(len(first)))
    return float((picked * (d.inter - d.intra)).sum(dim=1).mean())
