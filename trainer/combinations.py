"""Objectives that are made of other objectives, such as ``backprop(infonce)``, or of formulas that the user writes.

:mod:`trainer.objectives` builds them.
"""

from __future__ import annotations

from torch import Tensor

from trainer.alphas import entropy
from trainer.errors import UserError
from trainer.pairs import Pairs
from trainer.registry import register


@register("combination", {})
def backprop(d: Pairs, tau: float) -> Tensor:
    """The paper's ablation "backprop α(θ)": ``entropy``'s value, but the gradient also flows through α."""
    return entropy(d, tau)


@register("combination", {})
def alpha_of(d: Pairs) -> Tensor:
    """Any loss read as a constructor, ``alpha_of(infonce)``: α_ij = φ′(ξ_i) ψ′(d²_i − d²_ij), not normalised."""
    raise UserError("alpha_of needs a loss, as in 'alpha_of(infonce)'")


@register("combination", {})
def formula(d: Pairs) -> Tensor:
    """An objective written down where it is used, ``formula(alpha='exp(-d2**(p/2)/tau)', p=4)`` or by ``phi`` and ``psi``."""
    raise UserError("formula needs alpha, or phi and psi, as in \"formula(alpha='exp(-d2/tau)')\"")
