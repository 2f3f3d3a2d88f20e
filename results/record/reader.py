"""Reads a sweep folder back: what was launched, and its trials."""

from __future__ import annotations

import contextlib
import gc
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from results.record import schema
from results.record.layout import CONFIG, LAYOUT, RESULT, SPACE, STUDY, SWEEP, TRIALS, is_name
from results.record.read_cache import ReadCache
from results.record.trial_record import TrialRecord
from trainer.errors import UserError, did_you_mean
from trainer.files import read_bounded
from trainer.metrics import SELECTION
from trainer.terminal import printable

__all__ = ["SweepRecord", "TrialRecord", "list_sweeps", "open_sweep"]

KEEP_ENCODERS = 5  # per dataset, where the YAML does not say
MOST_SPACE = 1 << 20  # bytes of a sweep's YAML


@dataclass(frozen=True)
class SweepRecord:
    """A sweep as its folder describes it.

    Args:
        folder: the sweep's folder, whose name is the sweep's.
        meta: the content of ``sweep.json``.
    """

    folder: Path
    meta: dict[str, Any]

    @property
    def name(self) -> str:
        """Return the sweep's name."""
        return printable(self.folder.name, 200)

    @property
    def study(self) -> Path:
        """Return the file of a search's Optuna study; it does not exist where the study is in a database."""
        return self.folder / STUDY

    @property
    def study_name(self) -> str:
        """Return the name of the study: the sweep's as it was launched; with the sweep's id in a database, which sweeps share."""
        name = str(self.meta.get("name") or self.name)
        name = f"{name} {self.meta['id'][:8]}" if self.meta.get("study_storage") else name
        return str(self.meta.get("study_name") or name)  # of a sweep that was renamed or imported

    @property
    def space(self) -> str:
        """Return the YAML that the sweep was launched with; empty where there is none that can be read."""
        try:
            return read_bounded(self.folder / SPACE, MOST_SPACE).decode()
        except (FileNotFoundError, UserError, UnicodeDecodeError):  # the tables need none
            return ""

    @cached_property
    def space_values(self) -> dict[str, Any]:
        """Return what the YAML holds; empty where there is none, or none that can be read."""
        from trainer import bounded_yaml

        try:
            values = bounded_yaml.load(self.space)
        except UserError:
            return {}
        return values if isinstance(values, dict) else {}

    @property
    def search(self) -> dict[str, Any]:
        """Return the ``search`` section of the YAML; empty for a grid."""
        section = self.space_values.get("search")
        return section if isinstance(section, dict) else {}

    @property
    def is_search(self) -> bool:
        """Tell whether the trials are a search's; also of records that were exported from one."""
        kind = self.meta.get("kind")
        return kind == "search" or (kind == "records" and bool(self.search))

    @property
    def description(self) -> str:
        """Return what the YAML says of the sweep; empty where it says nothing."""
        return str(self.space_values.get("description") or "")

    @property
    def keep_encoders(self) -> int:
        """Return how many of the best finished encoders are kept per dataset."""
        keep = self.space_values.get("keep_encoders")
        return keep if isinstance(keep, int) and keep >= 0 else KEEP_ENCODERS

    @property
    def metric(self) -> str:
        """Return the metric that the sweep chooses by: a search's own, else ``val/linear``."""
        metric = self.search.get("metric")
        return metric if isinstance(metric, str) and re.fullmatch(r"[\w./-]{1,100}", metric) else SELECTION

    @property
    def planned(self) -> int:
        """Return how many trials the sweep is to have.

        Once the sweep is over this is how many it had: a space may hold fewer, or some trials be stopped.
        """
        return int(self.meta.get("settled_at") or self.meta["trials"])

    def trials(self) -> list[TrialRecord]:
        """Read the trials known so far from the folder, in the sweep's order."""
        folder, names = self.folder / TRIALS, self._names()
        with _without_collecting():
            cache = ReadCache(self.folder, len(names))
            trials = [_RememberedTrial(folder / name, cache=cache) for name in names]
            for trial in trials:
                _ = trial.problem  # which reads it
            cache.close()
            return sorted(trials, key=lambda t: (t.index, t.digest))

    def _names(self) -> list[str]:
        """Return the names of the trials' folders: those that hold a configuration, and links, which are damaged trials."""
        trials = self.folder / TRIALS
        try:
            with os.scandir(trials) as entries:
                names = [e.name for e in entries if e.is_symlink() or e.is_dir()]
        except OSError:  # none yet, or no folder
            return []
        return [name for name in names if os.path.lexists(f"{trials}/{name}/{CONFIG}")]


@contextlib.contextmanager
def _without_collecting() -> Iterator[None]:
    """Keep Python from looking for cycles while a block makes millions of objects that stay: that took half of its time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


@dataclass(frozen=True)
class _RememberedTrial(TrialRecord):
    """A trial of many, whose files need not be read again where an earlier command has read them.

    Args:
        cache: what reads its files.
    """

    cache: ReadCache = field(kw_only=True, repr=False, compare=False)

    def _read_file(self, name: str, kind: schema.Kind, remedy: str = schema.REMEDY) -> dict[str, Any] | None:
        return self.cache.read(self.folder.name, name, kind, remedy)

    def _read_summary(self) -> dict[str, Any] | None:
        return self._read_file(RESULT, schema.RESULT_FILE)


def list_sweeps(storage: Path) -> list[str]:
    """Return the names of the sweeps in a storage folder, sorted."""
    return sorted(f.parent.name for f in storage.glob(f"*/{SWEEP}") if is_name(f.parent.name))


def open_sweep(storage: Path, name: str) -> SweepRecord:
    """Open the sweep of a name in a storage folder.

    Raises:
        UserError: if the folder has no sweep of that name, one of another layout, or one whose ``sweep.json`` is damaged.
    """
    file = storage / name / SWEEP
    meta = schema.read(file, schema.SWEEP_FILE, "restore it")
    if meta is None:
        known = list_sweeps(storage)
        hint = did_you_mean(name, known) if known else "; it has none yet"
        raise UserError(f"no sweep {name!r} in {storage}{hint}")
    if meta.get("layout", LAYOUT) != LAYOUT:
        raise UserError(f"{file}: expected layout {LAYOUT}, got {meta['layout']!r}; read it with the alphacl that made it")
    return SweepRecord(storage / name, meta)
