"""Sweeps read from Python, :func:`load_sweep`: for notebooks and scripts."""

from __future__ import annotations

from pathlib import Path

from results.bucket.address import place_of
from results.bucket.reading import folder_of
from results.frames import LoadedSweep
from results.record.lookup import find_sweep
from results.record.outside_records import checked


def load_sweep(name: str | Path, storage: str | Path | None = None) -> LoadedSweep:
    """Read a sweep, finished or not, its configurations and figures checked against their digests and checksums.

    Each of its ``trials()`` has ``config``, ``status``, ``metrics``, ``reports``, ``environment`` and ``error``; a trial that
    cannot be believed has the status ``damaged``, and ``problem`` says why. :func:`results.tables.sweep.sweep_tables` makes
    tables of it, and its ``frame()`` is a pandas frame with a row per trial or per epoch.

    Args:
        name: the sweep's name in the storage; or the path of a sweep folder, or of a folder of JSON records, with a slash in it.
        storage: the folder or the bucket's address in which sweeps lie; ``$ALPHACL_STORAGE``, else ``./runs``, when not given.

    Raises:
        UserError: if there is no such sweep, or it cannot be read.
    """
    place = place_of(storage)
    sweep = find_sweep(place if isinstance(place, Path) else folder_of(place, str(name)), str(name))
    return LoadedSweep(sweep.folder, sweep.meta, tuple(checked(t) for t in sweep.trials()), sweep.space)


load = load_sweep  # for a path: results.load("runs/quickstart").frame()
