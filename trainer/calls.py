"""Call strings such as ``direct(p=4)``, which name a component and its hyper-parameters in one value.

The same text serves in YAML, in Optuna, in MLflow and on the command line. It is parsed with :mod:`ast` and holds
literals and further calls only (``alpha_of(infonce(eps=0))``); nothing in it is ever evaluated.
"""

from __future__ import annotations

import ast
import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from trainer.errors import UserError, did_you_mean, is_number

FORMULA = "formula"  # the name of an objective that is written down, trainer.formulas
FORMULA_PARTS = ("alpha", "phi", "psi", "normalise")  # what it is written down in; its other arguments are hyper-parameters
TRUTH = {"true": True, "false": False}  # as YAML writes them; True and False are read too


@dataclass(frozen=True)
class Call:
    """A parsed call string: a component's name, its positional and its keyword arguments; ``str`` gives it as text again."""

    name: str
    args: tuple[Any, ...] = ()
    kwargs: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        inside = [as_text(a) for a in self.args] + [f"{k}={as_text(v)}" for k, v in self.kwargs]
        return f"{self.name}({', '.join(inside)})" if inside else self.name


def as_text(value: Any) -> str:
    """Return an argument's value as a call string has it."""
    if isinstance(value, Call):
        return str(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return repr(value)


def parse_call(text: str) -> Call:
    """Parse a call string, ``name`` or ``name(key=literal, ...)``.

    Raises:
        UserError: if the text is not of that form.
    """
    try:
        tree = ast.parse(str(text).strip(), mode="eval").body
        return _call(tree)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"cannot read {text!r}; expected a name such as 'infonce' or a call such as 'direct(p=4)'") from None


def _call(node: ast.expr) -> Call:
    if isinstance(node, ast.Name):
        return Call(node.id)
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
        raise ValueError(ast.dump(node))
    if any(k.arg is None for k in node.keywords):
        raise ValueError("** in a call")
    kwargs = tuple((str(k.arg), _value(k.value)) for k in node.keywords)
    return Call(node.func.id, tuple(_value(a) for a in node.args), kwargs)


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Name) and node.id in TRUTH:
        return TRUTH[node.id]
    if isinstance(node, (ast.Name, ast.Call)):
        return _call(node)
    return ast.literal_eval(node)


def hyper_parameters(function: Callable[..., Any], skip: int) -> dict[str, inspect.Parameter]:
    """Return the hyper-parameters of a component's function by name: its parameters after the first ``skip``."""
    return dict(_parameters(function)[skip:])


@functools.cache
def _parameters(function: Callable[..., Any]) -> tuple[tuple[str, inspect.Parameter], ...]:
    return tuple(inspect.signature(function, eval_str=True).parameters.items())


def bind(call: Call, parameters: Mapping[str, inspect.Parameter], what: str) -> dict[str, Any]:
    """Check a call's keyword arguments against a component's parameters; return all values by name, defaults filled in.

    Numbers are checked to be finite and converted to the annotated type (``p=4`` is the float 4.0).

    Args:
        call: the parsed call string.
        parameters: the component's hyper-parameters, see :func:`hyper_parameters`.
        what: the kind of component that error messages name, such as ``objective``.

    Raises:
        UserError: if an argument is positional, unknown, missing, given twice or of the wrong type.
    """
    if call.args:
        raise UserError(f"{call}: give hyper-parameters by name, as in '{_example(call.name, parameters)}'")
    bound: dict[str, Any] = {}
    for key, value in call.kwargs:
        if key not in parameters:
            raise UserError(f"{call}: {what} {call.name!r} has no hyper-parameter {key!r}{_near(key, parameters)}")
        if key in bound:
            raise UserError(f"{call}: {key!r} is given twice")
        bound[key] = _checked(call, key, value, parameters[key].annotation)
    for key, parameter in parameters.items():
        if key in bound:
            continue
        if parameter.default is inspect.Parameter.empty:
            raise UserError(f"{call}: {what} {call.name!r} needs {key!r}, as in '{_example(call.name, parameters)}'")
        bound[key] = parameter.default
    return {key: bound[key] for key in parameters}


def _near(key: str, parameters: Mapping[str, inspect.Parameter]) -> str:
    return did_you_mean(key, parameters) if parameters else "; it takes none"


def _example(name: str, parameters: Mapping[str, inspect.Parameter]) -> str:
    def shown(p: inspect.Parameter) -> Any:
        needed = "NAME" if p.annotation is str else 1
        return needed if p.default is inspect.Parameter.empty else p.default

    return str(Call(name, (), tuple((k, shown(p)) for k, p in parameters.items())))


def _checked(call: Call, key: str, value: Any, annotation: Any) -> Any:
    if annotation in (float, int):
        kind = "a number" if annotation is float else "a whole number"
        if not is_number(value) or (annotation is int and int(value) != value):
            raise UserError(f"{call}: expected {key} to be {kind}, got {key}={as_text(value)}")
        return annotation(value)
    if isinstance(annotation, type) and not isinstance(value, annotation):
        kind = {str: "a text in quotes", bool: "true or false"}.get(annotation, f"of type {annotation.__name__}")
        raise UserError(f"{call}: expected {key} to be {kind}, got {key}={as_text(value)}")
    return value
