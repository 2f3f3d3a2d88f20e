"""Files that are either the old or the new, whatever kills the writer; and checkpoints in them."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import stat
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from trainer.errors import UserError

PIECE = 1 << 20  # bytes that are read at a time
UMASK = os.umask(0o022)
os.umask(UMASK)  # to read it is to set it


@contextlib.contextmanager
def open_regular(path: Path) -> Iterator[IO[bytes]]:
    """Open a regular file for reading; no link is followed and no pipe waited for: what somebody else left may be either.

    Raises:
        FileNotFoundError: if there is no such file.
        UserError: if it is something else than a regular file, or can't be read; the message does not name the file.
    """
    with os.fdopen(_open_regular(path)[0], "rb") as file:
        try:
            yield file
        except OSError as error:
            raise UserError(f"cannot be read: {error.strerror}") from None


def _open_regular(path: Path | str) -> tuple[int, os.stat_result]:
    """Return a descriptor of a regular file, and what the system says of it; raises as :func:`open_regular`."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            raise FileNotFoundError(error.errno, error.strerror, str(path)) from None
        if error.errno == errno.ELOOP:
            raise UserError("expected a regular file, got a link") from None
        raise UserError(f"cannot be read: {error.strerror}") from None
    except ValueError:
        raise UserError("expected a file's name, got one with a NUL character") from None
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode):
        os.close(handle)
        raise UserError(f"expected a regular file, got a {'folder' if stat.S_ISDIR(found.st_mode) else 'pipe or device'}")
    return handle, found


def read_bounded(path: Path, most: int) -> bytes:
    """Return the content of a regular file of at most ``most`` bytes, read in pieces.

    Raises:
        FileNotFoundError: if there is no such file.
        UserError: as :func:`open_regular`, or if the file is larger.
    """
    return read_with_stat(path, most)[0]


def read_with_stat(path: Path | str, most: int) -> tuple[bytes, os.stat_result]:
    """Return what :func:`read_bounded` does, and what the system said of the file before it was read.

    Raises:
        FileNotFoundError: if there is no such file.
        UserError: as :func:`read_bounded`.
    """
    handle, found = _open_regular(path)
    try:
        if found.st_size > most:
            raise UserError(f"expected a file of at most {most} bytes, got {found.st_size}")
        return _read_pieces(handle, found.st_size, most), found
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}") from None
    finally:
        os.close(handle)


def _read_pieces(handle: int, size: int, most: int) -> bytes:
    """Return what a file holds, which may be longer by now than its ``size`` was."""
    content = os.read(handle, min(size + 1, PIECE))
    if len(content) == size:
        return content
    pieces, total = [content], len(content)
    while piece := os.read(handle, PIECE):
        pieces.append(piece)
        total += len(piece)
        if total > most:
            raise UserError(f"expected a file of at most {most} bytes, got more")
    return b"".join(pieces)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Open a binary file for writing that takes ``path``'s place when the block ends and the file is on the disk.

    Where the block raises, the old file stays as it was.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.fchmod(handle, 0o666 & ~UMASK)  # mkstemp's files are the writer's alone; results are for whoever shares the folder
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


def checksum(record: dict[str, Any]) -> str:
    """Return the SHA-256 of a record's canonical content, in hex.

    Where the record lies (``attempt``, ``run``) and the checksum itself do not count. A checksum shows an edit by accident or by
    a careless hand; it is no signature.
    """
    content = {key: value for key, value in record.items() if key not in ("checksum", "attempt", "run")}
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def digest_of_files(files: Iterable[Path]) -> str:
    """Return the SHA-256 of what files hold, in their order, in hex."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def portable(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return a state dict with its tensors on the CPU, so that a machine without a GPU loads it."""
    return {name: value.cpu() if hasattr(value, "cpu") else value for name, value in state.items()}


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Replace a checkpoint whole. Raises OSError where it can't be written; the old one is then untouched."""
    import torch  # here, so that what only reads JSON starts without it

    with replacing(path) as file:
        try:
            torch.save(state, file)
        except RuntimeError as error:  # PyTorch's writer hides why a write failed
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise OSError(errno.EIO, str(error).splitlines()[0], str(path)) from None


def read_torch(path: Path) -> Any:
    """What :func:`save_checkpoint` or any ``torch.save`` wrote (``weights_only``), its checksums verified, on the CPU.

    Raises:
        OSError: it can't be read.
        ValueError: it is damaged, or no such file. PyTorch itself does not compare checksums: a flipped bit would go unnoticed.
    """
    import torch

    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                damaged = archive.testzip()
            if damaged is not None:
                raise ValueError(f"wrong checksum of {damaged}")
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # noqa: BLE001 - a damaged archive or pickle raises anything
        raise ValueError((str(error).splitlines() or [type(error).__name__])[0][:100]) from None


def load_checkpoint(path: Path, warn: Callable[[str], None] = lambda line: None) -> dict[str, Any] | None:
    """A checkpoint's state, or None where there is none or, after a warning, where it can't be read or is damaged."""
    try:
        state: dict[str, Any] = read_torch(path)
        return state
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:  # the trial then starts again
        warn(f"cannot read the checkpoint {path} ({error}); starting again")
        return None
