"""Builds a sweep's accuracy tables with all their notes, as every view shows them."""

from __future__ import annotations

import shlex

from results.bucket.address import storage_option
from results.record.reader import SweepRecord, TrialRecord
from results.record.status import Status
from results.tables.build import build_tables, finished_or_refuse
from results.tables.gaps import Gap, find_gaps
from results.tables.model import Table
from results.tables.notes import comparison_notes, selection_notes

MOST_LINES = 12  # of what is missing, under a table
MOST_TRIED, MOST_ROWS = 100, 500  # of a search's table and a grid's that are shown where the table is not asked for as CSV


def sweep_tables(sweep: SweepRecord) -> list[Table]:
    """Build a sweep's tables with notes on what they compare and what is missing.

    Raises:
        UserError: if nothing in the sweep is finished.
    """
    trials = finished_or_refuse(sweep)
    metric = sweep.metric
    tables = build_tables(trials, metric)
    for table in tables:
        table.notes = [*selection_notes(sweep, trials, table, metric), *comparison_notes(table), *table.notes]
    if tables:
        tables[-1].notes += gap_notes(sweep, trials)
    return tables


def shown_tables(sweep: SweepRecord, everything: bool = False) -> list[Table]:
    """Build a sweep's tables as they are shown to people.

    Args:
        sweep: the sweep.
        everything: whether all rows are shown, also those that were stopped early.

    Raises:
        UserError: if nothing in the sweep is finished.
    """
    tables = sweep_tables(sweep)
    return [sorted_rows(sweep, table) if everything else as_shown(sweep, table) for table in tables]


def as_shown(sweep: SweepRecord, table: Table, stopped: str = "") -> Table:
    """Return a table with a search's rows sorted, the best first; of many rows the best alone, without those stopped early.

    Args:
        sweep: the sweep.
        table: one of its tables.
        stopped: a sentence's end that says where the stopped rows are shown; by a command when not given.
    """
    command = f"`alphacl table {shlex.quote(sweep.name)}{storage_option(sweep.folder.parent)} --all`"
    folded = sorted_rows(sweep, table).without_stopped(stopped or f"{command} shows them")
    return folded.top(most_rows(sweep), f"{command} shows all of them")


def sorted_rows(sweep: SweepRecord, table: Table) -> Table:
    """Return a search's table with its best row first; a grid's rows stay in the order of its space."""
    return table.best_first() if sweep.is_search else table


def most_rows(sweep: SweepRecord) -> int:
    """Return how many rows of a sweep's table are shown."""
    return MOST_TRIED if sweep.is_search else MOST_ROWS


def gap_notes(sweep: SweepRecord, trials: list[TrialRecord]) -> list[str]:
    """Return notes on what is missing; the first says how many of the planned trials have finished."""
    gaps = find_gaps(sweep, trials)
    done = sum(t.status == Status.FINISHED for t in trials)
    planned = max(sweep.planned, len(trials))
    missing = planned - done - sum(t.status == Status.STOPPED for t in trials)
    lines = [f"PARTIAL: {done} of {planned} trials are finished; rows marked 'k of n' are incomplete."] if missing else []
    stopped = [gap for gap in gaps if gap.trials and gap.trials[0].status == Status.STOPPED]
    if stopped:  # on purpose, and perhaps many: one line
        lines.append(
            f"Stopped early, so without a final figure: {_named(stopped, 1)}; to run one to its end: `{stopped[0].command}`"
        )
    alike: dict[tuple[str, str], list[Gap]] = {}
    for gap in gaps:
        if gap not in stopped:
            alike.setdefault((gap.why, gap.command), []).append(gap)
    for (why, command), members in list(alike.items())[:MOST_LINES]:
        lines.append(f"Missing: {_named(members)}: {why}" + (f"; run: `{command}`" if command else ""))
    if len(alike) > MOST_LINES:
        lines.append(f"Missing for {len(alike) - MOST_LINES} other reasons: more; 'alphacl report' lists all.")
    return lines


def _named(gaps: list[Gap], most: int = 4) -> str:
    """Return the first ``most`` gaps by name, the others by their number."""
    return "; ".join(g.what for g in gaps[:most]) + (f"; and {len(gaps) - most} more" if len(gaps) > most else "")
