"""Measures of features that need no labels, from one batch: α-ReQ, LiDAR, and CLID with what it is made of.

They are meant for comparing runs where nothing is labelled. Each was proposed on thousands of images; from one batch of N it is
an estimate, which compares with that of other runs of the same batch size and width alone. RankMe is in
:mod:`trainer.diagnostics`.
"""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor
from torch.nn import functional as F

WITHIN = 1e-4  # is added to the within-class covariance of LiDAR, as its authors do
SEED = 0  # of the k-means of CLID


def squared_singular_values(x: Tensor) -> Tensor:
    """Return the squared singular values of a matrix (N, F), the largest first: min(N, F) values in float64 on the CPU.

    They are the eigenvalues of the smaller of x xᵀ and xᵀ x, to about 1e-15 of the largest; in half of the time of an SVD.
    """
    x = x.double().cpu()  # a small matrix: faster there than on a GPU
    gram = x @ x.T if x.shape[0] <= x.shape[1] else x.T @ x
    values: Tensor = torch.linalg.eigvalsh(gram)
    return values.clamp_min(0).flip(0)


def alpha_req(features: Tensor) -> float:
    """Return α-ReQ of features (N, F): the decay α of the covariance's spectrum, λ_i ∝ i^(−α), fitted in logarithms.

    Near 1 is best: below, the spectrum is flat and rough; above, a few directions hold everything. NaN for fewer than 3
    eigenvalues above rounding. Source: Agrawal et al. (2022), arXiv 2202.05808, by least squares over all eigenvalues.
    """
    spectrum = squared_singular_values(features - features.mean(dim=0))
    spectrum = spectrum[spectrum > 1e-10 * spectrum[0].clamp_min(1e-30)]
    if len(spectrum) < 3:
        return math.nan
    x, y = torch.arange(1, len(spectrum) + 1, dtype=torch.float64).log(), spectrum.log()
    x, y = x - x.mean(), y - y.mean()
    return -float((x * y).sum() / x.square().sum())


def lidar(view1: Tensor, view2: Tensor) -> float:
    """Return LiDAR of two views' features, (N, F) each: the effective rank of Fisher's discriminant, an image's views a class.

    exp(entropy of the normalised eigenvalues of W^(−½) B W^(−½)), B the covariance of class means, W that within classes plus
    1e-4 of the identity; at most N − 1 or F. Source: Thilak et al. (2024), arXiv 2312.04000, with 2 views per image for its 50.
    """
    first, second = view1.double().cpu(), view2.double().cpu()
    means = (first + second) / 2
    between = means - means.mean(dim=0)
    within = torch.cat([first - means, second - means])
    covariance = within.T @ within / len(within) + WITHIN * torch.eye(within.shape[1], dtype=torch.float64)
    # W^(−½) B W^(−½) has the eigenvalues of (L⁻¹ X)(L⁻¹ X)ᵀ with W = L Lᵀ and B = X Xᵀ / (N − 1).
    whitened = torch.linalg.solve_triangular(torch.linalg.cholesky(covariance), between.T, upper=False)
    values = squared_singular_values(whitened)
    shares = values / values.sum().clamp_min(1e-300)
    return float(torch.special.entr(shares).sum().exp())


def intrinsic_dimension(features: Tensor) -> float:
    """Return the intrinsic dimension of features (N, F) by two nearest neighbours: N / Σ log(r₂/r₁), the likelihood's maximum.

    Points that coincide with their neighbour are left out; NaN where all do. Source: Facco et al. (2017), arXiv 1803.06992.
    """
    distances = torch.cdist(features.double().cpu(), features.double().cpu()).fill_diagonal_(math.inf)
    nearest = distances.topk(2, dim=1, largest=False).values
    ratios = nearest[:, 1] / nearest[:, 0]
    logs = ratios[(nearest[:, 0] > 0) & (ratios > 1)].log()
    return len(logs) / float(logs.sum()) if len(logs) else math.nan


def cluster_learnability(features: Tensor) -> float:
    """Return how well a nearest neighbour tells k-means' clusters of features (N, F), 0 to 1: half learns, half is judged.

    √N clusters of l2-normalised features; the halves are drawn by a fixed seed. Source: Lu et al. (2022), arXiv 2206.01251.
    """
    from scipy.cluster.vq import kmeans2  # takes 0.1 s to import

    x = F.normalize(features.double().cpu(), dim=1)
    generator = torch.Generator().manual_seed(SEED)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a cluster that is empty, as after a collapse
        _, labels = kmeans2(x.numpy(), max(1, math.isqrt(len(x))), minit="++", seed=SEED)
    order = torch.randperm(len(x), generator=generator)
    known, judged = order[: len(x) // 2], order[len(x) // 2 :]
    y = torch.from_numpy(labels).long()
    nearest = torch.cdist(x[judged], x[known]).argmin(dim=1)
    return float((y[known][nearest] == y[judged]).double().mean())


def clid(features: Tensor) -> float:
    """Return CLID of features (N, F): cluster learnability plus intrinsic dimension over F.

    The authors bring both to a common scale over the models that they compare; with the width as the scale one run has a value.
    Source: Lu et al. (2022), arXiv 2206.01251.
    """
    return cluster_learnability(features) + intrinsic_dimension(features) / features.shape[1]


@torch.no_grad()
def measure(features: Tensor) -> dict[str, float]:
    """Return all of them by metric name, from the features of both views, (2N, F); one that has no value is left out."""
    view1, view2 = features.double().cpu().chunk(2)  # once for all of them
    decay = alpha_req(view1)
    found = {
        "feature/alpha_req": decay,
        "feature/alpha_req_gap": abs(decay - 1),
        "feature/lidar": lidar(view1, view2),
        "feature/clid": clid(view1),
    }
    return {name: value for name, value in found.items() if math.isfinite(value)}
