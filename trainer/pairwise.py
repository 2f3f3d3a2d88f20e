"""Losses of pairs: any function of the squared distances of one anchor's pairs, which need not depend on gaps alone.

Where a loss changes when all similarities of an anchor shift together, its positive is pulled with a weight β_i of its own,
and it is not α-CL in the paper's sense. All are multiplied by τ where they have a temperature, as ``infonce`` is.
In the formulas s = 1 − d² is the cosine, n = exp(s_ij/τ) of a negative and p = exp(s_i⁺/τ) of the positive.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, logsumexp
from torch.nn.functional import softplus

from trainer.pairs import Pairs, in_same_view
from trainer.registry import F, register

NEAR = 1e-6  # squared distances below count as this much where a root is taken, whose slope at 0 is infinite


def pair_loss(**bounds: str) -> Callable[[F], F]:
    """Register a loss of pairs: :class:`~trainer.pairs.Pairs` → the value of each anchor, (2N,); α may come out negative."""
    return register("pair_loss", bounds)


@pair_loss(prior=">= 0 and < 1", b=">= 0")
def hard_negatives(d: Pairs, tau: float, b: float = 1.0, prior: float = 0.1) -> Tensor:
    """Hard negatives: −log p/(p + G), G = max((K Σn^(1+b)/Σn^b − K π p)/(1 − π), K e^(−1/τ)), K = 2N − 2, π = ``prior``.

    The gradient also flows through the weights n^b, so that α can be negative; held constant, they make ``entropy`` at τ/(1 + b).
    Source: Robinson et al. (2021), arXiv 2010.04592, and the released code, joshr17/HCL.
    """
    return _debiased(d, tau, b, prior)


@pair_loss(prior=">= 0 and < 1")
def debiased(d: Pairs, tau: float, prior: float = 0.1) -> Tensor:
    """Debiased: −log p/(p + G), G = max((Σn − K π p)/(1 − π), K e^(−1/τ)), K = 2N − 2; π = ``prior`` is a class's share.

    Source: Chuang et al. (2020), arXiv 2007.00224, and the released code, chingyaoc/DCL.
    """
    return _debiased(d, tau, 0.0, prior)


def _debiased(d: Pairs, tau: float, b: float, prior: float) -> Tensor:
    """τ log(1 + G/p), in logarithms: G may be e^(100) at small τ."""
    negatives, positive, many = (1 - d.inter) / tau, ((1 - d.intra) / tau).squeeze(1), d.inter.shape[1]
    log_sum = logsumexp((1 + b) * negatives, dim=1) - logsumexp(b * negatives, dim=1) + math.log(many)
    log_wrong = positive + math.log(many * prior) if prior > 0 else torch.full_like(positive, -math.inf)
    least = math.log(many) - 1 / tau
    # log(e^a − e^c) for a > c; where the bound is active, or nothing is left, the difference is not looked at.
    difference = (log_wrong - log_sum).clamp_max(-1e-6)
    log_g = log_sum + torch.log1p(-difference.exp()) - math.log1p(-prior)
    log_g = torch.where((log_wrong < log_sum) & (log_g > least), log_g, least)
    return tau * softplus(log_g - positive)


@pair_loss(gamma="> 0")
def kernel_infonce(d: Pairs, tau: float, gamma: float = 1.0) -> Tensor:
    """Kernel-InfoNCE: −log k⁺/(k⁺ + Σk) with k = exp(−‖z − z′‖^γ/τ); γ = 2 is ``infonce`` at τ/2, γ = 1 Laplace's kernel.

    Source: Tan et al. (2023), arXiv 2303.15103.
    """
    inter, intra = ((2 * x).clamp_min(NEAR).pow(gamma / 2) / tau for x in d)
    return tau * softplus(logsumexp(-inter, dim=1) + intra.squeeze(1))


@pair_loss(weight="> 0", t="> 0")
def alignment_uniformity(d: Pairs, weight: float = 1.0, t: float = 2.0) -> Tensor:
    """Alignment and uniformity: ‖z_i − z_i′‖² + weight · log mean exp(−t‖z_i − z_j‖²), the mean over one view's pairs.

    Has no temperature. Source: Wang and Isola (2020), arXiv 2005.10242, and SsnL/align_uniform, whose exponent α is 2 here.
    """
    n = len(d.intra) // 2
    potentials = (-2 * t * d.inter).masked_fill(~in_same_view(n, d.inter.device), -math.inf)
    by_view = torch.stack([logsumexp(potentials[:n].flatten(), dim=0), logsumexp(potentials[n:].flatten(), dim=0)])
    uniformity = by_view - math.log(n * (n - 1))
    return 2 * d.intra.squeeze(1) + weight * uniformity.repeat_interleave(n)


@pair_loss()
def sigmoid(d: Pairs, tau: float, bias: float = -10.0) -> Tensor:
    """SigLIP's loss, a logistic one per pair: −log σ(s⁺/τ + b) − Σ_j log σ(−s_ij/τ − b); scale 1/τ and bias b are not learned.

    Source: Zhai et al. (2023), arXiv 2303.15343, which begins with 1/τ = 10, b = −10.
    """
    positive, negatives = ((1 - x) / tau + bias for x in (d.intra, d.inter))
    return tau * (softplus(-positive).squeeze(1) + softplus(negatives).sum(dim=1))
