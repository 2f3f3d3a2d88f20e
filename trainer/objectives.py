"""Objectives: a call string such as ``direct(p=4)`` becomes a function of two views that training minimises.

The formulas stand elsewhere: ``trainer/OBJECTIVES.md`` lists every objective with its formula and source. This module builds an
objective out of a loss of the family (:mod:`trainer.losses`), a constructor of α such as ``direct`` or ``tsallis``
(:mod:`trainer.alphas`), losses of pairs (:mod:`trainer.pairwise`), losses of embeddings (:mod:`trainer.baselines`) and formulas
(:mod:`trainer.formulas`). All but the losses of embeddings are averages over the 2N anchors, and tell which weight α they give
to each negative and β to the positive (arXiv 2201.12680, section 3).
"""

from __future__ import annotations

import functools
import math
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from trainer import alphas, baselines, combinations, pairwise  # noqa: F401 - registers their objectives
from trainer.calls import FORMULA, Call, parse_call
from trainer.energy import Weights, energy, implied_alpha, implied_weights
from trainer.errors import ConfigError, UserError
from trainer.formulas import check_symbols, parse_formula
from trainer.losses import LOSSES
from trainer.pairs import Pairs, pair_distances, warn_of_length
from trainer.plugin_errors import explain
from trainer.registry import Component, find, names_of

T = TypeVar("T")


@dataclass(frozen=True)
class Objective:
    """A callable ``(view1, view2) -> scalar`` to be minimised.

    Args:
        name: the full call string, every hyper-parameter spelled out.
        family: the component's name alone.
        tau: the temperature; None for an objective that has none.
        value: the objective as a function of squared distances, → scalar; None for a loss of embeddings.
        weights: α and β as a function of squared distances; None for a loss of embeddings.
        of_embeddings: a loss of embeddings, (view1, view2) → scalar; None for all others.
        is_signed: whether α may be negative.
    """

    name: str
    family: str
    tau: float | None
    value: Callable[[Pairs], Tensor] | None
    weights: Callable[[Pairs], Weights] | None
    of_embeddings: Callable[[Tensor, Tensor], Tensor] | None = None
    is_signed: bool = False

    @property
    def is_normalised(self) -> bool:
        """Tell whether the embeddings are to be brought to unit length first; only losses of embeddings take them raw."""
        return self.of_embeddings is None

    def __call__(self, view1: Tensor, view2: Tensor) -> Tensor:
        """Return the objective's value, a scalar: float32, or float64 for float64 views, whatever autocast says.

        Args:
            view1: embeddings of the first view, (N, D), l2-normalised where :attr:`is_normalised`; on a CPU the first
                call warns of those that are not.
            view2: embeddings of the second view, (N, D); row n of both is image n.
        """
        if self.is_normalised and self not in _called:
            _called.add(self)
            warn_of_length(self.name, view1)
        with torch.autocast(view1.device.type, enabled=False):
            if self.of_embeddings is not None:
                views = (v if v.dtype == torch.float64 else v.float() for v in (view1, view2))
                return self.of_embeddings(*views)
            assert self.value is not None
            return self.value(pair_distances(view1, view2))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the call string and the temperature, of which the objective is built anew; a plug-in must be imported there."""
        return make_objective, (self.name, self.tau)

    @torch.no_grad()
    def alpha_beta(self, view1: Tensor, view2: Tensor) -> Weights | None:
        """Return α and β of these embeddings, constants; None for a loss of embeddings, which has no such weights."""
        if self.weights is None:
            return None
        with torch.autocast(view1.device.type, enabled=False):
            return self.weights(pair_distances(view1, view2).detach())

    def alpha(self, view1: Tensor, view2: Tensor) -> Tensor:
        """Return the pairwise importance α of these embeddings, (2N, 2N − 2), a constant.

        Raises:
            UserError: if the objective is a loss of embeddings, which weighs no pairs.
        """
        weights = self.alpha_beta(view1, view2)
        if weights is None:
            raise UserError(f"{self.name} is a loss of embeddings and weighs no pairs: it has no α")
        return weights.alpha


_called: weakref.WeakSet[Objective] = weakref.WeakSet()  # objectives that have looked at the length of an embedding


def find_objective(text: str) -> tuple[Component, Call]:
    """Return the component that a call string names, and the parsed call, whose hyper-parameters are not yet checked.

    Raises:
        UserError: if the text is no call string, or there is no such objective.
    """
    call = parse_call(text)
    return find("objective", call.name), call


def objective_names() -> list[str]:
    """Return the names of all objectives, losses first."""
    return names_of("objective")


def hyper_parameters_of(text: str) -> list[str]:
    """Return the names of what may be given to an objective: its hyper-parameters, and ``tau`` where it has a temperature.

    Args:
        text: the objective's call string; a formula's symbols are read off its text.

    Raises:
        UserError: if there is no such objective, or its formula cannot be read.
    """
    component, call = find_objective(text)
    if component.name == FORMULA:
        return sorted(parse_formula(call).symbols)
    return [*component.parameters, *(["tau"] if has_tau(text) else [])]


def has_tau(text: str) -> bool:
    """Tell whether the objective that a call string names has a temperature."""
    component, call = find_objective(text)
    if component.name == FORMULA:
        return "tau" in parse_formula(call).symbols
    return has_tau(_inner(call)) if component.name == "alpha_of" else component.has_tau


def make_objective(name: str, tau: float | None = None) -> Objective:
    """Build the objective that a call string names.

    Args:
        name: the call string, such as ``direct(p=4)``.
        tau: the temperature; an objective that has none (``uniform``) ignores it.

    Raises:
        UserError: if the objective or a hyper-parameter is unknown, a value is out of range, there is no ``tau`` where there must
            be one, or a plug-in's or formula's weights are wrong (:func:`check_weights`).
    """
    component, call = find_objective(name)
    if component.name == "alpha_of":
        inner = make_objective(_inner(call), tau)
        return _of_function("constructor", inner.weights, f"alpha_of({inner.name})", "alpha_of", inner.tau)
    if component.name == FORMULA:
        objective = _formula(call, tau)
    else:
        bound = component.bind(call)
        given = {**bound, **({"tau": _checked_tau(name, tau)} if component.has_tau else {})}
        function = functools.partial(component.function, **given)
        kind = component.kind if component.kind != "combination" else component.name
        full, signed = component.spelled_out(bound), component.is_signed
        objective = _of_function(kind, function, full, component.name, given.get("tau"), signed)
    if component.name == FORMULA or not component.is_built_in:
        _check_once(component.function, objective)
    return objective


def _of_function(kind: str, function: Any, name: str, family: str, tau: float | None, is_signed: bool = False) -> Objective:
    """The objective of a function whose hyper-parameters are bound, by the kind of component that it is."""
    if kind == "embedding_loss":
        return Objective(name, family, tau, None, None, of_embeddings=function)
    value: Callable[[Pairs], Tensor]
    if kind == "pair_loss":
        is_signed = True

        def value(d: Pairs) -> Tensor:
            return torch.mean(_by_anchor(function(d), d))

        def weights(d: Pairs) -> Weights:
            return implied_weights(function, d)

    elif kind == "loss":

        def value(d: Pairs) -> Tensor:
            return torch.mean(_by_anchor(function(d.gaps), d))

        def weights(d: Pairs) -> Weights:
            return Weights(implied_alpha(function, d))

    else:

        def weights(d: Pairs) -> Weights:
            made = function(d)
            if isinstance(made, tuple) and len(made) != 2:
                raise UserError(f"{name}: expected α, or α and β, got {len(made)} values")
            return Weights(*made) if isinstance(made, tuple) else Weights(made)

        def value(d: Pairs) -> Tensor:
            alpha, beta = weights(d if kind == "backprop" else d.detach())  # whose gradient also flows through α
            return -energy(alpha, d, beta)

    return Objective(name, family, tau, value, weights, is_signed=is_signed)


def _by_anchor(values: Tensor, d: Pairs) -> Tensor:
    """Refuse a loss's values that are not one for each anchor. Raises UserError."""
    if values.shape != (len(d.intra),):
        expected = f"a value for each of {len(d.intra)} anchors, of shape ({len(d.intra)},)"
        raise UserError(f"the loss gives {tuple(values.shape)}; expected {expected}")
    return values


def _checked_tau(name: str, tau: float | None) -> float:
    if isinstance(tau, bool) or not isinstance(tau, (int, float)) or not (0 < tau < math.inf):
        raise ConfigError("tau", f"expected tau > 0 for {name}, got tau={tau!r}")
    return float(tau)


def _inner(call: Call) -> str:
    if len(call.args) != 1 or call.kwargs or not isinstance(call.args[0], Call) or call.args[0].name not in LOSSES:
        known = ", ".join(LOSSES)
        raise UserError(f"{call}: expected one loss inside, as in 'alpha_of(infonce)'; known: {known}")
    return str(call.args[0])


def _formula(call: Call, tau: float | None) -> Objective:
    written = parse_formula(call)
    symbols = check_symbols(call, written)
    if "tau" in written.symbols:
        symbols["tau"] = _checked_tau("the formula", tau)
    kind, function = ("constructor", written.alpha) if written.is_constructor else ("loss", written.loss)
    made = functools.partial(function, symbols=symbols)
    return _of_function(kind, made, written.name(symbols), FORMULA, symbols.get("tau"))


_sound: set[tuple[object, str, float | None]] = set()  # objectives whose weights this process has found to be right


def _check_once(function: object, objective: Objective) -> None:
    """Check the weights of an objective unless that was done: a sweep builds each of its objectives many times."""
    key = (function, objective.name, objective.tau)
    if key not in _sound:
        check_weights(objective)
        _sound.add(key)


def check_weights(objective: Objective) -> None:
    """Refuse an objective whose value or weights are wrong on random embeddings of 16 images.

    Raises:
        UserError: if the value, α or β is not finite, has the wrong shape, or α is negative where it must not be.
    """
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(16, 8, generator=generator, dtype=torch.float64)
    views = [F.normalize(base + torch.randn(16, 8, generator=generator, dtype=torch.float64), dim=1) for _ in range(2)]

    def computed(function: Callable[[Tensor, Tensor], T]) -> T:
        try:
            return function(*views)
        except UserError:
            raise
        except Exception as error:  # noqa: BLE001 - a user's function may raise anything
            raise UserError(f"{objective.name}: cannot be computed on random embeddings: {explain(error)}") from None

    weights = computed(objective.alpha_beta)
    for name, tensor, shape in (("α", weights and weights.alpha, (32, 30)), ("β", weights and weights.beta, (32, 1))):
        if tensor is None and (name == "β" or weights is None):
            continue
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            got = str(tensor.dtype) if isinstance(tensor, Tensor) else type(tensor).__name__
            raise UserError(f"{objective.name}: expected {name} as a tensor of floats, got {got}")
        if tuple(tensor.shape) != shape:
            raise UserError(f"{objective.name}: expected {name} of shape {shape} for 16 images, got {tuple(tensor.shape)}")
        if not bool(tensor.isfinite().all()):
            raise UserError(f"{objective.name}: {name} is not finite on random embeddings")
    if weights is not None and not objective.is_signed and bool((weights.alpha < 0).any()):
        least = float(weights.alpha.min())
        raise UserError(f"{objective.name}: expected α >= 0, got {least:.3g} on random embeddings")
    views = [view.requires_grad_() for view in views]
    value = computed(objective)
    if not isinstance(value, Tensor) or not value.requires_grad:
        what = "one without a gradient" if isinstance(value, Tensor) else type(value).__name__
        raise UserError(f"{objective.name}: expected a tensor that depends on the embeddings, got {what}")
    if value.shape != () or not bool(value.isfinite()):
        got = f"shape {tuple(value.shape)}" if value.shape != () else f"{value.item():g}"
        raise UserError(f"{objective.name}: expected a finite number on random embeddings, got {got}")
