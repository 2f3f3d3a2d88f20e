"""The seal of a sweep, by which a sweep that the user launched is told apart from one that came from elsewhere.

What a sweep was launched with names things outside its folder: plug-ins and the folders they are imported from, databases,
folders of images. Of one's own sweep that is wanted; in a stranger's it would be an order. So the launch writes a seal into
``sweep.json``, made with a key that only the user has ($ALPHACL_KEY). Without it the sweep is data: all of it can be read, and
what it names is asked for again by whoever runs it.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import secrets
from typing import Any

from results.record.layout import SPACE
from results.record.reader import MOST_SPACE, SweepRecord
from trainer import environment_variables
from trainer.errors import UserError
from trainer.files import read_bounded

SEALED = ("id", "plugin_path", "study_storage", "tracking_uri")  # what in sweep.json the seal is of, besides the search space
KEY_BYTES = 32


def _key(make: bool = False) -> bytes | None:
    """Return the user's key, made where there is none and ``make`` asks for it; None where there is none, or no place for one."""
    file = environment_variables.key_file()
    if file is None:
        return None
    with contextlib.suppress(OSError, UserError):
        key = read_bounded(file, 1 << 10)
        return key if len(key) >= KEY_BYTES else None
    if not make:
        return None
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as made:
            made.write(secrets.token_bytes(KEY_BYTES))
    with contextlib.suppress(OSError, UserError):  # another process may have made it a moment before
        key = read_bounded(file, 1 << 10)
        return key if len(key) >= KEY_BYTES else None
    return None


def seal_of(meta: dict[str, Any], space: str, make: bool = False) -> str | None:
    """Return the seal of a sweep that its user launches or trusts; None where the user has no key.

    Args:
        meta: the content of ``sweep.json``.
        space: the YAML in its folder.
        make: whether a key is made where there is none.
    """
    key = _key(make)
    if key is None:
        return None
    named = [hashlib.sha256(space.encode()).hexdigest(), *(meta.get(name) for name in SEALED)]
    return hmac.new(key, json.dumps(named).encode(), hashlib.sha256).hexdigest()


def is_own(record: SweepRecord) -> bool:
    """Tell whether the user launched the sweep, or has trusted it since; a changed search space breaks the seal."""
    try:
        space = read_bounded(record.folder / SPACE, MOST_SPACE).decode()
    except (FileNotFoundError, UserError, UnicodeDecodeError):
        return False
    seal, given = seal_of(record.meta, space), record.meta.get("seal")
    return seal is not None and given is not None and hmac.compare_digest(seal.encode(), given.encode())


def named_address(record: SweepRecord, key: str, option: str, what: str) -> str | None:
    """Return an address that a sweep's ``sweep.json`` names; None where it names none.

    Args:
        record: the sweep.
        key: the address's key in ``sweep.json``.
        option: the option of the command line that gives it again.
        what: what lies there, for the message.

    Raises:
        UserError: if it names one and the user did not launch the sweep: a password might be sent there, or a file be written.
    """
    address = record.meta.get(key)
    if address and not is_own(record):
        raise UserError(
            f"the sweep {record.name!r} was not launched by you here, and names {what} that would be opened: {address};"
            f" give {option} ADDRESS, that one or your own"
        )
    return str(address) if address else None
