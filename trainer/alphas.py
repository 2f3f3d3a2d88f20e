"""α-constructors, the paper's min player: rules that weigh every negative by an importance α (arXiv 2201.12680, 3 and 6).

A constructor maps :class:`~trainer.pairs.Pairs` to α of the shape of ``pairs.inter``, (2N, 2N − 2), with α ≥ 0. It sees
constants: no gradient flows through α. It may return α and β, (2N, 1), the weight of the positive, which otherwise is the sum of
α's row. Its keyword arguments are its hyper-parameters, under the same names in call
strings and search spaces; one that declares ``tau`` has a temperature. Registering one is a single decorated function.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, softmax

from trainer.pairs import Pairs, negatives_of, square_of
from trainer.registry import REGISTRY, F, register

CONSTRUCTORS = REGISTRY["constructor"]


def constructor(**bounds: str) -> Callable[[F], F]:
    """Register a constructor; ``bounds`` gives hyper-parameters' ranges, as in ``@constructor(p="> 0")``."""
    return register("constructor", bounds)


def signed_constructor(**bounds: str) -> Callable[[F], F]:
    """Register a constructor whose α may be negative: such a negative is pulled, where others are pushed away."""
    return register("constructor", bounds, is_signed=True)


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
    """Minimise Σ α d² − τ H_q(α) with Tsallis' entropy H_q(α) = Σ (α − α^q) / (q(q − 1)).

    Given a row's largest α, α_max at the smallest d², the others follow in closed form:
    α = max(0, α_max^(q−1) − (q − 1)(d² − d²_min)/τ)^(1/(q−1)). The largest is the root of Σ α = 1, found by false position for
    q ≤ 2 and by bisection above.
    q → 1 is ``entropy``, 2 is ``square``; below 1 the weights are heavy-tailed.
    """
    u = (d.inter.amin(dim=1, keepdim=True) - d.inter) / tau
    if abs(q - 1) < 1e-9:
        return softmax(u, dim=1)

    def log_alpha(log_top: Tensor) -> Tensor:  # α given its largest entry, from α^(q−1) being affine in d²
        ratio = (q - 1) * u * (-(q - 1) * log_top).exp()
        return log_top + ratio.clamp_min(-1).log1p() / (q - 1)

    def excess(log_top: Tensor) -> Tensor:  # log Σ α, which grows with the largest entry
        return torch.logsumexp(log_alpha(log_top), dim=1, keepdim=True)

    low = torch.full_like(u[:, :1], -math.log(u.shape[1]))  # the largest of K entries is in [1/K, 1]
    find = _false_position if q <= 2 else _bisection
    return softmax(log_alpha(find(excess, low, torch.zeros_like(low))), dim=1)


def _bisection(function: Callable[[Tensor], Tensor], low: Tensor, high: Tensor) -> Tensor:
    """Return where a growing function is zero, between ``low`` and ``high``, to the precision of their type."""
    for _ in range(60 if low.dtype == torch.float64 else 32):
        middle = (low + high) / 2
        over = function(middle) > 0
        low, high = torch.where(over, low, middle), torch.where(over, middle, high)
    return (low + high) / 2


def _false_position(function: Callable[[Tensor], Tensor], low: Tensor, high: Tensor) -> Tensor:
    """Return where a growing function, nearly a straight line, is zero; in a third of the steps of bisection.

    The Illinois method: where the same end moves twice, the value at the other end counts half.
    """
    at_low, at_high = function(low).clamp_max(0), function(high).clamp_min(0)
    before = torch.zeros_like(low, dtype=torch.bool)
    for step in range(12 if low.dtype == torch.float64 else 8):
        span = at_high - at_low
        middle = torch.where(span > 0, (low * at_high - high * at_low) / span.clamp_min(1e-30), low)
        middle = middle.clamp(low, high)
        value = function(middle)
        over = value > 0
        if step:
            at_low = torch.where(over & before, at_low / 2, at_low)
            at_high = torch.where(over | before, at_high, at_high / 2)
        low, at_low = torch.where(over, low, middle), torch.where(over, at_low, value)
        high, at_high = torch.where(over, middle, high), torch.where(over, value, at_high)
        before = over
    return torch.where(at_high.abs() < at_low.abs(), high, low)


@constructor(p="> 0")
def direct(d: Pairs, tau: float, p: float = 4.0) -> Tensor:
    """α-CL-direct: α written down directly, α_ij ∝ exp(−d_ij^p / τ); p = 2 is ``entropy`` (paper: p = 4)."""
    return softmax(-d.inter.pow(p / 2) / tau, dim=1)


@register("constructor", {"sigma": "> 0", "eps": ">= 0"}, added_later=("eps",))
def adnce(d: Pairs, tau: float, mu: float = 0.7, sigma: float = 1.0, eps: float = 0.0) -> Tensor:
    """ADNCE (Wu et al. 2023): α_ij = w n / (ε p + Σ w n), w = N(s_ij; μ, σ) over its row's mean; ε = 1 is the authors' loss.

    n = exp(s_ij/τ) and p = exp(s_i⁺/τ) with the cosine s = 1 − d². With ε = 0 rows sum to 1 (the decoupled loss).
    Source: junkangwu/ADNCE, ``image/model.py``, where w is held constant.
    """
    s = 1 - d.inter
    log_density = -(s - mu).square() / (2 * sigma**2)
    if eps == 0:
        return softmax(s / tau + log_density, dim=1)
    log_mean = torch.logsumexp(log_density, dim=1, keepdim=True) - math.log(s.shape[1])
    positive = (1 - d.intra) / tau + math.log(eps)
    return softmax(torch.cat([s / tau + log_density - log_mean, positive], dim=1), dim=1)[:, :-1]


@constructor(rounds=">= 0 and <= 1000")
def sinkhorn(d: Pairs, tau: float, rounds: int = 5) -> Tensor:
    """Transport plan: α is exp(−d²_ij/τ) brought to equal columns and rows in turn, ``rounds`` times; 0 is ``entropy``.

    Rows come last, so they sum to 1. Source: arXiv 2502.20141, with the negatives alone in the plan.
    """
    logits = square_of(-d.inter / tau, -math.inf)
    for _ in range(rounds):
        logits = logits - torch.logsumexp(logits, dim=1, keepdim=True)
        logits = logits - torch.logsumexp(logits, dim=0, keepdim=True)
    return softmax(logits.gather(1, negatives_of(len(logits) // 2, logits.device)), dim=1)


@constructor(sigma="> 0")
def dclw(d: Pairs, tau: float, sigma: float = 0.5) -> tuple[Tensor, Tensor]:
    """DCLW: α of ``entropy``, and weights of the positives β_i = 2 − 2N softmax_i(s_i⁺/σ), less for those already near.

    The softmax is over all 2N anchors. Source: Yeh et al. (2022), arXiv 2110.06848.
    """
    weights = 2 - len(d.intra) * softmax((1 - d.intra) / sigma, dim=0)
    return entropy(d, tau), weights


@signed_constructor()
def spectral(d: Pairs) -> tuple[Tensor, Tensor]:
    """Spectral contrastive loss −2 s_i⁺ + mean_j s_ij²: α_ij = 2 s_ij / (2N − 2), which is signed, and β_i = 2.

    Has no temperature. Source: HaoChen et al. (2021), arXiv 2106.04156.
    """
    return 2 * (1 - d.inter) / d.inter.shape[1], torch.full_like(d.intra, 2)
