"""Objectives: a call string such as ``direct(p=4)`` → a function of two views, to be minimised.

Three kinds (arXiv 2201.12680): a loss L_{φ,ψ} of section 2; a constructor's −E_α, α held constant; ``backprop``, whose
gradient also flows through α. All are averages over the 2N anchors.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, logsumexp

from trainer.alphas import CONSTRUCTORS, constructor, entropy
from trainer.calls import Call, parse_call
from trainer.errors import ConfigError, UserError
from trainer.pairs import Pairs, pair_distances
from trainer.registry import REGISTRY, Component, F, find, names_of, register

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


def energy(alpha: Tensor, d: Pairs) -> Tensor:
    """The contrastive energy E_α = mean_i Σ_j α_ij (d²_ij − d²_i) (section 3); scalar."""
    return -(alpha * d.gaps).sum(dim=1).mean()


def implied_alpha(function: Callable[..., Tensor], d: Pairs, **parameters: Any) -> Tensor:
    """The α a loss implies, φ′(ξ_i) ψ′(d²_i − d²_ij) (section 3), as the derivative of its value by the gaps."""
    with torch.enable_grad():
        gaps = d.gaps.detach().requires_grad_()
        return torch.autograd.grad(function(gaps, **parameters).sum(), gaps)[0]


@dataclass(frozen=True)
class Objective:
    """A callable ``(view1, view2) -> scalar`` to be minimised; views are l2-normalised embeddings, (N, D) each.

    ``name`` is the full call string, every hyper-parameter spelled out; ``family`` is the component's name alone; ``tau`` is
    None for an objective that has no temperature.
    """

    name: str
    family: str
    tau: float | None
    value: Callable[[Pairs], Tensor]
    weights: Callable[[Pairs], Tensor]

    def __call__(self, view1: Tensor, view2: Tensor) -> Tensor:
        """The objective's value: float32, or float64 for float64 views, whatever autocast says."""
        with torch.autocast(view1.device.type, enabled=False):
            return self.value(pair_distances(view1, view2))

    @torch.no_grad()
    def alpha(self, view1: Tensor, view2: Tensor) -> Tensor:
        """The pairwise importance α of these embeddings, (2N, 2N − 2), a constant."""
        with torch.autocast(view1.device.type, enabled=False):
            return self.weights(pair_distances(view1, view2).detach())


def find_objective(text: str) -> tuple[Component, Call]:
    """The component that a call string names, and the parsed call; its hyper-parameters are not yet checked.

    Raises:
        UserError: not a call string, or no such objective.
    """
    call = parse_call(text)
    return find("objective", call.name), call


def objective_names() -> list[str]:
    """Every objective's name, losses first."""
    return names_of("objective")


def has_tau(text: str) -> bool:
    """Whether the objective that a call string names has a temperature."""
    component, call = find_objective(text)
    return has_tau(_inner(call)) if component.name == "alpha_of" else component.has_tau


def make_objective(name: str, tau: float | None = None) -> Objective:
    """Build the objective that a call string names.

    ``tau`` is the temperature; an objective that has none (``uniform``) ignores it.

    Raises:
        UserError: unknown objective or hyper-parameter, a value out of range, or no ``tau`` where there must be one.
    """
    component, call = find_objective(name)
    if component.name == "alpha_of":
        return _alpha_of(call, tau)
    bound = component.bind(call)
    full = str(Call(component.name, (), tuple(bound.items())))
    given = {**bound, **({"tau": _checked_tau(name, tau)} if component.has_tau else {})}
    function = component.function
    if component.name == "backprop":
        return Objective(full, component.name, tau, lambda d: -energy(entropy(d, **given), d), lambda d: entropy(d, **given))
    if component.name in CONSTRUCTORS:
        return Objective(
            full,
            component.name,
            given.get("tau"),
            lambda d: -energy(function(d.detach(), **given), d),
            lambda d: function(d, **given),
        )
    return Objective(
        full,
        component.name,
        given.get("tau"),
        lambda d: function(d.gaps, **given).mean(),
        lambda d: implied_alpha(function, d, **given),
    )


def _checked_tau(name: str, tau: float | None) -> float:
    if isinstance(tau, bool) or not isinstance(tau, (int, float)) or not (0 < tau < math.inf):
        raise ConfigError("tau", f"expected tau > 0 for {name}, got tau={tau!r}")
    return float(tau)


def _inner(call: Call) -> str:
    if len(call.args) != 1 or call.kwargs or not isinstance(call.args[0], Call) or call.args[0].name not in LOSSES:
        known = ", ".join(LOSSES)
        raise UserError(f"{call}: expected one loss inside, as in 'alpha_of(infonce)'; known: {known}")
    return str(call.args[0])


def _alpha_of(call: Call, tau: float | None) -> Objective:
    inner = make_objective(_inner(call), tau)
    return Objective(
        f"alpha_of({inner.name})", "alpha_of", inner.tau, lambda d: -energy(inner.weights(d.detach()), d), inner.weights
    )


@register("combination", {})
def backprop(d: Pairs, tau: float) -> Tensor:
    """The paper's ablation "backprop α(θ)": ``entropy``'s value, but the gradient also flows through α."""
    return entropy(d, tau)


@register("combination", {})
def alpha_of(d: Pairs) -> Tensor:
    """Any loss read as a constructor, ``alpha_of(infonce)``: α_ij = φ′(ξ_i) ψ′(d²_i − d²_ij), not normalised."""
    raise UserError("alpha_of needs a loss, as in 'alpha_of(infonce)'")


def load_entry_points() -> None:
    """Import what installed packages name under the entry point ``alphacl.constructors``; a broken module is warned of."""
    for entry in importlib.metadata.entry_points(group="alphacl.constructors"):
        try:
            entry.load()
        except Exception as error:  # noqa: BLE001 - somebody else's module must not stop ours
            warnings.warn(f"cannot load the constructors of {entry.name} ({entry.value}): {error}", stacklevel=2)


def load_plugin(module: str) -> None:
    """Import a user's module, whose ``@constructor`` functions then work wherever an objective is named.

    Raises:
        UserError: the module cannot be imported.
    """
    try:
        importlib.import_module(module)
    except UserError:
        raise
    except Exception as error:  # noqa: BLE001 - a user's module may raise anything
        raise UserError(f"cannot import the plugin {module!r}: {(str(error) or type(error).__name__).splitlines()[0]}") from None


load_entry_points()

__all__ = [
    "LOSSES",
    "Objective",
    "constructor",
    "energy",
    "find_objective",
    "has_tau",
    "implied_alpha",
    "load_plugin",
    "make_objective",
    "objective_names",
]
