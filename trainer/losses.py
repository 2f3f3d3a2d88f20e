"""Losses of the family L_{φ,ψ}, functions of the gaps between distances (arXiv 2201.12680, section 2 and Table 1)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, logsumexp

from trainer.registry import REGISTRY, F, register

LOSSES = REGISTRY["loss"]


def loss(**bounds: str) -> Callable[[F], F]:
    """Register a loss of the family: the gaps x_ij = d²_i − d²_ij, (2N, 2N − 2) → φ(Σ_j ψ(x_ij)), (2N,)."""
    return register("loss", bounds)


def _log1p_exp(x: Tensor) -> Tensor:
    return torch.logaddexp(x, torch.zeros_like(x))


@loss(eps=">= 0")
def infonce(x: Tensor, tau: float, eps: float = 1.0) -> Tensor:
    """InfoNCE: φ(x) = τ log(ε + x), ψ(x) = exp(x/τ); ε = 1 is τ times NT-Xent, ε = 0 the decoupled loss."""
    log_eps = x.new_full((), math.log(eps) if eps > 0 else -math.inf)
    return tau * torch.logaddexp(logsumexp(x / tau, dim=1), log_eps)


@loss()
def mine(x: Tensor) -> Tensor:
    """MINE: φ(x) = log x, ψ(x) = exp(x). Has no temperature."""
    return logsumexp(x, dim=1)


@loss()
def triplet(x: Tensor, margin: float = 0.5) -> Tensor:
    """Triplet: φ(x) = x, ψ(x) = max(x + margin, 0). Has no temperature."""
    return (x + margin).clamp_min(0).sum(dim=1)


@loss()
def soft_triplet(x: Tensor, tau: float, margin: float = 0.5) -> Tensor:
    """Soft triplet: φ(x) = τ log(1 + x), ψ(x) = exp(x/τ + margin)."""
    return tau * _log1p_exp(logsumexp(x / tau, dim=1) + margin)


@loss()
def n_plus_1_tuplet(x: Tensor) -> Tensor:
    """(N+1)-tuplet: φ(x) = log(1 + x), ψ(x) = exp(x). Has no temperature."""
    return _log1p_exp(logsumexp(x, dim=1))


@loss()
def lifted_structured(x: Tensor, margin: float = 0.5) -> Tensor:
    """Lifted structured: φ(x) = max(log x, 0)², ψ(x) = exp(x + margin). Has no temperature."""
    return (logsumexp(x, dim=1) + margin).clamp_min(0).square()


@loss(c="> 0")
def modified_triplet(x: Tensor, c: float = 5.0) -> Tensor:
    """Modified triplet: φ(x) = x, ψ(x) = sigmoid(c x). Has no temperature."""
    return (c * x).sigmoid().sum(dim=1)


@loss()
def triplet_contrastive(x: Tensor) -> Tensor:
    """Triplet contrastive: φ(x) = ψ(x) = x. Has no temperature."""
    return x.sum(dim=1)
