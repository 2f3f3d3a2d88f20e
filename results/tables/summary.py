"""Writes a report's summary in sentences: what is best, by how much, whether to believe it, what is missing."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from results.record.reader import SweepRecord, TrialRecord
from results.record.status import Status
from results.tables.best_of_families import ON_TEST
from results.tables.model import Row, Table, signed
from results.tables.notes import selection_notes
from results.tables.significance import Comparison
from trainer.metrics import metric_of


@dataclass(frozen=True)
class Finding:
    """A statement of the summary: a sentence or two (``text``) under a heading of a word or so (``about``)."""

    about: str
    text: str


def progress(sweep: SweepRecord, trials: list[TrialRecord]) -> Finding:
    """Return a finding that says how many of the planned trials have finished, and where the others stand."""
    counts = Counter(t.status for t in trials)
    planned = max(sweep.planned, len(trials))
    counts[Status.WAITING] += planned - len(trials)
    names = {Status.STARTED: "under way or interrupted", Status.WAITING: "not begun", Status.STOPPED: "stopped early"}
    rest = ", ".join(f"{n} {names.get(s, s)}" for s, n in counts.items() if n and s != Status.FINISHED)
    done = counts[Status.FINISHED]
    if done == planned:
        return Finding("Complete", f"All {planned} trials finished.")
    if done + counts[Status.STOPPED] == planned:
        return Finding("Complete", f"{done} of {planned} trials finished, the others were stopped early as planned.")
    return Finding("Partial", f"{done} of {planned} trials finished; {rest}. Only finished trials are in any mean.")


def findings(sweep: SweepRecord, trials: list[TrialRecord], table: Table, best: Table, metric: str) -> list[Finding]:
    """Return the findings of one dataset.

    Args:
        sweep: the sweep.
        trials: its trials.
        table: all configurations of the dataset.
        best: the best configuration of each family.
        metric: the metric that configurations are chosen by.
    """
    judged = table.versus[1]
    chosen = [r for r in best.rows if r.kind != "untrained" and r.cells[judged].values]
    if not chosen:
        return [Finding("No result yet", "No configuration has all of its seeds.")]
    candidates = [_winner(chosen, metric, judged), _against_infonce(table)]
    candidates += [
        _untrained(table),
        None if table.is_confirmed else _price(chosen, judged),
        *(Finding("Selection", n) for n in selection_notes(sweep, trials, table, metric)),
    ]
    return [f for f in candidates if f is not None]


def _winner(chosen: list[Row], metric: str, judged: str) -> Finding:
    scored = [r for r in chosen if r.cells[metric].values] or chosen
    row = max(scored, key=lambda r: metric_of(metric).goodness(r.cells[metric].mean) if r.cells[metric].values else 0)
    ties = [r for r in chosen if r is not row and r.cells[metric].values and r.cells[metric].mean == row.cells[metric].mean]
    text = f"Chosen by {metric}, {row.label} is best: {row.cells[judged].text()} % {judged}"
    text += f" over {row.n} seed{'s' * (row.n != '1')}"
    comparison = row.against.get(judged)
    if row.is_reference:
        text += "; that is InfoNCE itself"
    elif comparison is not None:
        text += f", {signed(comparison.difference)} points from InfoNCE's best{_interval(comparison)}; {believe(comparison)}"
    if ties:
        text += f" ({len(ties)} other famil{'ies tie' if len(ties) > 1 else 'y ties'} with it on the held-out images)"
    return Finding("Best", text + ".")


def _interval(comparison: Comparison) -> str:
    ends = comparison.interval
    return f" (95 % interval {signed(ends[0])} to {signed(ends[1])})" if ends else ""


def believe(comparison: Comparison) -> str:
    """Return in words whether a difference is to be believed, with its test and p."""
    if comparison.p_holm is None:
        return f"not tested ({comparison.reason})"
    sure = "unlikely to be chance" if comparison.significant else "no evidence of a difference"
    return f"{sure} ({comparison.test}, p {_p(comparison.p)}, {_p(comparison.p_holm)} after Holm's correction)"


def _p(value: float | None) -> str:
    return "–" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _against_infonce(table: Table) -> Finding | None:
    tested = [(r, c) for r in table.rows if (c := r.against.get(table.versus[1])) is not None and c.p is not None]
    if not any(r.is_reference for r in table.rows):
        none = (
            "InfoNCE is not among the confirmed configurations"
            if table.is_confirmed
            else "The sweep has no finished run of infonce"
        )
        return Finding("Against InfoNCE", f"{none}: there is nothing to compare with.")
    if not tested:
        return Finding("Against InfoNCE", "Too few seeds for any test: it needs 3 per configuration, better 5.")
    better = [r for r, c in tested if c.significant and c.difference > 0]
    worse = [r for r, c in tested if c.significant and c.difference < 0]
    text = f"In {table.versus[1]} {len(better)} of {len(tested)} configurations are better than InfoNCE's best and"
    text += f" {len(worse)} are worse, by paired tests over seeds after Holm's correction"
    names = [f"{side}: {'; '.join(r.label for r in rows[:4])}" for side, rows in (("better", better), ("worse", worse)) if rows]
    text += (" (" + "; ".join(names) + ("; …" if max(len(better), len(worse)) > 4 else "") + ")") if names else ""
    sizes = sorted(d for _, c in tested if (d := c.detectable(len(tested))) is not None)
    if sizes:
        text += f". Differences below about {sizes[len(sizes) // 2]:.1f} points could not be told from chance here"
    return Finding("Against InfoNCE", text + ".")


def _untrained(table: Table) -> Finding | None:
    judged = table.versus[1]
    starts = [r.cells[judged] for r in table.rows if r.kind == "untrained" and r.cells[judged].values]
    if len(starts) != 1:
        return None
    start = starts[0].mean
    gains = [r.cells[judged].mean - start for r in table.rows if r.kind != "untrained" and r.cells[judged].values]
    above = sum(g > 0 for g in gains)
    text = f"The untrained encoder reaches {starts[0].text()} % with the same probe;"
    text += f" {above} of {len(gains)} configurations are above it, the largest mean gain is {signed(max(gains))} points"
    return Finding("Untrained", text + (". On runs this short pretraining adds little." if max(gains) < 2 else "."))


def _price(chosen: list[Row], judged: str) -> Finding | None:
    pairs = [(r.cells[judged].mean, r.cells[ON_TEST].mean) for r in chosen if r.cells[ON_TEST].values]
    if not pairs or all((r.settings.get("of") or 1) < 2 for r in chosen):
        return None
    mean = sum(b - a for a, b in pairs) / len(pairs)
    return Finding(
        "Choosing on test",
        f"Had each family's configuration been chosen on the test set, {judged} would look {abs(mean):.2f} points"
        f" {'lower' if mean < 0 else 'higher'} on average: that is what such a choice flatters by.",
    )
