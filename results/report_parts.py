"""Makes the parts of a sweep's report: a section per accuracy table, the appendix of all runs, the trials stopped early.

To add a column of scores, add a line to :mod:`trainer.metrics`; another column of the main table is made in
:mod:`results.tables.model` and :mod:`results.tables.lines`. To add a column to the appendix, add a key to what
``Runs._run`` returns and, to the table ``runs`` of ``report_template.html``, a heading, a cell, and one to the ``colspan``.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

from results.plots.figures import Picture, pictures_of
from results.plots.style import to_svg
from results.record.naming import label_of, without_seed
from results.record.reader import SweepRecord, TrialRecord
from results.record.status import Status
from results.tables.build import readable
from results.tables.lines import title, versus
from results.tables.model import Row, Table, key_of, varying
from results.tables.notes import comparison_notes, selection_notes
from results.tables.render import html_table
from results.tables.summary import Finding, findings
from results.tables.sweep import as_shown, most_rows
from trainer.metrics import COLUMNS, METRICS, metric_of

MOST_GAPS, MOST_OF_ROW = 100, 20  # gaps and stopped trials that are listed, and runs behind one row
BELOW = "see 'Missing, stopped and failed' below"
LEADING = "accuracy_by_family"  # the picture that comes before the tables


class Runs:
    """The report's appendix: all runs grouped by configuration, to which rows of tables link.

    Args:
        trials: the sweep's trials.
        prefix: what the ids of the groups begin with, where a page has several sweeps.
        listed: the digests of those that are listed; all when not given.
    """

    def __init__(self, trials: list[TrialRecord], prefix: str = "", listed: Collection[str] | None = None) -> None:
        self.members: dict[str, list[TrialRecord]] = {}
        kept = trials if listed is None else [t for t in trials if t.digest in listed]
        self.left_out = len(trials) - len(kept)
        for trial in kept:
            self.members.setdefault(self._key(trial), []).append(trial)
        self.ids = {key: f"{prefix}run-{index}" for index, key in enumerate(self.members)}
        known = dict.fromkeys(k for t in trials if t.status == Status.FINISHED for k in t.metrics)
        self.columns = [c for c in (*COLUMNS, "untrained/linear") if c in known]

    @staticmethod
    def _key(trial: TrialRecord) -> str:
        if not readable([trial]):
            return "unreadable"
        return key_of([trial.role, without_seed(trial.config)])

    def link(self, row: Row) -> str:
        """Return the address of the runs behind a row; the untrained encoder's are those of its first run's group."""
        group = self.ids.get(self._key(row.trials[0])) if row.trials else None
        return f"#{group}" if group else ""

    def groups(self) -> list[dict[str, Any]]:
        """Return the groups, ready for the template."""
        configs = [m[0].config for key, m in self.members.items() if key != "unreadable"]
        distinguishing = [k for k in varying(configs) if k not in ("objective", "tau", "seed")]
        groups = []
        for key, members in self.members.items():
            label = "cannot be read"
            if key != "unreadable":
                role = " · confirmation" if members[0].role == "confirm" else ""
                label = label_of(members[0].config, *distinguishing) + role
            groups.append({"id": self.ids[key], "label": label, "runs": [self._run(t) for t in members]})
        return groups

    def _run(self, trial: TrialRecord) -> dict[str, Any]:
        result = trial.summary or {} if trial.status == Status.FINISHED else {}
        environment = result.get("environment") or {}
        scores = [result.get("metrics", {}).get(c) for c in self.columns]
        return {
            "id": trial.digest if "run" not in result else f"{trial.digest} / {result['run']}",
            "seed": trial.config["seed"] if readable([trial]) else "–",
            "status": trial.status,
            "scores": ["–" if v is None else f"{v:.2f}" for v in scores],
            "minutes": f"{result['seconds'] / 60:.1f}" if "seconds" in result else "–",
            "commit": environment.get("commit") or "–",
            "machine": ", ".join(str(environment[k]) for k in ("device", "precision") if environment.get(k)) or "–",
        }


@dataclass(frozen=True)
class Part:
    """One table of a report with what belongs to it, ready for the template; what is HTML is ``Markup``.

    Args:
        title: the table's title.
        intro: a sentence on what the table is; empty where it needs none.
        columns: its columns of scores.
        secondary: whether it shows what a search tried, and not a result.
        findings: the statements of the summary.
        table: all configurations.
        notes: the notes under the table.
        best: the best of each family; empty where no family has two configurations.
        best_notes: the notes under the best of each family.
        leading: the pictures before the tables.
        figures: the pictures after the tables.
        overview: the chosen configuration in a line, for a page of several sweeps.
    """

    title: str
    intro: str
    columns: list[str]
    secondary: bool
    findings: list[Finding]
    table: str
    notes: list[str]
    best: str
    best_notes: list[str]
    leading: list[dict[str, Any]]
    figures: list[dict[str, Any]]
    overview: dict[str, str]


def listed_runs(sweep: SweepRecord, trials: list[TrialRecord], tables: list[Table], bests: list[Table]) -> set[str] | None:
    """Return the digests of the runs that a page lists: those behind its rows, and some that failed; None for all of them."""
    shown = [table.top(most_rows(sweep)) for table in tables]
    if all(small is table for small, table in zip(shown, tables, strict=True)):
        return None
    digests = {t.digest for table in (*shown, *bests) for row in table.rows for t in row.trials[:MOST_OF_ROW]}
    return digests | {t.digest for t in [t for t in trials if t.status.has_failed][:MOST_GAPS]}


def make_part(sweep: SweepRecord, trials: list[TrialRecord], table: Table, best: Table, runs: Runs, prefix: str) -> Part:
    """Make the part of one table, of which a page shows the best rows where there are many.

    Args:
        sweep: the sweep.
        trials: its trials.
        table: the table.
        best: the best of each family of that table.
        runs: the appendix that rows link to.
        prefix: what the ids of the pictures begin with.
    """
    from markupsafe import Markup

    metric, shown = sweep.metric, as_shown(sweep, replace(table, notes=[]), BELOW)
    secondary = bool(table.title) and not table.is_confirmed
    several = not table.is_confirmed and any((r.settings.get("of") or 0) > 1 for r in best.rows)
    search = sweep.is_search and not table.is_confirmed
    pictures = pictures_of(table, best if several else table, search=search)
    drawn = [_figure(p, f"{prefix}-{index}") for index, p in enumerate(pictures) if not (secondary and p.name == LEADING)]
    return Part(
        title=title(table),
        intro=_intro(sweep, table),
        columns=table.columns,
        secondary=secondary,
        findings=findings(sweep, trials, table, best, metric),
        table=Markup(html_table(shown, runs.link)),
        notes=[*shown.notes, *selection_notes(sweep, trials, table, metric), *comparison_notes(table), *table.notes],
        best=Markup(html_table(best, runs.link)) if several else "",
        best_notes=best.notes,
        leading=[f for f in drawn if f["name"] == LEADING],
        figures=[f for f in drawn if f["name"] != LEADING],
        overview=_overview(table, best, metric),
    )


def _intro(sweep: SweepRecord, table: Table) -> str:
    if not table.is_confirmed:
        return ""
    budget = sweep.search.get("per_family")
    if budget is None:
        return "The search's best configurations, run again with fresh seeds: these are its results."
    return (
        f"The fair comparison: every family was tuned with up to {budget} suggestions of its own on held-out images, and its best"
        " configuration was run again with the same fresh seeds."
    )


def _figure(picture: Picture, prefix: str) -> dict[str, Any]:
    from markupsafe import Markup

    svg = Markup(to_svg(picture.figure, prefix, picture.caption))
    return {"name": picture.name, "svg": svg, "caption": picture.caption}


def _overview(table: Table, best: Table, metric: str) -> dict[str, str]:
    """Return the configuration that is chosen on held-out images, its score and its difference to InfoNCE, as text."""
    judged = table.versus[1]
    chosen = [r for r in best.rows if r.kind != "untrained" and r.cells[judged].values and r.cells[metric].values]
    start = next((r.cells[judged].text() for r in table.rows if r.kind == "untrained" and r.cells[judged].values), "–")
    if not chosen:
        return {
            "dataset": table.dataset,
            "label": "–",
            "metric": judged,
            "score": "–",
            "n": "–",
            "untrained": start,
            "versus": "–",
        }
    row = max(chosen, key=lambda r: metric_of(metric).goodness(r.cells[metric].mean))
    scores = {"score": row.cells[judged].text(), "n": row.n, "untrained": start, "versus": versus(row, judged)}
    return {"dataset": table.dataset, "label": row.label, "metric": judged, **scores}


def stopped_trials(trials: list[TrialRecord], metric: str) -> list[dict[str, str]]:
    """Return the trials that were stopped early with their last figures, the best first, ready for the template."""
    names = list(dict.fromkeys([metric, "val/linear", "val/knn", "train/loss"]))
    stopped = []
    for trial in trials:
        if trial.status == Status.STOPPED:
            last = {name: row[name] for row in trial.reports for name in names if isinstance(row.get(name), (int, float))}
            at = str((trial.stopped or {}).get("epoch", "?"))
            scores = {name: f"{last[name]:.2f}" if name in last else "–" for name in names}
            stopped.append((last.get(metric), {"label": trial.label, "epoch": f"{at} of {trial.config['epochs']}", **scores}))
    worst = float("-inf")
    ordered = sorted(stopped, key=lambda s: worst if s[0] is None else metric_of(metric).goodness(s[0]), reverse=True)
    return [line for _, line in ordered]


def explained(parts: list[Part]) -> list[tuple[str, str]]:
    """Return the name and the description of every column of scores, for the report's legend."""
    names = dict.fromkeys(column.partition("@")[0] for part in parts for column in part.columns)
    return [(name, METRICS[name].text) for name in names if name in METRICS]
