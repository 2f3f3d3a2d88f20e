"""Named components: a function, its hyper-parameters by signature, and the ranges they must lie in."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from trainer.calls import Call, bind, hyper_parameters
from trainer.errors import UserError

F = TypeVar("F", bound=Callable[..., Any])

_COMPARE = {">": operator.gt, ">=": operator.ge}


@dataclass(frozen=True)
class Component:
    """A registered function. Its first parameter is its input; ``tau``, where declared, is the temperature."""

    function: Callable[..., Any]
    kind: str
    bounds: dict[str, str]

    @property
    def name(self) -> str:
        return self.function.__name__

    @property
    def has_tau(self) -> bool:
        return "tau" in inspect.signature(self.function).parameters

    @property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """Hyper-parameters by name, the temperature excepted."""
        found = hyper_parameters(self.function, skip=1)
        return {name: p for name, p in found.items() if name != "tau"}

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]

    def bind(self, call: Call) -> dict[str, Any]:
        """A call's hyper-parameters, complete and checked.

        Raises:
            UserError: unknown, missing, ill-typed or out of range.
        """
        if any(key == "tau" for key, _ in call.kwargs):
            raise UserError(f"{call}: tau is a setting of its own; give it beside the objective, not inside the call")
        bound = bind(call, self.parameters, self.kind)
        for key, bound_text in self.bounds.items():
            sign, _, limit = bound_text.partition(" ")
            if not _COMPARE[sign](bound[key], float(limit)):
                raise UserError(f"{call}: expected {key} {bound_text}, got {key}={bound[key]:g}")
        return bound


def register(
    table: dict[str, Component], kind: str, bounds: dict[str, str], taken: Callable[[], list[Component]] = list
) -> Callable[[F], F]:
    """A decorator that enters a function into ``table`` under its name; a name can be taken only once."""

    def enter(function: F) -> F:
        component = Component(function, kind, bounds)
        for known in [*table.values(), *taken()]:
            if known.name == component.name and known.function.__module__ != function.__module__:
                raise UserError(
                    f"the {kind} {component.name!r} of {function.__module__} is already defined in {known.function.__module__}"
                )
        table[component.name] = component
        return function

    return enter
