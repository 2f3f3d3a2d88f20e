"""Files that can't be written, said in one line."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from trainer.errors import UserError


@contextlib.contextmanager
def writing(file: Path) -> Iterator[None]:
    """Name the file in the error that writing it raises."""
    try:
        yield
    except OSError as error:
        raise UserError(f"--out: cannot write {file}: {error.strerror or error}") from None
