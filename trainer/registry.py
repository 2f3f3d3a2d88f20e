"""The one registry of named components, from objectives to optimisers; each a function with its hyper-parameters.

A component's keyword arguments are its hyper-parameters, under the same names in call strings and search spaces. What is
registered here works everywhere: in YAML, on the command line, in Python and in plug-ins.
"""

from __future__ import annotations

import functools
import importlib.metadata
import inspect
import operator
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from trainer.calls import Call, as_text, bind, hyper_parameters, parse_call
from trainer.errors import UserError, did_you_mean, is_number

F = TypeVar("F", bound=Callable[..., Any])

# Every kind of component, and the word for the names that it shares: a loss and a constructor cannot have one name.
KINDS = {
    "loss": "objective",
    "constructor": "objective",
    "pair_loss": "objective",
    "embedding_loss": "objective",
    "combination": "objective",
    "encoder": "encoder",
    "dataset": "dataset",
    "augmentation": "augmentation",
    "optimiser": "optimiser",
    "projector": "projector",
    "metric": "metric",
    "probe": "probe",
}
_COMPARE = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}
_BOUND = re.compile(r"(>|>=|<|<=) [-+]?[0-9.]+(e[-+]?[0-9]+)?")


@dataclass(frozen=True)
class Component:
    """A registered function.

    Args:
        function: the function. ``tau``, where it declares one, is the temperature and no hyper-parameter.
        kind: one of :data:`KINDS`.
        bounds: what hyper-parameters must be, by name: ``> 0``, ``>= 0 and < 1``, or ``one of auto, small``.
        inputs: how many of its first parameters are inputs and no hyper-parameters.
        name: the name in call strings.
        is_signed: whether a constructor's α may be negative.
        higher_is_better: whether a search may choose by a metric or probe, and more of it is better.
        positional: hyper-parameters that may also be given without their names, in this order.
        added_later: hyper-parameters that the component got after trials with it had been run. At their default they are left
            out of the full name, so that these trials keep their digests.
    """

    function: Callable[..., Any]
    kind: str
    bounds: dict[str, str]
    inputs: int
    name: str
    is_signed: bool = False
    added_later: tuple[str, ...] = ()
    positional: tuple[str, ...] = ()
    higher_is_better: bool = False

    @property
    def noun(self) -> str:
        """Return what such a component is called in messages, such as objective or encoder."""
        return KINDS[self.kind]

    @property
    def is_built_in(self) -> bool:
        """Tell whether the component is this project's own, and no plug-in's."""
        return self.function.__module__.startswith("trainer.")

    @property
    def has_tau(self) -> bool:
        """Tell whether the component has a temperature."""
        return "tau" in inspect.signature(self.function).parameters

    @property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """Return the hyper-parameters by name, the temperature excepted."""
        found = hyper_parameters(self.function, skip=self.inputs)
        return {name: p for name, p in found.items() if name != "tau"}

    @property
    def summary(self) -> str:
        """Return the first line of the docstring."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]

    def spelled_out(self, bound: dict[str, Any]) -> str:
        """Return the full call string of these hyper-parameters, which names the component in digests and records."""
        late = {name for name in self.added_later if bound[name] == self.parameters[name].default}
        return str(Call(self.name, (), tuple((k, v) for k, v in bound.items() if k not in late)))

    def bind(self, call: Call) -> dict[str, Any]:
        """Return a call's hyper-parameters, complete and checked.

        Raises:
            UserError: one is unknown, missing, ill-typed or out of range.
        """
        if any(key == "tau" for key, _ in call.kwargs):
            raise UserError(f"{call}: tau is a setting of its own; give it beside the objective, not inside the call")
        if 0 < len(call.args) <= len(self.positional):
            named = tuple(zip(self.positional, call.args, strict=False))
            call = Call(call.name, (), (*named, *call.kwargs))
        bound = bind(call, self.parameters, self.noun)
        for key, rule in self.bounds.items():
            _check(call, key, bound[key], rule)
        return bound


def _check(call: Call, key: str, value: Any, rule: str) -> None:
    """Refuse a value that its rule does not allow. Raises UserError."""
    if rule.startswith("one of "):
        choices = rule.removeprefix("one of ").split(", ")
        if value not in choices:
            raise UserError(f"{call}: no {key} {value!r}{did_you_mean(str(value), choices)}")
        return
    if not is_number(value):
        raise UserError(f"{call}: expected {key} {rule}, got {key}={as_text(value)}")
    for part in rule.split(" and "):
        sign, _, limit = part.partition(" ")
        if not _COMPARE[sign](value, float(limit)):
            raise UserError(f"{call}: expected {key} {rule}, got {key}={value:g}")


REGISTRY: dict[str, dict[str, Component]] = {kind: {} for kind in KINDS}


def register(kind: str, bounds: dict[str, str], inputs: int = 1, names: tuple[str, ...] = (), **more: Any) -> Callable[[F], F]:
    """Return a decorator that enters a function under its own name, or under each of ``names``.

    Args:
        kind: one of :data:`KINDS`.
        bounds: what hyper-parameters must be, by name.
        inputs: how many of its first parameters are inputs and no hyper-parameters.
        names: the names in call strings.
        more: what else :class:`Component` holds.

    Raises:
        UserError: another module has a component of that name already, or a bound is none.
    """

    def enter(function: F) -> F:
        for name in names or (function.__name__,):
            for other in (REGISTRY[k][name] for k, noun in KINDS.items() if noun == KINDS[kind] and name in REGISTRY[k]):
                if other.function.__module__ != function.__module__:
                    raise UserError(
                        f"the {KINDS[kind]} {name!r} of {function.__module__} is already defined in {other.function.__module__}"
                    )
            component = Component(function, kind, bounds, inputs, name, **more)
            if not component.is_built_in:
                _check_declaration(component)
            REGISTRY[kind][name] = component
        return function

    return enter


def _check_declaration(component: Component) -> None:
    """Refuse a plug-in's function whose bounds or annotations cannot be read. Raises UserError."""
    label = f"the {component.noun} {component.name!r} of {component.function.__module__}"
    try:
        known = component.parameters
    except (NameError, AttributeError, SyntaxError, TypeError) as error:
        raise UserError(f"{label}: cannot read its annotations: {error}") from None
    for key, rule in component.bounds.items():
        if key not in known:
            raise UserError(f"{label} has a bound for {key!r}, which it does not take{did_you_mean(key, known) if known else ''}")
        if not rule.startswith("one of ") and not all(_BOUND.fullmatch(part) for part in rule.split(" and ")):
            raise UserError(f"{label}: cannot read the bound {rule!r} of {key}; expected one such as '> 0', '>= 0 and < 1'")


# A package declares its modules under either; the first is the name of the time when only constructors could be plugged in.
ENTRY_POINTS = {"alphacl.constructors": "constructors", "alphacl.plugins": "plugins"}


@functools.cache
def load_entry_points() -> None:
    """Import what installed packages name under their entry points for alphacl, once; warn of a module that is broken."""
    for group, what in ENTRY_POINTS.items():
        for entry in importlib.metadata.entry_points(group=group):
            try:
                entry.load()
            except Exception as error:  # noqa: BLE001 - somebody else's module must not stop ours
                warnings.warn(f"cannot load the {what} of {entry.name} ({entry.value}): {error}", stacklevel=2)


def names_of(noun: str) -> list[str]:
    """Return the names of all components that are called ``noun``, kind by kind in the order of :data:`KINDS`."""
    load_entry_points()
    return [name for kind, other in KINDS.items() if other == noun for name in REGISTRY[kind]]


def _look_up(noun: str, name: str) -> Component | None:
    return next((REGISTRY[k][name] for k, other in KINDS.items() if other == noun and name in REGISTRY[k]), None)


def find(noun: str, name: str, also: tuple[str, ...] = ()) -> Component:
    """Return the component of that name.

    Args:
        noun: what such a component is called, one of the values of :data:`KINDS`.
        name: the component's name.
        also: further names that would have been right, for the message.

    Raises:
        UserError: there is none.
    """
    found = _look_up(noun, name)
    if found is None:
        load_entry_points()
        found = _look_up(noun, name)
    if found is not None:
        return found
    raise UserError(f"no {noun} {name!r}{did_you_mean(name, [*also, *names_of(noun)])}")


def resolve(noun: str, text: str, also: tuple[str, ...] = ()) -> tuple[Component, dict[str, Any]]:
    """Return the component that a call string names, and its hyper-parameters, complete and checked.

    Args:
        noun: what such a component is called, one of the values of :data:`KINDS`.
        text: the call string.
        also: further names that would have been right, for the message.

    Raises:
        UserError: if there is no such component, or a hyper-parameter is unknown, missing, ill-typed or out of range.
    """
    call = parse_call(text)
    if call.name in also:
        raise UserError(f"{text}: {call.name} takes no hyper-parameters; write {call.name} alone")
    component = find(noun, call.name, also)
    return component, component.bind(call)


def spell_out(noun: str, text: str, also: tuple[str, ...] = ()) -> str:
    """Return a call string with every hyper-parameter spelled out; a text among ``also`` stays as it is.

    The arguments and errors are those of :func:`resolve`.
    """
    if text in also:
        return text
    component, bound = resolve(noun, text, also)
    return component.spelled_out(bound)
