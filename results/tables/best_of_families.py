"""Builds the table of the best configuration of each family of objectives, chosen on held-out images, and on test beside it."""

from __future__ import annotations

import math
import statistics

from results.record.naming import family_of
from results.tables.build import (
    TUNED,
    UNTRAINED,
    compare_rows,
)
from results.tables.cells import cell_of
from results.tables.model import Cell, Row, Table, judged_by, numbered
from results.tables.notes import comparison_notes
from trainer.metrics import PRIMARY, metric_of

ON_TEST = "if chosen on test"


def best_of_families(table: Table, metric: str) -> Table:
    """Return a table with a row per family and protocol: its best configuration, and how many it was chosen from.

    The last column takes the best mean on the test set instead: by how much it exceeds the one chosen on held-out images is
    what selection on the test set would add.

    Args:
        table: all configurations of one dataset.
        metric: the metric whose mean chooses.
    """
    families: dict[tuple[str, int], list[Row]] = {}
    whole = [row for row in table.rows if row.kind != "untrained" and row.done == row.expected > 0]
    for row, protocol in zip(whole, numbered([row.trials[0].config for row in whole], TUNED), strict=True):
        families.setdefault((family_of(str(row.settings["objective"])), protocol), []).append(row)
    judged = judged_by(metric)
    columns = list(dict.fromkeys([metric, judged, PRIMARY, "test/knn", ON_TEST]))
    settings = [*table.settings, "of"]
    rows = [_fresh(row, columns, 0) for row in table.rows if row.settings["objective"] == UNTRAINED]
    for members in families.values():
        chosen = max(members, key=lambda r: _goodness(r, metric))
        row = _fresh(chosen, columns, len(members))
        row.cells[ON_TEST] = max(members, key=lambda r: _goodness(r, judged)).cells[judged]
        rows.append(row)
    best = Table(table.dataset, settings, columns, rows, f"the best of each family, chosen by {metric}", selected_by=metric)
    best.versus = (table.versus[0], judged)
    _order(best)
    compare_rows(best)
    for row in best.rows:
        row.against.pop(ON_TEST, None)
    best.notes = [
        f"Chosen by mean {metric} among as many configurations as 'of' says; only complete ones.",
        *comparison_notes(best),
    ]
    return best


def _fresh(row: Row, columns: list[str], of: int) -> Row:
    cells = {c: row.cells.get(c, _read(row, c)) for c in columns}
    settings = {**row.settings, "of": of or None}
    return Row(settings, row.expected, row.done, cells, row.trials, row.kind)


def _read(row: Row, column: str) -> Cell:
    return cell_of(row.trials, column) if row.kind != "untrained" and column != ON_TEST else Cell(())


def _goodness(row: Row, column: str) -> float:
    """Return the mean of a column with the sign that makes more of it better; the least of all where the row has none."""
    values = row.cells.get(column, _read(row, column)).values
    return metric_of(column).goodness(statistics.fmean(values)) if values else -math.inf


def _order(table: Table) -> None:
    """Sort the rows: the untrained encoder first, then by the held-out score that chose."""
    table.rows.sort(key=lambda r: (r.kind != "untrained", -_goodness(r, table.columns[0])))
