"""The min player: rules that give every negative its pairwise importance α (arXiv 2201.12680, sections 3 and 6).

A constructor maps :class:`~trainer.pairs.Pairs` to α of the shape of ``pairs.inter``, (2N, 2N − 2), with α ≥ 0. It sees
constants: no gradient flows through α. Its keyword arguments are its hyper-parameters, under the same names in call
strings and search spaces; one that declares ``tau`` has a temperature. Registering one is a single decorated function.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, softmax

from trainer.pairs import Pairs
from trainer.registry import REGISTRY, F, register

CONSTRUCTORS = REGISTRY["constructor"]


def constructor(**bounds: str) -> Callable[[F], F]:
    """Register a constructor; ``bounds`` gives hyper-parameters' ranges, as in ``@constructor(p="> 0")``."""
    return register("constructor", bounds)


@constructor()
def uniform(d: Pairs) -> Tensor:
    """Every negative weighs the same, α_ij = 1 / (2N − 2): the quadratic loss. Has no temperature."""
    return torch.full_like(d.inter, 1 / d.inter.shape[1])


@constructor()
def entropy(d: Pairs, tau: float) -> Tensor:
    """α-CL-r_H: the minimiser of Σ α d² − τ H(α), α_ij ∝ exp(−d²_ij / τ); the gradient of InfoNCE with ε = 0."""
    return softmax(-d.inter / tau, dim=1)


@constructor()
def square(d: Pairs, tau: float) -> Tensor:
    """α-CL-r_s: regulariser −(τ/2) Σ α², the Euclidean projection of −d²/τ on the simplex; sparse."""
    v = (d.inter.amin(dim=1, keepdim=True) - d.inter) / tau  # largest is 0, so the support lies within (−1, 0]
    descending = v.sort(dim=1, descending=True).values
    rank = torch.arange(1, v.shape[1] + 1, device=v.device)
    thresholds = (descending.cumsum(dim=1) - 1) / rank
    support = (descending > thresholds).sum(dim=1, keepdim=True)
    return (v - thresholds.gather(1, support - 1)).clamp_min(0)


@constructor(k="> 0")
def inverse(d: Pairs, tau: float, k: float = 1.0) -> Tensor:
    """α-CL-r_γ: heavy-tailed, α_ij ∝ (d²_ij + τ)^(−k)."""
    return softmax(-k * (d.inter + tau).log(), dim=1)


@constructor(q="> 0")
def tsallis(d: Pairs, tau: float, q: float = 1.5) -> Tensor:
    """The minimiser of Σ α d² − τ H_q(α) by bisection, H_q of Tsallis: q → 1 is ``entropy``, 2 ``square``, < 1 heavy-tailed."""
    u = (d.inter.amin(dim=1, keepdim=True) - d.inter) / tau
    if abs(q - 1) < 1e-9:
        return softmax(u, dim=1)

    def log_alpha(log_top: Tensor) -> Tensor:  # α given its largest entry, from α^(q−1) being affine in d²
        ratio = (q - 1) * u * (-(q - 1) * log_top).exp()
        return log_top + ratio.clamp_min(-1).log1p() / (q - 1)

    low = torch.full_like(u[:, :1], -math.log(u.shape[1]))  # Σ α grows with the largest entry, which is in [1/K, 1]
    high = torch.zeros_like(low)
    for _ in range(60 if u.dtype == torch.float64 else 32):
        middle = (low + high) / 2
        over = torch.logsumexp(log_alpha(middle), dim=1, keepdim=True) > 0
        low, high = torch.where(over, low, middle), torch.where(over, middle, high)
    return softmax(log_alpha((low + high) / 2), dim=1)


@constructor(p="> 0")
def direct(d: Pairs, tau: float, p: float = 4.0) -> Tensor:
    """α-CL-direct: α written down directly, α_ij ∝ exp(−d_ij^p / τ); p = 2 is ``entropy`` (paper: p = 4)."""
    return softmax(-d.inter.pow(p / 2) / tau, dim=1)


@constructor(sigma="> 0")
def adnce(d: Pairs, tau: float, mu: float = 0.7, sigma: float = 1.0) -> Tensor:
    """ADNCE (Wu et al. 2023): α_ij ∝ N(s_ij; μ, σ) exp(s_ij / τ) with the cosine s_ij = 1 − d²_ij."""
    s = 1 - d.inter
    return softmax(s / tau - (s - mu).square() / (2 * sigma**2), dim=1)
