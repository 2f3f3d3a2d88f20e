"""Errors that a user can correct, each with a message of one clear line; and helpers to write such messages."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable


class UserError(ValueError):
    """Error in what a user gave: the message says what is wrong, where, and what would be right. Programs exit with code 2."""


class ConfigError(UserError):
    """Error in one field of a configuration; ``field`` names it, so that a YAML loader can point at its line."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field

    def __reduce__(self) -> tuple[type[ConfigError], tuple[str, str]]:
        return ConfigError, (self.field, str(self))  # a worker's error travels to its driver


def is_number(value: object) -> bool:
    """Tell whether a value is a finite number that a float can hold; true and false do not count."""
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # a whole number of hundreds of digits
        return False


class TrialDiverged(RuntimeError):
    """Error of a trial whose loss or features are no longer finite numbers.

    ``epoch`` is the epoch (from 1) in which that happened; 0 where the encoder had not been trained yet.
    """

    def __init__(self, epoch: int, detail: str) -> None:
        super().__init__(f"diverged in epoch {epoch}: {detail}")
        self.epoch, self.detail = epoch, detail

    def __reduce__(self) -> tuple[type[TrialDiverged], tuple[int, str]]:
        return TrialDiverged, (self.epoch, self.detail)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the end of an error message: ``; did you mean 'direct'?`` for the nearest known name, else all known names."""
    known = sorted(known)
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}"


def first_line(error: BaseException, most: int | None = None) -> str:
    """Return the first line of an error's message, cut to ``most`` characters; its type's name where it has no message."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:most]
