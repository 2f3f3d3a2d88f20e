"""The addresses at which sweeps are recorded in MLflow, found without importing MLflow."""

from __future__ import annotations

from pathlib import Path

from results.record.reader import SweepRecord
from results.record.seal import named_address
from trainer import environment_variables


def database(storage: Path) -> Path:
    """Return the path of the SQLite database that MLflow keeps in a storage folder."""
    return storage.resolve() / "mlflow.db"


def default_uri(storage: Path) -> str:
    """Return MLflow's tracking address of the SQLite database in a storage folder."""
    return f"sqlite:///{database(storage)}"


def tracking_uri(sweep: SweepRecord, given: str | None = None) -> str:
    """Return where a sweep is recorded: as ``given``, as it was launched with, else the database in its storage folder.

    A password is no part of what a sweep was launched with: it is in ``given`` or in $ALPHACL_TRACKING_URI.

    Raises:
        UserError: if a sweep from elsewhere names one and the user does not.
    """
    if given or not sweep.meta.get("tracking_uri"):
        return given or default_uri(sweep.folder.parent)
    named = environment_variables.tracking_uri() or named_address(sweep, "tracking_uri", "--tracking-uri", "an MLflow store")
    return named or default_uri(sweep.folder.parent)


def artifact_root(storage: Path) -> str:
    """Return the address of the artifacts beside the SQLite database in a storage folder."""
    return (storage.resolve() / "mlartifacts").as_uri()


def artifacts_for(uri: str, storage: Path) -> str | None:
    """Return where artifacts go: beside an SQLite file, else in the storage folder; None for a server, which has its own."""
    if uri.startswith("sqlite:"):
        return artifact_root(Path(uri.partition(":///")[2].partition("?")[0]).resolve().parent)
    return artifact_root(storage) if "://" in uri and not uri.startswith(("http:", "https:")) else None
