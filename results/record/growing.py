"""Adds trials to an existing sweep: those of an edited search space that has more of them, and those whose folders were lost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from results.record.layout import SPACE
from results.record.reader import TrialRecord
from results.record.sweep_writer import Space, SweepWriter
from results.record.trial_writer import TrialWriter
from trainer.files import replacing

if TYPE_CHECKING:
    from trainer import TrialConfig


def plan_missing(folder: SweepWriter, leaves: list[TrialConfig]) -> int:
    """Plan the trials of a grid that its folder lacks, as after somebody removed a trial's folder; return how many.

    Args:
        folder: the sweep folder, whose lock the caller holds.
        leaves: the configurations of the grid.

    Raises:
        OSError: if the folder cannot be written.
    """
    there = {trial.digest for trial in folder.record.trials()}
    missing = [(index, leaf) for index, leaf in enumerate(leaves) if leaf.digest not in there]
    for index, leaf in missing:
        folder.trial(leaf.digest).plan(leaf, index)
    if len(there) + len(missing) != folder.record.planned:
        folder.update(trials=len(there) + len(missing), settled_at=None)
    return len(missing)


def grow(folder: SweepWriter, spec: Space, meta: Mapping[str, Any], finished: Mapping[str, TrialRecord] | None = None) -> None:
    """Give a sweep another search space: new trials of a grid are planned after those there are, which all stay.

    Args:
        folder: the sweep folder, whose lock the caller holds.
        spec: the new space.
        meta: what ``sweep.json`` is to say besides.
        finished: finished trials by digest, which the grid takes over where it has the same configuration.

    Raises:
        OSError: if the folder cannot be written.
    """
    trials = folder.record.trials()
    there = {trial.digest for trial in trials}
    added = [leaf for leaf in spec.leaves() if leaf.digest not in there] if spec.kind == "grid" else []
    index = 1 + max((trial.index for trial in trials if not trial.problem), default=-1)
    for place, leaf in enumerate(added, start=index):
        writer = TrialWriter(folder.trials / leaf.digest)
        if finished and leaf.digest in finished:
            writer.adopt(finished[leaf.digest], place)
        else:
            writer.plan(leaf, place)
    with replacing(folder.path / SPACE) as file:
        file.write(spec.text.encode())
    planned = len(there) + len(added) if spec.kind == "grid" else spec.trials
    folder.trust(trials=planned, settled_at=None, **meta)
