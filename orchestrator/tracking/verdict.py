"""A sweep's answer on its parent run in MLflow: a sentence, the best configuration as tags, and its scores as metrics."""

from __future__ import annotations

from dataclasses import dataclass, field

from results.record.layout import file_name
from results.record.naming import short_name
from results.record.reader import SweepRecord, TrialRecord
from results.tables.best_of_families import best_of_families
from results.tables.lines import p_text
from results.tables.model import AT_SELECTION, Row, Table, signed
from results.tables.summary import findings

PREFIX = "best/"  # of the names of the metrics


@dataclass
class Verdict:
    """The answer of a sweep so far.

    Args:
        sentences: a pair per dataset: the answer, short enough for the line that MLflow shows of a folded description, and how
            it was reached.
        tags: the best configuration's name, under ``best``, or ``best DATASET`` where there are several datasets.
        metrics: its scores by name, as ``best/test/linear``: means in percent, ``_std``, ``n``, and against InfoNCE
            ``minus_infonce`` in points and ``p_holm``.
    """

    sentences: list[tuple[str, str]] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)


def verdict_of(record: SweepRecord, trials: list[TrialRecord], tables: list[Table]) -> Verdict:
    """Return the verdict of a sweep: per dataset the winner of its first table, which for a search is the confirmed one.

    Args:
        record: the sweep.
        trials: its trials, without the damaged ones.
        tables: its accuracy tables.
    """
    verdict = Verdict()
    deciding = {table.dataset: table for table in reversed(tables)}
    for dataset in dict.fromkeys(table.dataset for table in tables):
        table = deciding[dataset]
        best = best_of_families(table, table.selected_by)
        row = next((r for r in best.rows if r.kind != "untrained" and r.cells[best.versus[1]].values), None)
        if row is None:
            continue
        name = short_name(dataset)
        several = len(deciding) > 1
        headline, reached = _headline(row, best), findings(record, trials, table, best, table.selected_by)[0].text
        verdict.sentences.append((f"{name}: {headline}" if several else headline, reached))
        verdict.tags[f"best {file_name(name)}" if several else "best"] = row.label
        prefix = f"{PREFIX}{file_name(name)}/" if several else PREFIX
        verdict.metrics |= {prefix + key: value for key, value in _scores(row, best).items()}
    return verdict


def _headline(row: Row, table: Table) -> str:
    """Return ``Best: direct(p=4), tau 0.5: 42.22 ± 0.68 % test/linear, n 5; +0.53 to InfoNCE (p 0.26)``."""
    judged = table.versus[1]
    text = f"Best: {row.label}: {row.cells[judged].text()} % {judged}, n {row.n}"
    comparison = row.against.get(judged)
    if row.is_reference:
        return f"{text}; it is InfoNCE's best"
    return text if comparison is None else f"{text}; {signed(comparison.difference)} to InfoNCE ({p_text(comparison)})"


def _scores(row: Row, table: Table) -> dict[str, float]:
    """Return a row's scores by name, rounded as MLflow shows them badly otherwise."""
    judged = table.versus[1]
    names = [c for c in table.columns if c.startswith(("test/", "val/")) and not c.endswith(AT_SELECTION) and row.cells[c].values]
    scores = {name: row.cells[name].mean for name in names} | {"n": float(row.done)}
    if (std := row.cells[judged].std) is not None:
        scores[f"{judged}_std"] = std
    comparison = row.against.get(judged)
    if comparison is not None:
        scores["minus_infonce"] = comparison.difference
        if comparison.p_holm is not None:
            scores["p_holm"] = comparison.p_holm
    untrained = next((r.cells[judged] for r in table.rows if r.kind == "untrained" and r.cells[judged].values), None)
    if untrained is not None:
        scores["untrained"] = untrained.mean
    return {name: round(value, 4) for name, value in scores.items()}
