"""Files that are either the old or the new, whatever kills the writer; and checkpoints in them."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Write a file that takes ``path``'s place only when it is complete and on the disk."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file whole."""
    with replacing(path) as file:
        file.write((json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Replace a checkpoint whole."""
    import torch  # here, so that what only reads JSON starts without it

    with replacing(path) as file:
        torch.save(state, file)


def load_checkpoint(path: Path, warn: Callable[[str], None] = lambda line: None) -> dict[str, Any] | None:
    """A checkpoint's state (``weights_only``), or None where there is none or, after a warning, where it can't be read."""
    import torch

    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return state
    except FileNotFoundError:
        return None
    except Exception as error:  # noqa: BLE001 - a damaged pickle raises anything; the trial then starts again
        warn(f"cannot read the checkpoint {path} ({str(error).splitlines()[0][:100]}); starting again")
        return None
