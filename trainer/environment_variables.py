"""Every environment variable of this project, read here and nowhere else; and Ray's address, which the command line takes, too.

They say where things lie on a machine and how patient a program is; none changes a trial's figures. None is ever set by the
project to hand a value to another of its own functions. :data:`VARIABLES` is the list that the documentation shows. What else
Ray, MLflow and the clouds' libraries read is theirs; a module whose message depends on one (``RAY_AUTH_TOKEN``) looks at it.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path

VARIABLES: dict[str, str] = {
    "ALPHACL_STORAGE": "where sweeps lie: a folder, or a bucket's address as s3://BUCKET/PREFIX (default: ./runs)",
    "ALPHACL_CACHE": "the folder that holds what is brought down from buckets (default: ~/.cache/alphacl/buckets)",
    "ALPHACL_READ_CACHE": "the folder that holds what was read of large sweeps; empty: none (default: ~/.cache/alphacl/read)",
    "ALPHACL_DATA": "the folder of downloads and decoded images (default: ~/.cache/alphacl)",
    "ALPHACL_ENGINE": "how a training step runs on a GPU: auto (which compiles where that saves time), eager, graph or compile",
    "ALPHACL_SAVE_SHARE": "the share of a trial's time that may go into checkpoints; inf saves after every epoch (default: 0.05)",
    "ALPHACL_PATIENCE_S": "seconds for which storage that is full, read-only or away is waited for (default: 3600)",
    "ALPHACL_THROUGH_HEAD": "1: this node's workers hand their trials to the driver's node, though they see the storage",
    "ALPHACL_TRACKING_URI": "MLflow's address with its password, for a sweep that was launched with --tracking-uri",
    "ALPHACL_STUDY_STORAGE": "the study's database with its password, for a sweep that was launched with --study-storage",
    "ALPHACL_KEY": "the file of the key that marks sweeps as launched by you (default: ~/.config/alphacl/key, made at first use)",
    "RAY_ADDRESS": "the Ray cluster to join where --address is not given (Ray's own)",
}


def storage() -> str:
    """Return the folder or the address in which sweeps lie."""
    return os.environ.get("ALPHACL_STORAGE") or "runs"


def cache() -> Path:
    """Return the folder that holds what is brought down from buckets."""
    return Path(os.environ.get("ALPHACL_CACHE") or Path.home() / ".cache" / "alphacl" / "buckets")


def read_cache() -> Path | None:
    """Return the folder that holds what was read of large sweeps; None where none is wanted or there is no home folder."""
    given = os.environ.get("ALPHACL_READ_CACHE")
    if given is not None:
        return Path(given) if given else None
    try:
        return Path.home() / ".cache" / "alphacl" / "read"
    except RuntimeError:
        return None


def given_storage() -> str | None:
    """Return $ALPHACL_STORAGE, or None where it is not set."""
    return os.environ.get("ALPHACL_STORAGE") or None


def data() -> Path:
    """Return the folder of downloads and decoded images."""
    return Path(os.environ.get("ALPHACL_DATA") or Path.home() / ".cache" / "alphacl")


def engine() -> str:
    """Return the engine that is asked for; the caller checks that there is such an engine."""
    return os.environ.get("ALPHACL_ENGINE", "auto")


def save_share() -> float:
    """Return the share of a trial's time that may go into saving checkpoints."""
    return _number("ALPHACL_SAVE_SHARE", 0.05)


def patience_s() -> float:
    """Return the seconds for which storage that is away is waited for."""
    return _number("ALPHACL_PATIENCE_S", 3600.0)


def through_head() -> bool:
    """Tell whether this node's workers are to hand their trials to the driver's node in any case."""
    return os.environ.get("ALPHACL_THROUGH_HEAD", "") not in ("", "0")


def tracking_uri() -> str | None:
    """Return MLflow's address with its password, or None where it is not set."""
    return os.environ.get("ALPHACL_TRACKING_URI")


def study_storage() -> str | None:
    """Return the URL of the study's database with its password, or None where it is not set."""
    return os.environ.get("ALPHACL_STUDY_STORAGE")


def key_file() -> Path | None:
    """Return the file of the key that marks sweeps as the user's own; None where the user has no home folder for one."""
    given = os.environ.get("ALPHACL_KEY")
    try:
        return Path(given) if given else Path.home() / ".config" / "alphacl" / "key"
    except RuntimeError:
        return None


def ray_address() -> str | None:
    """Return the Ray cluster to join, or None where it is not set."""
    return os.environ.get("RAY_ADDRESS") or None


def _number(name: str, default: float) -> float:
    """Return a variable's number; its default, with a warning, where it is none or not above 0."""
    text = os.environ.get(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not value > 0:
        warnings.warn(f"{name}: expected a number above 0, got {text!r}; taking {default:g}", stacklevel=3)
        return default
    return value
