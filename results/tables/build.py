"""Builds accuracy tables from trial records: a row per configuration, a cell per metric over its seeds.

Which metrics are columns is declared in :mod:`trainer.metrics`.
"""

from __future__ import annotations

import collections
import math
from typing import Any, TypeVar

from results.record.reader import SweepRecord, TrialRecord
from results.record.status import Status
from results.tables.cells import cell_of, cells_of, untrained_cell, untrained_score
from results.tables.model import AT_SELECTION, Cell, Row, Table, judged_by, numbered, varying
from results.tables.significance import Comparison, compare, correct
from trainer.errors import UserError
from trainer.metrics import METRICS, PRIMARY, SELECTION, metric_of

UNTRAINED = "untrained encoder"
TRIED = "tried"  # the column that says among how many configurations of its family a confirmed one was chosen
REFERENCE = ("infonce", "infonce(eps=1)")  # spellings of the same objective
# What a search may tune and still be compared with InfoNCE; everything else is the protocol.
TUNED = ("objective", "tau", "lr", "lr_per_256", "weight_decay", "batch_size", "projection_dim", "seed")
# What decides the scores of an encoder that was never trained.
ENCODER = ("encoder", "images", "image_size", "held_out", "augmentation", "knn_k", "precision", "probe")

T = TypeVar("T")


def readable(trials: list[TrialRecord]) -> list[TrialRecord]:
    """Return the trials whose configuration can be read."""
    return [t for t in trials if t.status != Status.DAMAGED or _has_config(t)]


def _has_config(trial: TrialRecord) -> bool:
    try:
        return bool(trial.config)
    except UserError:
        return False


def build_tables(trials: list[TrialRecord], selected_by: str = SELECTION) -> list[Table]:
    """Build the tables of every dataset, rows in the sweep's order, the untrained encoder first.

    Trials are averaged over their seed alone: every other setting that differs gets a column of its own. A search that has
    confirmed its winners gives two tables: first the winners on fresh seeds, with the score that each was selected by and how
    many configurations of its family were tried; then all that the search tried. Trials that can't be read are gaps, never
    scores.

    Args:
        trials: the sweep's trials.
        selected_by: the metric that configurations are chosen by.
    """
    datasets: dict[str, list[TrialRecord]] = {}
    for trial in readable(trials):
        datasets.setdefault(str(trial.config["dataset"]), []).append(trial)
    tables = []
    for dataset, members in datasets.items():
        tried = [t for t in members if t.role != "confirm"]
        confirmed = [t for t in members if t.role == "confirm"]
        table = _build_table(dataset, tried, selected_by) if tried else None
        if confirmed:
            rows = [row for row in table.rows if row.kind != "untrained"] if table else []
            tables.append(_build_table(dataset, confirmed, selected_by, rows))
        if table:
            table.title = "what the search tried, not its result" if confirmed else ""
            tables.append(table)
    return tables


def _build_table(dataset: str, trials: list[TrialRecord], selected_by: str, tried: list[Row] | None = None) -> Table:
    settings = settings_of(trials)
    columns = _columns(trials, selected_by)
    rows = [make_row(settings, columns, members) for members in group(trials, ("seed",))]
    if tried is not None:
        numbers = numbered([row.trials[0].config for row in (*rows, *tried)], ("seed",))
        at = dict(zip(numbers[len(rows) :], tried, strict=True))
        tries = collections.Counter(row.trials[0].family for row in tried)
        name = selected_by + AT_SELECTION
        settings, columns = [*settings, TRIED], [*columns, name]
        for row, number in zip(rows, numbers, strict=False):
            row.settings[TRIED] = tries[row.trials[0].family]
            selected = at.get(number)
            row.cells[name] = selected.cells[selected_by] if selected else Cell(())
    table = Table(dataset, settings, columns, [*_untrained_rows(settings, columns, trials), *rows], selected_by=selected_by)
    table.versus = ("vs infonce", judged_by(selected_by))
    table.title = "confirmed with fresh seeds" if tried is not None else ""
    compare_rows(table)
    table.notes += environment_notes(trials)
    return table


def settings_of(trials: list[TrialRecord], but: tuple[str, ...] = ("seed",)) -> list[str]:
    """Return the settings that tell the trials apart, besides those in ``but``; objective and temperature come first."""
    settings = ["objective", *(["tau"] if any(t.config.get("tau") is not None for t in trials) else [])]
    unseen = (*but, "objective", "tau", "lr_per_256")  # the last one is seen in lr
    return settings + [k for k in varying([t.config for t in trials]) if k not in unseen]


def group(trials: list[TrialRecord], but: tuple[str, ...]) -> list[list[TrialRecord]]:
    """Group the trials that differ in the settings ``but`` alone."""
    return _split(trials, [t.config for t in trials], but)


def _split(items: list[T], configs: list[dict[str, Any]], but: tuple[str, ...] = ()) -> list[list[T]]:
    """Group items by their configurations, which may differ in the settings ``but``."""
    groups: dict[int, list[T]] = {}
    for item, number in zip(items, numbered(configs, but), strict=True):
        groups.setdefault(number, []).append(item)
    return list(groups.values())


def _columns(trials: list[TrialRecord], selected_by: str) -> list[str]:
    """Return the metrics that are columns of the table of these trials, in the order of :mod:`trainer.metrics`."""
    reads = sorted({int(e) for t in trials for e in t.config.get("read_at") or []})
    known = {name for t in trials if t.status == Status.FINISHED for name in t.metrics}
    columns: list[str] = []
    for metric in METRICS.values():
        if metric.is_column and (metric.is_always_there or metric.name in known):
            columns += [*(f"{metric.name}@{e}" for e in reads if metric.is_read_at), metric.name]
    own = sorted(name for name in known if name.startswith("test/") and name not in METRICS)  # probes of plug-ins
    return list(dict.fromkeys([*columns, *own, selected_by]))


def make_row(settings: list[str], columns: list[str], trials: list[TrialRecord]) -> Row:
    """Make the row of trials that differ in their seed alone; only finished ones count."""
    finished = [t for t in trials if t.status == Status.FINISHED]
    row = Row({s: trials[0].config.get(s) for s in settings}, len(trials), len(finished), trials=trials, kind=trials[0].role)
    row.cells = cells_of(finished, columns)
    return row


def _untrained_rows(settings: list[str], columns: list[str], trials: list[TrialRecord]) -> list[Row]:
    """Return a row for every way the untrained encoder was built and probed.

    Each seed counts once, whatever was trained from it.
    """
    groups = _split(trials, [{k: trial.config.get(k) for k in ENCODER} for trial in trials])
    rows = [untrained_row(settings, columns, members) for members in groups]
    return [row for row in rows if row.done]


def untrained_row(settings: list[str], columns: list[str], trials: list[TrialRecord]) -> Row:
    """Make the row of an untrained encoder from the trials that were trained from it."""
    by_seed: dict[int, TrialRecord] = {}
    for trial in trials:
        if trial.status == Status.FINISHED and trial.config["epochs"] > 0 and untrained_score(trial, PRIMARY) is not None:
            by_seed.setdefault(int(trial.config["seed"]), trial)
    what = {"objective": UNTRAINED, "epochs": 0, **{k: trials[0].config.get(k) for k in settings if k in ENCODER}}
    row = Row(what, len({t.config["seed"] for t in trials}), len(by_seed), trials=list(by_seed.values()), kind="untrained")
    row.cells = {column: untrained_cell(row.trials, column) for column in columns}
    return row


def compare_rows(table: Table) -> None:
    """Compare every row with InfoNCE under the same protocol: its configuration that is best on the held-out images.

    Holm's correction is over all comparisons of a column, whatever their protocols.
    """
    trained = [row for row in table.rows if row.kind != "untrained" and row.trials]
    protocols: list[tuple[Row, list[Row]]] = []  # the reference, and the rows that are compared with it
    for rows in _split(trained, [row.trials[0].config for row in trained], (*TUNED, "dataset")):
        candidates = [r for r in rows if r.trials[0].config["objective"] in REFERENCE and r.done]
        reference = max(candidates, key=lambda r: (r.done, _held_out(r, table.selected_by)), default=None)
        if reference is not None:
            reference.is_reference = True
            protocols.append((reference, [row for row in rows if row is not reference]))
    for column in (c for c in table.columns if not c.endswith(AT_SELECTION)):
        found: list[Comparison | None] = []
        for reference, others in protocols:
            by_seed = reference.cells[column].by_seed
            found += [compare(row.cells[column].by_seed, by_seed) for row in others]
        for row, comparison in zip((row for _, others in protocols for row in others), correct(found), strict=True):
            if comparison is not None:
                row.against[column] = comparison


def _held_out(row: Row, metric: str) -> float:
    """Return how good a row's mean of the metric that chooses is; -inf where no trial has that metric."""
    cell = cell_of(row.trials, metric)
    return metric_of(metric).goodness(cell.mean) if cell.values else -math.inf


def environment_notes(trials: list[TrialRecord]) -> list[str]:
    """Return a note for every fact of the environment, such as the commit, that is not the same for all finished trials."""
    notes = []
    environments = [t.environment for t in trials if t.status == Status.FINISHED]
    for name in ("commit", "torch", "device", "precision"):
        values = sorted({str(e.get(name)) for e in environments if e.get(name) is not None})
        if len(values) > 1:
            notes.append(f"Made with more than one {name}: {', '.join(values)}.")
    return notes


def finished_or_refuse(sweep: SweepRecord) -> list[TrialRecord]:
    """Return the sweep's trials, of which at least one has finished.

    Raises:
        UserError: if none has finished.
    """
    trials = sweep.trials()
    if any(t.status == Status.FINISHED for t in trials):
        return trials
    damaged = [t.problem for t in trials if t.status == Status.DAMAGED]
    more = f" ({len(damaged)} damaged: {damaged[0]})" if damaged else ""
    raise UserError(f"the sweep {sweep.name!r} has no finished trial yet{more}; see 'alphacl status {sweep.name}'")
