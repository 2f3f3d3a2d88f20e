"""The value of ``--storage``: a folder, or the address of a bucket, for which a folder of this machine stands in."""

from __future__ import annotations

import argparse
import hashlib
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from trainer import environment_variables
from trainer.errors import UserError

STANDS_FOR = ".address"  # in a folder that stands in for an address: the address
SCHEMES = {"s3": "s3", "gs": "gcs"}  # → the extra that is installed for it


@dataclass(frozen=True)
class Address:
    """The address of a place in a bucket under which sweeps lie, ``SCHEME://BUCKET/PREFIX``.

    Args:
        text: the address, without a slash at its end.
    """

    text: str

    def __str__(self) -> str:
        return self.text

    @property
    def scheme(self) -> str:
        """Return ``s3`` or ``gs``."""
        return self.text.partition("://")[0]

    @property
    def bucket(self) -> str:
        """Return the bucket's name."""
        return self.text.partition("://")[2].partition("/")[0]

    def folder(self, cache: Path | None = None) -> Path:
        """Return the folder of this machine that stands in for the address.

        Args:
            cache: the folder that holds all such folders; $ALPHACL_CACHE or its default when not given.
        """
        readable = re.sub(r"[^A-Za-z0-9._-]+", "-", self.text)[:60]
        unique = hashlib.sha256(self.text.encode()).hexdigest()[:8]
        return (cache or environment_variables.cache()).expanduser() / f"{readable}-{unique}"


def storage_place(text: str) -> Path | Address:
    """Return what ``--storage`` names, for use as the type of a parser's argument.

    Raises:
        argparse.ArgumentTypeError: if it is an address of a kind that is not known, or one without a bucket.
    """
    scheme, has_scheme, rest = text.partition("://")
    if not has_scheme:
        return Path(text)
    if scheme not in SCHEMES or not rest.strip("/"):
        raise argparse.ArgumentTypeError(f"expected a folder, s3://BUCKET/PREFIX or gs://BUCKET/PREFIX, got {text!r}")
    return Address(text.rstrip("/"))


def place_of(storage: Path | str | None) -> Path | Address:
    """Return the place in which sweeps lie, given by a program: a folder or an address; the default one for None.

    Raises:
        UserError: if it is an address of a kind that is not known.
    """
    try:
        return storage_place(str(storage) if storage is not None else environment_variables.storage())
    except argparse.ArgumentTypeError as error:
        raise UserError(f"storage: {error}") from None


def storage_option(storage: Path) -> str:
    """Return `` --storage PLACE`` as a command needs it to find a storage folder again; empty where it is the default.

    Args:
        storage: the folder, or the one that stands in for an address.
    """
    note = storage / STANDS_FOR
    place = note.read_text(encoding="utf-8").strip() if note.is_file() else str(storage)
    return "" if place == environment_variables.storage() else f" --storage {shlex.quote(place)}"
