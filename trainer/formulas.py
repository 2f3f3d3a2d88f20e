"""Formulas as objectives: ``alpha: exp(-d2**(p/2)/tau)``, or ``phi`` and ``psi``; parsed with :mod:`ast`, never run as code.

A formula holds numbers, the symbols of :data:`SYMBOLS`, operators, the functions of :data:`FUNCTIONS`, and free symbols, which
are its hyper-parameters. Products and sums of exponentials are computed in logarithms, so that a small
temperature does not overflow.
"""

from __future__ import annotations

import ast
import functools
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from trainer.calls import Call
from trainer.errors import UserError, did_you_mean, is_number
from trainer.pairs import Pairs

FORMULA = "formula"  # the name of the objective that is written down
MOST_CHARACTERS, MOST_NODES = 500, 200  # of one formula
PARTS = {"alpha": ("d2", "s", "d2_pos", "s_pos", "tau"), "phi": ("x", "tau"), "psi": ("x", "tau")}
SYMBOLS = {
    "d2": "squared distances d²_ij to an anchor's negatives",
    "s": "cosines s_ij = 1 − d²_ij to the negatives",
    "d2_pos": "the squared distance to the positive",
    "s_pos": "the cosine to the positive",
    "tau": "the temperature",
    "x": "in psi the gap d²_i − d²_ij, in phi the sum of psi over the negatives",
}
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
_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
}  # fmt: skip


@dataclass(frozen=True)
class Value:
    """A symbol's value, and the logarithm of it where it is known to be positive."""

    plain: Number
    log: Number | None = None


Environment = Mapping[str, Value]
ALL = ""  # the entry of an environment that has the shape of a whole part


@dataclass(frozen=True)
class Formula:
    """A parsed formula objective: the expression for α, or those for φ and ψ.

    Args:
        texts: the expressions in their canonical spelling, by part: ``alpha``, or ``phi`` and ``psi``.
        trees: the same, parsed.
        normalise: whether rows of α are brought to sum 1.
    """

    texts: tuple[tuple[str, str], ...]
    trees: tuple[ast.expr, ...]
    normalise: bool

    @property
    def is_constructor(self) -> bool:
        """Tell whether the formula gives α itself, and not a loss."""
        return self.texts[0][0] == "alpha"

    @property
    def symbols(self) -> frozenset[str]:
        """Return the free symbols, which must be given values; ``tau`` among them where the formula has a temperature."""
        found = set()
        for (part, _), tree in zip(self.texts, self.trees, strict=True):
            functions = {id(n.func) for n in ast.walk(tree) if isinstance(n, ast.Call)}
            names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and id(n) not in functions}
            found |= names - (set(PARTS[part]) - {"tau"})
        return frozenset(found)

    def name(self, symbols: Mapping[str, float]) -> str:
        """Return the full call string with these values of its symbols, which names the objective in digests and records."""
        given = tuple((k, symbols[k]) for k in sorted(symbols) if k != "tau")
        return str(Call(FORMULA, (), (*self.texts, *(() if self.normalise else (("normalise", False),)), *given)))

    def alpha(self, d: Pairs, symbols: Mapping[str, float]) -> Tensor:
        """Return α of these distances, (2N, 2N − 2)."""
        values = {"d2": d.inter, "s": 1 - d.inter, "d2_pos": d.intra, "s_pos": 1 - d.intra}
        environment = {ALL: Value(d.inter), **{k: Value(v) for k, v in values.items()}, **_numbers(symbols)}
        log, factor = (None if part is None else _whole(part, d.inter) for part in _split(self.trees[0], environment))
        if factor is None:
            assert log is not None
            return torch.softmax(log, dim=1) if self.normalise else log.exp()
        if not self.normalise:
            return factor if log is None else factor * log.exp()
        if log is not None:
            factor = factor * (log - log.amax(dim=1, keepdim=True)).exp()
        total = factor.sum(dim=1, keepdim=True)
        return factor / torch.where(total == 0, 1, total.abs())  # a negative sum leaves α negative, which is refused

    def loss(self, gaps: Tensor, symbols: Mapping[str, float]) -> Tensor:
        """Return φ(Σ_j ψ(x_ij)) of the gaps (2N, 2N − 2) for each anchor, (2N,)."""
        numbers = _numbers(symbols)
        trees = {part: tree for (part, _), tree in zip(self.texts, self.trees, strict=True)}
        inside = {ALL: Value(gaps), "x": Value(gaps), **numbers}
        log = _log_of(trees["psi"], inside)
        if log is not None:
            log_sum = torch.logsumexp(_whole(log, gaps), dim=1)
            total, log_total = log_sum.exp(), log_sum
        else:
            total, log_total = _whole(_value(trees["psi"], inside), gaps).sum(dim=1), None
        return _whole(_value(trees["phi"], {ALL: Value(total), "x": Value(total, log_total), **numbers}), total)


def _numbers(symbols: Mapping[str, float]) -> dict[str, Value]:
    return {k: Value(v, math.log(v) if v > 0 else None) for k, v in symbols.items()}


def _whole(part: Number, like: Tensor) -> Tensor:
    """A part as a tensor of the shape of ``like``, on which a number then depends too, with slope 0."""
    return part.expand_as(like) if isinstance(part, Tensor) else part + 0 * like


def _in_numpy(function: Callable[..., Any], *arguments: float) -> float:
    """A function of plain numbers, which never raises: what has no value is NaN, what is too large is infinite."""
    with np.errstate(all="ignore"):
        return float(function(*(np.float64(a) for a in arguments)))


def parse_formula(call: Call) -> Formula:
    """Read the expressions of a call ``formula(alpha='…', p=4)``.

    Raises:
        UserError: if neither ``alpha`` nor ``phi`` and ``psi`` are given, or one is no formula; the column is named.
    """
    given = dict(call.kwargs)
    parts = [p for p in PARTS if p in given]
    if call.args or parts not in (["alpha"], ["phi", "psi"]):
        raise UserError("a formula needs alpha, or phi and psi, as in \"formula(alpha='exp(-d2/tau)')\"")
    normalise = given.get("normalise", True)
    if not isinstance(normalise, bool) or (not normalise and parts != ["alpha"]):
        raise UserError(f"a formula's normalise is true or false, and for alpha alone, got normalise={given['normalise']}")
    texts, trees = [], []
    for part in parts:
        text = given[part]
        if isinstance(text, (int, float)) and not isinstance(text, bool):
            text = repr(text)
        if isinstance(text, Call):
            text = str(text)
        if not isinstance(text, str):
            raise UserError(f"expected the formula {part} to be a text, got {text!r}")
        tree = _parse(part, text)
        texts.append((part, compact(tree)))
        trees.append(tree)
    return Formula(tuple(texts), tuple(trees), normalise)


def check_symbols(call: Call, formula: Formula) -> dict[str, float]:
    """Return the values of a formula's hyper-parameters by name, ``tau`` excepted.

    Raises:
        UserError: if a symbol has no value, a value is no number, or a name is given that the formula does not have.
    """
    given = {k: v for k, v in call.kwargs if k not in (*PARTS, "normalise")}
    if "tau" in given:
        raise UserError("tau is a setting of its own; give it beside the objective, not inside the formula")
    own = formula.symbols - {"tau"}
    for name, value in given.items():
        if name not in own:
            raise UserError(f"the formula has no symbol {name!r}{did_you_mean(name, own) if own else '; it has none'}")
        if not is_number(value):
            raise UserError(f"expected {name} to be a number, got {name}={value!r}")
    for (part, text), tree in zip(formula.texts, formula.trees, strict=True):
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and node.id in own - set(given):
                known = ", ".join(PARTS[part])
                raise UserError(
                    f"{part}: unknown symbol {node.id!r} at column {node.col_offset + 1} of {text!r}; known: {known};"
                    f" or give it a value, as in {node.id}=1"
                )
    return {name: float(value) for name, value in given.items()}


@functools.lru_cache(maxsize=256)
def _parse(part: str, text: str) -> ast.expr:
    """An expression of allowed nodes, its columns those of its canonical spelling."""
    if len(text) > MOST_CHARACTERS:
        raise UserError(f"{part}: expected at most {MOST_CHARACTERS} characters, got {len(text)}")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        nodes = list(ast.walk(tree))
    except SyntaxError as error:
        raise UserError(f"{part}: cannot read {text!r} at column {error.offset or 1}: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError):
        raise UserError(f"{part}: cannot read {text[:40]!r}") from None
    if len(nodes) > MOST_NODES:
        raise UserError(f"{part}: expected at most {MOST_NODES} operations, symbols and numbers, got {len(nodes)}")
    _check(tree, part, text)
    return ast.parse(compact(tree), mode="eval").body


def compact(tree: ast.expr) -> str:
    """Return an expression's canonical spelling, without spaces: no word of a formula is set apart by one."""
    return ast.unparse(tree).replace(" ", "")


def canonical(call: Call) -> Call:
    """Return a formula's call with its expressions in their canonical spelling, so that spellings of one formula are alike.

    Raises:
        UserError: if an expression is no formula.
    """
    texts = dict(parse_formula(call).texts)
    return Call(call.name, (), tuple((k, texts.get(k, v)) for k, v in call.kwargs))


def _check(node: ast.expr, part: str, text: str) -> None:
    """Refuse whatever is no number, symbol, operator or named function. Raises UserError with the column."""

    def refuse(what: str) -> NoReturn:
        raise UserError(f"{part}: {what} at column {node.col_offset + 1} of {text!r}")

    if isinstance(node, ast.Constant):
        if not is_number(node.value):
            refuse(f"expected a finite number, got {node.value!r}")
    elif isinstance(node, ast.Name):
        if node.id in FUNCTIONS:
            refuse(f"the function {node.id!r} has no argument")
        if node.id in SYMBOLS and node.id not in PARTS[part]:
            place = f"at column {node.col_offset + 1} of {text!r}"
            raise UserError(f"{part}: no {node.id!r} in {part}, but {place}; known: {', '.join(PARTS[part])}")
    elif isinstance(node, ast.Call):
        if not isinstance(node.func, ast.Name) or node.keywords:
            refuse("expected a function such as exp(…)")
        if node.func.id not in FUNCTIONS:
            near = did_you_mean(node.func.id, FUNCTIONS)
            raise UserError(f"{part}: no function {node.func.id!r} at column {node.col_offset + 1} of {text!r}{near}")
        if len(node.args) != (2 if node.func.id in TWO else 1):
            refuse(f"expected {node.func.id} of {'two arguments' if node.func.id in TWO else 'one argument'}")
        if part == "phi" and node.func.id in ROW:
            refuse(f"phi's x is one number per anchor, which leaves nothing for {node.func.id}()")
        for argument in node.args:
            _check(argument, part, text)
    elif isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        _check(node.left, part, text)
        _check(node.right, part, text)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        _check(node.operand, part, text)
    elif isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in _COMPARE:
        _check(node.left, part, text)
        _check(node.comparators[0], part, text)
    else:
        refuse("expected numbers, symbols, + - * / **, comparisons and functions, got something else")


def _value(node: ast.expr, environment: Environment) -> Number:
    """The expression's value."""
    match node:
        case ast.Constant(value=number):
            return float(number)  # type: ignore[arg-type]
        case ast.Name(id=name):
            return environment[name].plain
        case ast.UnaryOp(op=sign, operand=operand):
            inner = _value(operand, environment)
            return -inner if isinstance(sign, ast.USub) else inner
        case ast.Compare(left=left, ops=[comparison], comparators=[right]):
            truth = _COMPARE[type(comparison)](_value(left, environment), _value(right, environment))
            return truth.to(_tensor_of(environment).dtype) if isinstance(truth, Tensor) else float(truth)
        case ast.Call(func=ast.Name(id="log"), args=[argument]) if (log := _log_of(argument, environment)) is not None:
            return log
        case ast.Call(func=ast.Name(id=name), args=arguments):
            return _call(name, [_value(a, environment) for a in arguments], environment)
        case ast.BinOp(op=ast.Div()) if (log := _log_of(node, environment)) is not None:
            return _call("exp", [log], environment)  # both may overflow, but not their ratio
        case ast.BinOp(left=left, op=op, right=right):
            first, second, function = _value(left, environment), _value(right, environment), _BINARY[type(op)]
            numbers = isinstance(first, float) and isinstance(second, float)
            result: Number = _in_numpy(function, first, second) if numbers else function(first, second)  # type: ignore[arg-type]
            return result
    raise AssertionError(ast.dump(node))  # _check lets nothing else through


def _tensor_of(environment: Environment) -> Tensor:
    whole = environment[ALL].plain
    assert isinstance(whole, Tensor)
    return whole


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
        return ROW[name](argument if isinstance(argument, Tensor) else _whole(argument, _tensor_of(environment)))
    of_tensors, of_numbers = ONE[name]
    return of_tensors(argument) if isinstance(argument, Tensor) else _in_numpy(of_numbers, argument)


def _log_of(node: ast.expr, environment: Environment) -> Number | None:
    """The logarithm of an expression that is positive by its form; None for all others."""
    match node:
        case ast.Constant(value=number) if float(number) > 0:  # type: ignore[arg-type]
            return math.log(float(number))  # type: ignore[arg-type]
        case ast.Name(id=name):
            return environment[name].log
        case ast.Call(func=ast.Name(id="exp"), args=[argument]):
            return _value(argument, environment)
        case ast.Call(func=ast.Name(id="sigmoid"), args=[argument]):
            value = _value(argument, environment)
            return F.logsigmoid(value) if isinstance(value, Tensor) else _in_numpy(lambda x: -np.logaddexp(0, -x), value)
        case ast.Call(func=ast.Name(id="sqrt"), args=[argument]):
            log = _log_of(argument, environment)
            return None if log is None else log / 2
        case ast.Call(func=ast.Name(id=("sum" | "mean") as name), args=[argument]):
            log = _log_of(argument, environment)
            if log is None:
                return None
            whole = _whole(log, _tensor_of(environment))
            total = torch.logsumexp(whole, dim=1, keepdim=True)
            return total if name == "sum" else total - math.log(whole.shape[1])
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            log = _log_of(left, environment)
            return None if log is None else log * _value(right, environment)
        case ast.BinOp(left=left, op=(ast.Mult() | ast.Div() | ast.Add()) as op, right=right):
            first, second = _log_of(left, environment), _log_of(right, environment)
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


def _split(node: ast.expr, environment: Environment) -> tuple[Number | None, Number | None]:
    """The expression as (log, factor), which stand for exp(log) · factor; None stands for a part that is 1."""
    log = _log_of(node, environment)
    if log is not None:
        return log, None
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Mult, ast.Div)):
        log1, factor1 = _split(node.left, environment)
        log2, factor2 = _split(node.right, environment)
        product = isinstance(node.op, ast.Mult)
        if log2 is not None:
            log1 = (0.0 if log1 is None else log1) + (log2 if product else -log2)
        if factor2 is not None:
            one = 1.0 if factor1 is None else factor1
            factor1 = one * factor2 if product else one / factor2
        return log1, factor1
    return None, _value(node, environment)


def formula_arguments(entry: Mapping[Any, Any]) -> dict[str, Any] | None:
    """Return a YAML entry's expressions by part where it writes a formula down, as in ``alpha: exp(-d2/tau)``; else None."""
    return {k: v for k, v in entry.items() if k in (*PARTS, "normalise")} if any(part in entry for part in PARTS) else None
