"""Builds the paper's Table 2 from our runs: objectives down, datasets and epochs across, the paper's own scores beside.

The paper's scores come from ``paper_table2.yaml``; what prints them says that they are unverified while that file does.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from results.record.reader import SweepRecord, TrialRecord
from results.record.status import Status
from results.tables.build import (
    ENCODER,
    UNTRAINED,
    compare_rows,
    environment_notes,
    finished_or_refuse,
    group,
    readable,
    settings_of,
)
from results.tables.cells import cell_of, untrained_cell, untrained_score
from results.tables.model import (
    PublishedScore,
    Row,
    Table,
    key_of,
)
from results.tables.notes import selection_notes
from results.tables.sweep import gap_notes
from trainer.errors import UserError
from trainer.metrics import PAPER, PRIMARY

FILE = Path(__file__).with_name("paper_table2.yaml")
# The paper's names, and the objectives of ours that they mean (../trainer/OBJECTIVES.md).
NAMES = {
    "quadratic": "uniform",
    "infonce": "infonce",
    "backprop": "backprop",
    "alpha-cl-r_h": "entropy",
    "alpha-cl-r_γ": "inverse(k=1)",
    "alpha-cl-r_s": "square",
    "alpha-cl-direct": "direct(p=4)",
}
SPELLINGS = {"direct": "direct(p=4)", "inverse": "inverse(k=1)"}  # a bare name stands for its defaults


@dataclass(frozen=True)
class Published:
    """The paper's table.

    Args:
        source: where the scores stand in the paper.
        verified: whether the transcription was checked against the paper.
        epochs: the numbers of epochs that have a column.
        figures: the scores by (dataset, objective of ours, epochs).
    """

    source: str
    verified: bool
    epochs: tuple[int, ...]
    figures: dict[tuple[str, str, int], PublishedScore]


@cache
def load_paper(file: Path = FILE) -> Published:
    """Read the YAML of the paper's scores.

    Raises:
        UserError: if the file can't be read, or has another form.
    """
    import yaml

    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        epochs = tuple(int(e) for e in content["epochs"])
        scores = {}
        for dataset in (k for k in content if k not in ("verified", "source", "epochs")):
            for name, pairs in content[dataset].items():
                for epoch, (mean, std) in zip(epochs, pairs, strict=True):
                    scores[dataset, NAMES[name], epoch] = PublishedScore(float(mean), float(std))
        return Published(str(content["source"]), content["verified"] is True, epochs, scores)
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{file}: expected verified, source, epochs, and [mean, std] per dataset, name, epoch; {error!r}"
        ) from None


def caveat(paper: Published) -> str:
    """Return the note that must stand wherever the paper's scores are shown: their source, and whether it was checked."""
    doubt = "" if paper.verified else " (UNVERIFIED TRANSCRIPTION: written down from memory, not checked against the paper)"
    return f"Lines 'paper': {paper.source}{doubt}; in brackets our mean minus the paper's."


def paper_tables(sweep: SweepRecord) -> list[Table]:
    """Build the table in two readings: ours, with the probe chosen on held-out images, and the paper's, with the best test epoch.

    Raises:
        UserError: if nothing in the sweep is finished, or nothing with the figures that the table holds.
    """
    trials = finished_or_refuse(sweep)
    kept = readable(trials)
    confirmed = [t for t in kept if t.role == "confirm"]
    kept = confirmed if any(t.status == Status.FINISHED for t in confirmed) else kept
    titles = {
        PRIMARY: "honest reading: probe chosen on held-out images, test read once",
        PAPER: "the paper's protocol: the best test accuracy over the probe's epochs",
    }
    tables = [_paper_table(kept, metric, text) for metric, text in titles.items() if _has(kept, metric)]
    if not tables:
        raise UserError(f"the sweep {sweep.name!r} has no finished trial with {PRIMARY}")
    metric = sweep.metric
    for table in tables:
        table.notes = [*selection_notes(sweep, trials, table, metric), *_notes(table), *environment_notes(kept)]
    if not _has(kept, PAPER):
        tables[-1].notes.append(
            "Missing: the paper's reading (its best test epoch); these runs have the honest one alone."
            " Run them with `--set probe=paper`."
        )
    tables[-1].notes += gap_notes(sweep, trials)
    return tables


def _has(trials: list[TrialRecord], metric: str) -> bool:
    return any(metric in t.metrics for t in trials if t.status == Status.FINISHED)


def _paper_table(trials: list[TrialRecord], metric: str, title: str) -> Table:
    """Build one reading. A run of 500 epochs read at 100 and one of 100 epochs are not the same: each has a row of its own."""
    datasets = list(dict.fromkeys(str(t.config["dataset"]) for t in trials))
    paper = load_paper()
    reads = {d: sorted(_epochs(trials, d) | (set(paper.epochs) if _published(d) else set())) for d in datasets}
    columns = {f"{d} @{e}": (d, e) for d in datasets for e in reads[d]}
    settings = settings_of(trials, ("seed", "dataset"))
    rows = [_row(settings, columns, members, metric) for members in group(trials, ("seed", "dataset"))]
    table = Table("", settings, list(columns), [*_untrained(settings, columns, trials, metric), *rows], title)
    compare_rows(table)
    return table


def _published(dataset: str) -> bool:
    return any(d == dataset for d, _, _ in load_paper().figures)


def _epochs(trials: list[TrialRecord], dataset: str) -> set[int]:
    mine = [t.config for t in trials if t.config["dataset"] == dataset]
    return {int(e) for c in mine for e in [*(c.get("read_at") or []), c["epochs"]]}


def _row(settings: list[str], columns: dict[str, tuple[str, int]], trials: list[TrialRecord], metric: str) -> Row:
    done = [t for t in trials if t.status == Status.FINISHED]
    seeds = {t.config["seed"] for t in trials}
    row = Row({s: trials[0].config.get(s) for s in settings}, len(seeds), 0, trials=trials, kind=trials[0].role)
    objective = str(trials[0].config["objective"])
    for name, (dataset, epoch) in columns.items():
        mine = [t for t in done if t.config["dataset"] == dataset]
        row.cells[name] = cell_of(mine, f"{metric}@{epoch}")
        row.planned[name] = len({t.config["seed"] for t in trials if t.config["dataset"] == dataset})
        row.done = max(row.done, len(row.cells[name].values))
        theirs = load_paper().figures.get((dataset, SPELLINGS.get(objective, objective), epoch))
        if theirs and trials[0].config.get("tau") in (None, 0.5):  # the paper's temperature
            row.paper[name] = theirs
    return row


def _untrained(settings: list[str], columns: dict[str, tuple[str, int]], trials: list[TrialRecord], metric: str) -> list[Row]:
    """Return a row for every way the untrained encoder was built and probed."""
    groups: dict[str, dict[tuple[str, int], TrialRecord]] = {}
    for t in trials:
        if t.status == Status.FINISHED and untrained_score(t, metric) is not None:
            seen = groups.setdefault(key_of([t.config.get(k) for k in ENCODER]), {})
            seen.setdefault((str(t.config["dataset"]), int(t.config["seed"])), t)
    rows = []
    for seen in groups.values():
        seeds = {seed for _, seed in seen}
        config = next(iter(seen.values())).config
        what = {"objective": UNTRAINED, **{k: config.get(k) for k in settings if k in ENCODER}}
        row = Row(what, len(seeds), len(seeds), trials=list(seen.values()), kind="untrained")
        for name, (dataset, _) in columns.items():
            row.cells[name] = untrained_cell((t for (d, _), t in seen.items() if d == dataset), metric)
        rows.append(row)
    return rows


def _notes(table: Table) -> list[str]:
    """Return notes on what the marks mean, where the paper's scores come from, and why cells are empty."""
    notes = []
    tested = [c for r in table.rows for c in r.against.values()]
    if any(c.p is not None for c in tested):
        (reference, *_) = [r.label for r in table.rows if r.is_reference]
        notes.append(
            f"* differs from {reference} under the same protocol, paired t over seeds,"
            " p < 0.05 after Holm's correction per column."
        )
    elif tested:
        notes.append("No test against infonce: it needs 3 seeds, better 5.")
    if any(0 < len(r.cells[c].values) < r.done for r in table.rows for c in table.columns):
        notes.append("[k]: the mean of k seeds alone.")
    if any(r.paper for r in table.rows):
        notes.append(caveat(load_paper()))
    never = [c for c in table.columns if not any(r.cells[c].values for r in table.rows if r.kind != "untrained")]
    if never:
        epochs = sorted({int(c.rpartition("@")[2]) for c in never})
        notes.append(
            f"Missing: {', '.join(never)}: no finished run reads these epochs; `alphacl sweep paper_table2` does"
            f" (or `--set epochs={epochs[-1]} --set read_at='{epochs[:-1]}'`)."
        )
    return notes
