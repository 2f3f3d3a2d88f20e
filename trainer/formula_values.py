"""Computes the value of a formula's expression, and the value's logarithm where the expression cannot be negative.

:mod:`trainer.formulas` reads the expressions, and lets nothing through but what is computed here.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

Number = Tensor | float  # a part of a formula: of tensors, or of numbers alone
ROW: dict[str, Callable[[Tensor], Tensor]] = {  # functions over an anchor's negatives
    "sum": lambda x: x.sum(dim=1, keepdim=True),
    "mean": lambda x: x.mean(dim=1, keepdim=True),
    "largest": lambda x: x.amax(dim=1, keepdim=True),
    "smallest": lambda x: x.amin(dim=1, keepdim=True),
}
ONE: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[np.float64], Any]]] = {  # of tensors, and of numbers
    "exp": (torch.exp, np.exp),
    "log": (torch.log, np.log),
    "sqrt": (torch.sqrt, np.sqrt),
    "abs": (torch.abs, np.abs),
    "tanh": (torch.tanh, np.tanh),
    "sigmoid": (torch.sigmoid, lambda x: np.exp(-np.logaddexp(0, -x))),
    "softplus": (F.softplus, lambda x: np.logaddexp(0, x)),
    "relu": (torch.relu, lambda x: np.maximum(x, 0)),
}
TWO = ("min", "max")  # functions of two arguments
FUNCTIONS = (*ONE, *TWO, *ROW)
BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
}  # fmt: skip


@dataclass(frozen=True)
class Value:
    """A symbol's value, and the logarithm of it where it is known to be positive."""

    plain: Number
    log: Number | None = None


Environment = Mapping[str, Value]
ALL = ""  # the entry of an environment that has the shape of a whole part


def numbers(symbols: Mapping[str, float]) -> dict[str, Value]:
    """Return an environment of numbers."""
    return {k: Value(v, math.log(v) if v > 0 else None) for k, v in symbols.items()}


def whole(part: Number, like: Tensor) -> Tensor:
    """Return a part as a tensor of the shape of ``like``, on which a number then depends too, with slope 0."""
    return part.expand_as(like) if isinstance(part, Tensor) else part + 0 * like


def _in_numpy(function: Callable[..., Any], *arguments: float) -> float:
    """A function of plain numbers, which never raises: what has no value is NaN, what is too large is infinite."""
    with np.errstate(all="ignore"):
        return float(function(*(np.float64(a) for a in arguments)))


def value_of(node: ast.expr, environment: Environment) -> Number:
    """Return what an expression comes to."""
    match node:
        case ast.Constant(value=number):
            return float(number)  # type: ignore[arg-type]
        case ast.Name(id=name):
            return environment[name].plain
        case ast.UnaryOp(op=sign, operand=operand):
            inner = value_of(operand, environment)
            return -inner if isinstance(sign, ast.USub) else inner
        case ast.Compare(left=left, ops=[comparison], comparators=[right]):
            truth = COMPARE[type(comparison)](value_of(left, environment), value_of(right, environment))
            return truth.to(_tensor_of(environment).dtype) if isinstance(truth, Tensor) else float(truth)
        case ast.Call(func=ast.Name(id="log"), args=[argument]) if (log := log_of(argument, environment)) is not None:
            return log
        case ast.Call(func=ast.Name(id=name), args=arguments):
            return _call(name, [value_of(a, environment) for a in arguments], environment)
        case ast.BinOp(op=ast.Div()) if (log := log_of(node, environment)) is not None:
            return _call("exp", [log], environment)  # both may overflow, but not their ratio
        case ast.BinOp(left=left, op=op, right=right):
            return _binary(type(op), value_of(left, environment), value_of(right, environment))
    raise AssertionError(ast.dump(node))  # _check lets nothing else through


def _binary(kind: type[ast.operator], first: Number, second: Number) -> Number:
    """An operator of two values; of two numbers it never raises."""
    if isinstance(first, float) and isinstance(second, float):
        return _in_numpy(BINARY[kind], first, second)
    result: Number = BINARY[kind](first, second)
    return result


def _tensor_of(environment: Environment) -> Tensor:
    shape = environment[ALL].plain
    assert isinstance(shape, Tensor)
    return shape


def _call(name: str, arguments: list[Number], environment: Environment) -> Number:
    """A named function of values."""
    if name in TWO:
        first, second = arguments
        if isinstance(first, float) and isinstance(second, float):
            return min(first, second) if name == "min" else max(first, second)
        if isinstance(first, float):
            first, second = second, first
        assert isinstance(first, Tensor)
        if isinstance(second, Tensor):
            return torch.minimum(first, second) if name == "min" else torch.maximum(first, second)
        return first.clamp(max=second) if name == "min" else first.clamp(min=second)
    [argument] = arguments
    if name in ROW:
        return ROW[name](argument if isinstance(argument, Tensor) else whole(argument, _tensor_of(environment)))
    of_tensors, of_numbers = ONE[name]
    return of_tensors(argument) if isinstance(argument, Tensor) else _in_numpy(of_numbers, argument)


def log_of(node: ast.expr, environment: Environment) -> Number | None:
    """Return the logarithm of an expression that is positive by its form; None for all others."""
    match node:
        case ast.Constant(value=number) if float(number) > 0:  # type: ignore[arg-type]
            return math.log(float(number))  # type: ignore[arg-type]
        case ast.Name(id=name):
            return environment[name].log
        case ast.Call(func=ast.Name(id="exp"), args=[argument]):
            return value_of(argument, environment)
        case ast.Call(func=ast.Name(id="sigmoid"), args=[argument]):
            value = value_of(argument, environment)
            return F.logsigmoid(value) if isinstance(value, Tensor) else _in_numpy(lambda x: -np.logaddexp(0, -x), value)
        case ast.Call(func=ast.Name(id="sqrt"), args=[argument]):
            log = log_of(argument, environment)
            return None if log is None else log / 2
        case ast.Call(func=ast.Name(id=("sum" | "mean") as name), args=[argument]):
            log = log_of(argument, environment)
            if log is None:
                return None
            row = whole(log, _tensor_of(environment))
            total = torch.logsumexp(row, dim=1, keepdim=True)
            return total if name == "sum" else total - math.log(row.shape[1])
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            log = log_of(left, environment)
            return None if log is None else log * value_of(right, environment)
        case ast.BinOp(left=left, op=(ast.Mult() | ast.Div() | ast.Add()) as op, right=right):
            first, second = log_of(left, environment), log_of(right, environment)
            if first is None or second is None:
                return None
            if isinstance(op, ast.Add):
                return _log_add(first, second)
            return first + second if isinstance(op, ast.Mult) else first - second
    return None


def _log_add(first: Number, second: Number) -> Number:
    """The logarithm of a sum, from those of its terms."""
    if isinstance(first, float) and isinstance(second, float):
        return _in_numpy(np.logaddexp, first, second)
    if isinstance(first, float):
        first, second = second, first
    assert isinstance(first, Tensor)
    return torch.logaddexp(first, second if isinstance(second, Tensor) else torch.full_like(first, second))


def split(node: ast.expr, environment: Environment) -> tuple[Number | None, Number | None]:
    """Return an expression as (log, factor), which stand for exp(log) · factor; None stands for a part that is 1."""
    log = log_of(node, environment)
    if log is not None:
        return log, None
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Mult, ast.Div)):
        log1, factor1 = split(node.left, environment)
        log2, factor2 = split(node.right, environment)
        product = isinstance(node.op, ast.Mult)
        if log2 is not None:
            log1 = (0.0 if log1 is None else log1) + (log2 if product else -log2)
        if factor2 is not None:
            factor1 = _binary(ast.Mult if product else ast.Div, 1.0 if factor1 is None else factor1, factor2)
        return log1, factor1
    return None, value_of(node, environment)
