"""Formulas that a user writes as objectives: ``alpha: exp(-d2**(p/2)/tau)``, or ``phi`` and ``psi``.

Built-in objectives stand in :mod:`trainer.alphas` and :mod:`trainer.losses`. A formula is parsed with :mod:`ast` and never run as
code. It holds numbers, the symbols of :data:`PARTS`, operators, the functions that :mod:`trainer.formula_values` has, and free
symbols, which are its hyper-parameters. Products and sums of exponentials are computed in logarithms, so that a small
temperature does not overflow.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import Tensor

from trainer.calls import FORMULA, FORMULA_PARTS, Call, as_text
from trainer.errors import UserError, did_you_mean, is_number
from trainer.formula_values import ALL, BINARY, COMPARE, FUNCTIONS, ROW, TWO, Value, log_of, numbers, split, value_of, whole
from trainer.pairs import Pairs

MOST_CHARACTERS, MOST_NODES = 500, 200  # of one formula
# The symbols that each part knows. Of an anchor's negatives d2 = d²_ij, s = 1 − d²_ij; of its positive d2_pos and s_pos.
# In psi x is the gap d²_i − d²_ij, in phi the sum of psi over the negatives.
PARTS = {"alpha": ("d2", "s", "d2_pos", "s_pos", "tau"), "phi": ("x", "tau"), "psi": ("x", "tau")}


@dataclass(frozen=True)
class Formula:
    """A parsed formula objective: the expression for α, or those for φ and ψ.

    Args:
        trees: the parsed expressions by part: ``alpha``, or ``phi`` and ``psi``.
        normalise: whether rows of α are brought to sum 1.
    """

    trees: dict[str, ast.expr]
    normalise: bool

    @property
    def is_constructor(self) -> bool:
        """Tell whether the formula gives α itself, and not a loss."""
        return "alpha" in self.trees

    @property
    def texts(self) -> dict[str, str]:
        """Return the expressions in their canonical spelling, by part."""
        return {part: compact(tree) for part, tree in self.trees.items()}

    @property
    def symbols(self) -> frozenset[str]:
        """Return the free symbols, which must be given values; ``tau`` among them where the formula has a temperature."""
        found = set()
        for part, tree in self.trees.items():
            functions = {id(n.func) for n in ast.walk(tree) if isinstance(n, ast.Call)}
            names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and id(n) not in functions}
            found |= names - (set(PARTS[part]) - {"tau"})
        return frozenset(found)

    def name(self, symbols: Mapping[str, float]) -> str:
        """Return the full call string with these values of its symbols, which names the objective in digests and records."""
        given = tuple((k, symbols[k]) for k in sorted(symbols) if k != "tau")
        return str(Call(FORMULA, (), (*self.texts.items(), *(() if self.normalise else (("normalise", False),)), *given)))

    def alpha(self, d: Pairs, symbols: Mapping[str, float]) -> Tensor:
        """Return α of these distances, (2N, 2N − 2)."""
        values = {"d2": d.inter, "s": 1 - d.inter, "d2_pos": d.intra, "s_pos": 1 - d.intra}
        environment = {ALL: Value(d.inter), **{k: Value(v) for k, v in values.items()}, **numbers(symbols)}
        log, factor = (None if part is None else whole(part, d.inter) for part in split(self.trees["alpha"], environment))
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
        given = numbers(symbols)
        inside = {ALL: Value(gaps), "x": Value(gaps), **given}
        log = log_of(self.trees["psi"], inside)
        if log is not None:
            log_sum = torch.logsumexp(whole(log, gaps), dim=1)
            total, log_total = log_sum.exp(), log_sum
        else:
            total, log_total = whole(value_of(self.trees["psi"], inside), gaps).sum(dim=1), None
        return whole(value_of(self.trees["phi"], {ALL: Value(total), "x": Value(total, log_total), **given}), total)


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
    trees = {}
    for part in parts:
        text = given[part]
        if isinstance(text, (int, float)) and not isinstance(text, bool):
            text = repr(text)
        if isinstance(text, Call):
            text = str(text)
        if not isinstance(text, str):
            raise UserError(f"expected the formula {part} to be a text, got {text!r}")
        trees[part] = _parse(part, text)
    return Formula(trees, normalise)


def check_symbols(call: Call, formula: Formula) -> dict[str, float]:
    """Return the values of a formula's hyper-parameters by name, ``tau`` excepted.

    Raises:
        UserError: if a symbol has no value, a value is no number, or a name is given that the formula does not have.
    """
    given = {k: v for k, v in call.kwargs if k not in FORMULA_PARTS}
    if "tau" in given:
        raise UserError("tau is a setting of its own; give it beside the objective, not inside the formula")
    own = formula.symbols - {"tau"}
    for name, value in given.items():
        if name not in own:
            raise UserError(f"the formula has no symbol {name!r}{did_you_mean(name, own) if own else '; it has none'}")
        if not is_number(value):
            raise UserError(f"expected {name} to be a number, got {name}={as_text(value)}")
    for part, tree in formula.trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and node.id in own - set(given):
                known = ", ".join(PARTS[part])
                raise UserError(
                    f"{part}: unknown symbol {node.id!r} at column {node.col_offset + 1} of {compact(tree)!r}; known: {known};"
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
    texts = parse_formula(call).texts
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
        if node.id not in PARTS[part] and any(node.id in symbols for symbols in PARTS.values()):
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
    elif isinstance(node, ast.BinOp) and type(node.op) in BINARY:
        _check(node.left, part, text)
        _check(node.right, part, text)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        _check(node.operand, part, text)
    elif isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in COMPARE:
        _check(node.left, part, text)
        _check(node.comparators[0], part, text)
    else:
        refuse("expected numbers, symbols, + - * / **, comparisons and functions, got something else")


def formula_arguments(entry: Mapping[Any, Any]) -> dict[str, Any] | None:
    """Return a YAML entry's expressions by part where it writes a formula down, as in ``alpha: exp(-d2/tau)``; else None."""
    return {k: v for k, v in entry.items() if k in FORMULA_PARTS} if any(part in entry for part in PARTS) else None
