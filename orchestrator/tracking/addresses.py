"""Where a sweep is recorded in MLflow, told without importing MLflow."""

from __future__ import annotations

import os
from pathlib import Path

from results.record.reader import SweepRecord

URI = "ALPHACL_TRACKING_URI"  # may hold the address with its password, which is written nowhere


def database(storage: Path) -> Path:
    """The SQLite database in a storage folder."""
    return storage.resolve() / "mlflow.db"


def default_uri(storage: Path) -> str:
    """Its address."""
    return f"sqlite:///{database(storage)}"


def tracking_uri(sweep: SweepRecord) -> str:
    """Where a sweep is recorded: as it was launched with, else the database in the storage folder, wherever that is now."""
    kept = sweep.meta.get("tracking_uri")
    return (os.environ.get(URI) or str(kept)) if kept else default_uri(sweep.folder.parent)


def artifact_root(storage: Path) -> str:
    """The artifacts beside it."""
    return (storage.resolve() / "mlartifacts").as_uri()
