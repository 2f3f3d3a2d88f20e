"""Reads the source of a sweep's plug-ins from its folder, for the report; what somebody else left there is text alone."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from results.record.layout import PLUGINS
from results.record.reader import SweepRecord
from trainer.errors import UserError
from trainer.files import read_bounded

MOST_FILES, MOST_BYTES = 20, 64 << 10  # that are shown, and of one file


@dataclass(frozen=True)
class Source:
    """A file of a plug-in as the sweep folder keeps it.

    Args:
        name: its path below the folder of kept sources, whose first part is the module and the beginning of its hash.
        text: its content; a reason in its place where it is not shown.
    """

    name: str
    text: str


def kept_sources(sweep: SweepRecord) -> list[Source]:
    """Return the Python files of a sweep's plug-ins, at most :data:`MOST_FILES`; links are not followed."""
    root = sweep.folder / PLUGINS
    files = []
    with contextlib.suppress(OSError):  # a folder that cannot be read has nothing to show
        files = sorted(file for file in root.rglob("*.py") if not _is_through_link(file, root))
    return [Source(str(file.relative_to(root)), _text(file)) for file in files[:MOST_FILES]]


def _is_through_link(file: Path, root: Path) -> bool:
    return any(path.is_symlink() for path in (file, *file.parents) if path.is_relative_to(root))


def _text(file: Path) -> str:
    try:
        return read_bounded(file, MOST_BYTES).decode("utf-8", "replace")
    except (OSError, UserError) as error:
        return f"not shown: {error}"
