"""Waits for storage that is full, read-only or away, so that nothing computed is lost to a disk that someone will clear."""

from __future__ import annotations

import contextlib
import errno
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from trainer import environment_variables
from trainer.errors import first_line

T = TypeVar("T")

PASSING = {
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENETUNREACH, errno.EHOSTDOWN,
    errno.EHOSTUNREACH, errno.ENOTCONN, errno.ECONNREFUSED, errno.ECONNRESET,
}  # fmt: skip
# Optuna's and SQLAlchemy's errors for a database that does not answer, by name: workers import neither.
AWAY = {"StorageInternalError", "OperationalError", "InterfaceError"}
FIRST_S, LONGEST_S = 0.5, 15.0


def may_pass(error: BaseException) -> bool:
    """Tell whether an error is of a kind that passes when somebody sees to the storage."""
    if isinstance(error, OSError):
        return error.errno in PASSING
    if any(kind.__name__ in AWAY for kind in type(error).__mro__):
        return True
    # torch.save turns the file's error into one of its own, and keeps it as the context.
    return isinstance(error, RuntimeError) and error.__context__ is not None and may_pass(error.__context__)


def patiently(work: Callable[[], T], tell: Callable[[str], None] = lambda line: None) -> T:
    """Return the result of ``work``, calling it again while the storage is away.

    Args:
        work: what is to be done; it must bear being begun again.
        tell: is called with a message at every failed try, and with an empty one when the waiting is over.

    Raises:
        Exception: what ``work`` raises for any other reason, or still raises when the patience ($ALPHACL_PATIENCE_S) has run out.
    """
    wait, deadline, has_waited = FIRST_S, time.monotonic() + environment_variables.patience_s(), False
    while True:
        try:
            result = work()
        except Exception as error:
            if not may_pass(error) or time.monotonic() + wait > deadline:
                raise
            tell(f"storage: {first_line(error, 200)}; waiting")
            has_waited = True
            time.sleep(wait)
            wait = min(2 * wait, LONGEST_S)
        else:
            if has_waited:
                tell("")
            return result


@contextlib.contextmanager
def noticing(folder: Path) -> Iterator[None]:
    """Raise an error that :func:`patiently` waits for where the block cannot write into a folder that it could write into before.

    Somebody has renamed the storage, or taken its mode away, and may put it back. If the folder is there and a file in it is not,
    the error passes through.

    Args:
        folder: the folder, which was there and could be written.
    """
    try:
        yield
    except PermissionError as error:
        raise OSError(errno.ESTALE, "may not be written any more", error.filename) from None
    except FileNotFoundError:
        if folder.is_dir():
            raise
        raise OSError(errno.ESTALE, "is not there any more", str(folder)) from None
