"""Finds the best configuration of a sweep by the sweep's metric, as a mean over seeds, and writes it as YAML.

Each family's best is chosen in :mod:`results.tables.best_of_families`; single trials, for kept encoders and models, are ranked in
:mod:`results.record.ranking`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from results.record.naming import label_of
from results.record.reader import SweepRecord, TrialRecord
from results.record.status import Status
from results.tables.build import group, readable
from results.tables.cells import cell_of
from results.tables.model import Cell
from trainer.errors import UserError, did_you_mean
from trainer.metrics import PRIMARY, metric_of


@dataclass(frozen=True)
class Best:
    """The best configuration of a sweep on one dataset.

    Args:
        dataset: the dataset.
        metric: what it was chosen by.
        trials: its finished trials, which differ in their seed alone.
        among: how many configurations it was chosen among.
        confirmed: whether the figures are those of fresh seeds, which the search that chose it had not seen.
        level: how many others have the same mean.
    """

    dataset: str
    metric: str
    trials: tuple[TrialRecord, ...]
    among: int
    confirmed: bool
    level: int = 0

    @property
    def config(self) -> Mapping[str, Any]:
        """Return the configuration, with the first of its seeds."""
        return self.trials[0].config

    @property
    def label(self) -> str:
        """Return the configuration's name for people, without a seed."""
        return label_of(self.config)

    def cell(self, metric: str) -> Cell:
        """Return its scores under a metric."""
        return cell_of(self.trials, metric)

    def summary(self) -> str:
        """Return its scores and what they were chosen among, in one line."""
        names = dict.fromkeys((self.metric, PRIMARY))
        scores = ", ".join(f"{name} {self.cell(name).text()}" for name in names if self.cell(name).values)
        seeds = len(self.trials)
        fresh = "fresh " if self.confirmed else ""
        line = f"{self.label}: {scores} over {seeds} {fresh}seed{'s' * (seeds > 1)}, the best of {self.among} by {self.metric}"
        return f"{line}, level with {self.level} other{'s' * (self.level > 1)}" if self.level else line


def best_of(sweep: SweepRecord, dataset: str | None = None) -> list[Best]:
    """Return the best configuration for each dataset, in the sweep's order.

    A search that has confirmed its winners with fresh seeds is judged by these. A configuration counts when all of its planned
    seeds have finished; only where none has are others looked at.

    Args:
        sweep: the sweep.
        dataset: the only dataset to look at; all when not given.

    Raises:
        UserError: if no trial has finished, or there is no such dataset.
    """
    datasets: dict[str, list[TrialRecord]] = {}
    for trial in readable(sweep.trials()):
        datasets.setdefault(str(trial.config["dataset"]), []).append(trial)
    if dataset is not None and dataset not in datasets:
        raise UserError(f"--dataset: the sweep {sweep.name!r} has no {dataset!r}{did_you_mean(dataset, datasets)}")
    found = [_best(name, trials, sweep.metric) for name, trials in datasets.items() if dataset in (None, name)]
    bests = [best for best in found if best is not None]
    if not bests:
        raise UserError(f"the sweep {sweep.name!r} has no finished trial yet; see 'alphacl status {sweep.name}'")
    return bests


def _best(dataset: str, trials: list[TrialRecord], metric: str) -> Best | None:
    confirmed = [t for t in trials if t.role == "confirm" and t.status == Status.FINISHED]
    groups = group([t for t in trials if t.role == "confirm"] if confirmed else trials, ("seed",))
    scored = [g for g in groups if cell_of(g, metric).values]
    whole = [g for g in scored if all(t.status == Status.FINISHED for t in g)] or scored
    if not whole:
        return None
    goodness = metric_of(metric).goodness
    means = [round(goodness(cell.mean), 6) if (cell := cell_of(g, metric)).values else -math.inf for g in whole]
    best = whole[means.index(max(means))]
    done = tuple(t for t in best if t.status == Status.FINISHED)
    among = len(group([t for t in trials if t.role != "confirm"], ("seed",)))
    return Best(dataset, metric, done, among, bool(confirmed), means.count(max(means)) - 1)


def to_yaml(sweep: SweepRecord, best: Best) -> str:
    """Return a search space of the best configuration alone, with its seeds, which ``alphacl sweep`` runs."""
    import yaml

    from trainer.config import describe_fields

    defaults = {name: list(default) if isinstance(default, tuple) else default for name, default, _ in describe_fields()}
    known = {k: v for k, v in best.config.items() if k in defaults and v is not None and k != "seed"}
    named = ("dataset", "objective", "tau")  # written out also where they are at their defaults
    kept = {k: v for k, v in known.items() if k in named or v != defaults[k]}
    space: dict[str, Any] = {"description": f"the best of {sweep.name}: {best.summary()}"}
    for section in ("plugins", "resources"):
        if sweep.space_values.get(section):
            space[section] = sweep.space_values[section]
    space |= {"trial": kept, "space": {"seed": sorted(int(t.config["seed"]) for t in best.trials)}}
    return str(yaml.safe_dump(space, sort_keys=False, allow_unicode=True, width=120))
