"""The errors that a user can mend, each a single clear line."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable


class UserError(ValueError):
    """Bad input: the message says what is wrong, where, and what would be right. Programs exit with code 2."""


class ConfigError(UserError):
    """A field of a configuration is wrong; ``field`` names it, so that a YAML loader can point at its line."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def is_number(value: object) -> bool:
    """Whether a value is a finite number that a float can hold; true and false are none."""
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # a whole number of hundreds of digits
        return False


class TrialDiverged(RuntimeError):
    """The loss is no longer a number. ``epoch`` is the one (from 1) in which that happened."""

    def __init__(self, epoch: int, detail: str) -> None:
        super().__init__(f"diverged in epoch {epoch}: {detail}")
        self.epoch = epoch


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``'; did you mean 'direct'?'`` for the nearest known name, else the list of all of them."""
    known = sorted(known)
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}"
