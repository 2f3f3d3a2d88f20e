"""An α-constructor of one's own: Laplace weights, which fall with the distance itself and not with its square."""

from torch import Tensor, softmax

from trainer.alphas import constructor
from trainer.pairs import Pairs


@constructor(beta="> 0")
def by_distance(d: Pairs, tau: float, beta: float = 1.0) -> Tensor:
    """α_ij ∝ exp(−β d_ij / τ)."""
    return softmax(-beta * d.inter.clamp_min(1e-12).sqrt() / tau, dim=1)
