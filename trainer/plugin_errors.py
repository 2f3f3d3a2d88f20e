"""Explains an error of a user's own code in one line that names the file and the line where it was raised."""

from __future__ import annotations

import os
import sys
import sysconfig
import traceback
from dataclasses import dataclass
from pathlib import Path

from trainer.errors import first_line
from trainer.registry import REGISTRY

_PROJECT = Path(__file__).resolve().parents[1]
_OURS = tuple(str(_PROJECT / package) + os.sep for package in ("trainer", "search_spaces", "orchestrator", "results"))


@dataclass(frozen=True)
class Place:
    """A line of source code.

    Args:
        file: the path of the file.
        line: the number of the line, from 1.
        function: the function that the line is in.
        code: the line itself, without its indentation; empty where the file cannot be read.
    """

    file: str
    line: int
    function: str
    code: str = ""

    def __str__(self) -> str:
        """Return ``my_module.py:12, in my_loss``; of our own files the folder is named, too."""
        path = Path(self.file)
        shown = str(path.relative_to(_PROJECT)) if self.file.startswith(_OURS) else path.name
        return f"{shown}:{self.line}" + (f", in {self.function}" if self.function else "")


def place_of(error: BaseException) -> Place | None:
    """Return the innermost line of the user's code that an error came through.

    A plug-in's line comes before any other, then a line that is neither a library's nor ours, then one of ours; None
    where the error has no traceback.
    """
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return Place(error.filename, error.lineno, "", (error.text or "").strip())
    frames = [f for f in reversed(traceback.extract_tb(error.__traceback__)) if f.lineno]
    plugins = {getattr(sys.modules.get(module), "__file__", None) for module in plugin_modules()}
    libraries = tuple({sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib")})
    for belongs in (
        lambda file: file in plugins,
        lambda file: not file.startswith((*libraries, *_OURS, "<")),
        lambda file: file.startswith(_OURS),
        lambda file: True,
    ):
        for frame in frames:
            if belongs(frame.filename):
                return Place(frame.filename, frame.lineno or 0, frame.name, (frame.line or "").strip())
    return None


def plugin_modules() -> set[str]:
    """Return the names of the modules outside this project that have registered a component."""
    modules = {component.function.__module__ for kind in REGISTRY.values() for component in kind.values()}
    return {module for module in modules if not module.startswith("trainer.")}


def explain(error: BaseException, only_users: bool = False) -> str:
    """Return one line about an error: its type, its message, and the place in the user's code where it was raised.

    Args:
        error: the error.
        only_users: whether a place in a file of this project is left out.
    """
    place, name = place_of(error), type(error).__name__
    said = first_line(error, 500)
    shown = place is not None and not (only_users and place.file.startswith(_OURS))
    return (name if said == name else f"{name}: {said}") + (f" ({place})" if shown else "")
