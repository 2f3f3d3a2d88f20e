"""Domains of a search space: the values that one setting may take, listed or in a range of numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

from search_spaces.yaml_lines import Document, Path
from trainer.errors import is_number


class Suggester(Protocol):
    """The methods of an Optuna trial by which a domain asks for a value."""

    def suggest_categorical(self, name: str, choices: Any) -> Any: ...
    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float: ...
    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int: ...


@dataclass(frozen=True)
class Choice:
    """A domain of listed ``values``, one of which is chosen."""

    values: tuple[Any, ...]

    @property
    def size(self) -> float:
        """Return how many values there are."""
        return len(self.values)

    def suggest(self, trial: Suggester, name: str) -> Any:
        """Return the value that the sampler suggests for the setting ``name``; a single value is returned without asking."""
        return trial.suggest_categorical(name, self.values) if len(self.values) > 1 else self.values[0]

    def samples(self) -> tuple[Any, ...]:
        """Return values that stand for the whole domain: if these are valid, all are."""
        return self.values


@dataclass(frozen=True)
class Range:
    """A domain of numbers from ``low`` to ``high``, both included.

    Args:
        low: the smallest number.
        high: the largest number.
        log: whether numbers are drawn uniformly in their logarithm, rather than uniformly in themselves.
        whole: whether only whole numbers are drawn.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False

    @property
    def size(self) -> float:
        """Return how many numbers there are; infinity where not only whole ones are drawn."""
        return int(self.high) - int(self.low) + 1 if self.whole else math.inf

    def suggest(self, trial: Suggester, name: str) -> float:
        """Return the number that the sampler suggests for the setting ``name``; a float is rounded to four significant digits."""
        if self.whole:
            return trial.suggest_int(name, int(self.low), int(self.high), log=self.log)
        value = trial.suggest_float(name, self.low, self.high, log=self.log)
        return min(max(float(f"{value:.4g}"), self.low), self.high)  # four digits: names and tables stay readable

    def samples(self) -> tuple[Any, ...]:
        """Return numbers that stand for the whole range: both ends, and for floats a point between.

        They suffice because a setting's rules are bounds, or ask for whole numbers.
        """
        if self.whole:
            return int(self.low), int(self.high)
        return self.low, self.high, self.low + (self.high - self.low) * 0.3819


Domain = Choice | Range


def contains(domain: Domain, value: Any) -> bool:
    """Tell whether a value is one of a domain's."""
    if isinstance(domain, Choice):
        return any(value == known and isinstance(value, bool) == isinstance(known, bool) for known in domain.values)
    return is_number(value) and domain.low <= value <= domain.high and (not domain.whole or value == int(value))


def read_domain(document: Document, path: Path, value: Any) -> Domain:
    """Read a domain as YAML writes it: ``0.5``, ``[0.1, 0.5]``, ``{float: [0.1, 2], log: true}`` or ``{int: [1, 8]}``.

    Args:
        document: the YAML document, which places the error messages.
        path: where the value stands in the document.
        value: the parsed value.

    Raises:
        SpaceError: if the value has none of these forms, is an empty list or lists a value twice, or if the range is invalid.
    """
    if isinstance(value, list):
        return _read_choice(document, path, value)
    if not isinstance(value, dict):
        return Choice((value,))
    kinds = [kind for kind in ("float", "int") if kind in value]
    unknown = [key for key in value if key not in ("float", "int", "log")]
    if len(kinds) != 1 or unknown:
        place, what = ((*path, unknown[0]), f"unknown key {unknown[0]!r}; ") if unknown else (path, "")
        raise document.error(place, f"{what}expected a range such as {{float: [0.1, 2], log: true}} or {{int: [1, 8]}}")
    return _read_range(document, (*path, kinds[0]), value[kinds[0]], kinds[0], value.get("log", False))


def _read_choice(document: Document, path: Path, values: list[Any]) -> Choice:
    if not values:
        raise document.error(path, f"{path[-1]!r} has no values; expected at least one, as in [0.1, 0.5]")
    for place, entry in enumerate(values):
        if isinstance(entry, (list, dict)):
            raise document.error((*path, place), f"expected a plain value in the list of {path[-1]!r}, got {entry!r}")
        if any(entry == other and type(entry) is type(other) for other in values[:place]):
            raise document.error((*path, place), f"{entry!r} is listed twice under {path[-1]!r}")
    return Choice(tuple(values))


def _read_range(document: Document, path: Path, ends: Any, kind: str, log: Any) -> Range:
    if not (isinstance(ends, list) and len(ends) == 2 and all(map(is_number, ends))):
        raise document.error(path, f"expected two numbers, {kind}: [low, high], got {ends!r}")
    if kind == "int" and any(end != int(end) for end in ends):
        raise document.error(path, f"expected whole numbers, int: [low, high], got {ends!r}")
    if not isinstance(log, bool):
        raise document.error((*path[:-1], "log"), f"expected log to be true or false, got {log!r}")
    low, high = ends
    if not low < high:
        raise document.error(path, f"expected low < high, got low={low}, high={high}")
    if log and low <= 0:
        raise document.error(path, f"expected low > 0 for a range in logarithm, got low={low}")
    return Range(low, high, log, whole=kind == "int")
