"""Writes the notes under a table: what is compared with what, what so many seeds can show, what selection does to scores."""

from __future__ import annotations

from results.record.reader import SweepRecord, TrialRecord
from results.tables.model import Table, signed
from results.tables.significance import Comparison


def comparison_notes(table: Table) -> list[str]:
    """Return notes on what ``vs infonce`` means in a table, and what so many seeds can show."""
    notes: list[str] = []
    references = [r for r in table.rows if r.is_reference]
    tested = [c for r in table.rows if (c := r.against.get(table.versus[1])) is not None]
    if not references or not tested:
        return notes
    with_test = [c for c in tested if c.p is not None]
    name = "; ".join(r.label for r in references)
    if not with_test:
        least = min(c.n for c in tested)
        what = f"vs infonce: the difference in {table.versus[1]} to {name}"
        return [f"{what}. No test: {least} seed{'s' * (least != 1)}; a test needs 3, better 5."]
    kinds = " and ".join(sorted({c.test for c in with_test}))
    most, n = len(with_test), min(c.n for c in with_test)
    notes.append(
        f"vs infonce: the difference in {table.versus[1]} to {name} (InfoNCE's best on held-out images), {kinds} over seeds,"
        f" p after Holm's correction for {most} comparison{'s' * (most != 1)}; * below 0.05."
    )
    reasons = sorted({c.reason for c in tested if c.p is None and c.reason})
    if reasons:
        notes.append(f"no test: {'; '.join(reasons)}.")
    sizes = sorted(d for c in with_test if (d := c.detectable(most)) is not None)
    if sizes and n < 10:
        notes.append(
            f"With n = {n}, among {most} comparison{'s' * (most != 1)}, a difference below about {sizes[len(sizes) // 2]:.1f}"
            f" points (median over rows) can't be told from chance{_alone(with_test, most)};"
            " that the differences are normal can't be checked."
        )
    return notes


def _alone(tested: list[Comparison], most: int) -> str:
    sizes = sorted(d for c in tested if (d := c.detectable(1)) is not None)
    return f" (in a single comparison planned beforehand: {sizes[len(sizes) // 2]:.1f})" if most > 1 else ""


def selection_notes(sweep: SweepRecord, trials: list[TrialRecord], table: Table, metric: str) -> list[str]:
    """Return notes on what selection does to a search's scores; none for a grid."""
    if table.is_confirmed:
        name = f"{metric} at selection"
        shifts = [
            r.cells[metric].mean - r.cells[name].mean for r in table.rows if r.cells[name].values and r.cells[metric].values
        ]
        if not shifts:
            return []
        mean = sum(shifts) / len(shifts)
        return [
            f"Selection effect: on fresh seeds {metric} is {signed(mean)} points from the figure at selection"
            f" (mean of {len(shifts)} configuration{'s' * (len(shifts) != 1)}); only the confirmed figures are results."
        ]
    if sweep.is_search and not any(t.role == "confirm" for t in trials):
        return [
            f"These are a search's own trials: its best {metric} is the largest of many and flatters. Confirm the winners with"
            " fresh seeds (`confirm: {top: 3, seeds: 5}` in its YAML) before you report one."
        ]
    return []
