"""The text of a table, line by line and cell by cell, as every format shows it."""

from __future__ import annotations

from dataclasses import dataclass

from results.tables.model import Row, Table, signed
from results.tables.significance import Comparison


@dataclass(frozen=True)
class Line:
    """A line of a table's body.

    Args:
        texts: the text of every cell.
        marks: ``best``, ``second`` or nothing for every cell.
        row: the row that the line shows; None for the paper's scores.
    """

    texts: list[str]
    marks: list[str]
    row: Row | None


def heading(table: Table) -> list[str]:
    """Return the table's header, with a column of differences where there are any to show."""
    return [*table.header(), *([table.versus[0]] if table.compared else [])]


def body(table: Table, plus_minus: str = " ± ") -> list[Line]:
    """Return the table's rows as lines of text; the paper's scores have a line of their own under the row that they belong to."""
    first = len(table.settings) + 1
    lines = []
    marks_of = zip(*(table.marks(column) for column in table.columns), strict=True)
    for row, texts, row_marks in zip(table.rows, table.lines(plus_minus), marks_of, strict=True):
        marks = [""] * first + list(row_marks)
        stars = ["*" if c in row.against and row.against[c].significant else "" for c in table.columns]
        texts = [*texts[:first], *(t + s for t, s in zip(texts[first:], stars, strict=True))]
        if table.compared:
            texts, marks = [*texts, versus(row, table.versus[1])], [*marks, ""]
        lines.append(Line(texts, marks, row))
        if row.paper:
            lines.append(_paper_line(table, row, plus_minus))
    return lines


def _paper_line(table: Table, row: Row, plus_minus: str) -> Line:
    texts = ["paper", *[""] * len(table.settings)]
    for column in table.columns:
        published, ours = row.paper.get(column), row.cells[column]
        ahead = f" ({signed(ours.mean - published.mean)})" if published and ours.values else ""
        texts.append(f"{published.mean:.2f}{plus_minus}{published.std:.2f}{ahead}" if published else "")
    texts += [""] if table.compared else []
    return Line(texts, [""] * len(texts), None)


def versus(row: Row, column: str) -> str:
    """Return ``+1.20 (p 0.03)``, ``+1.20 (no test)``, ``reference``, or a dash where the row is not compared."""
    if row.is_reference:
        return "reference"
    comparison = row.against.get(column)
    if comparison is None:
        return "–"
    return f"{signed(comparison.difference)} ({p_text(comparison)})"


def p_text(comparison: Comparison) -> str:
    """Return the p after Holm's correction as text, such as ``p 0.032`` or ``p < 0.001``."""
    p = comparison.p_holm
    if p is None:
        return "no test"
    return "p < 0.001" if p < 0.001 else f"p {p:.3f}" if p < 0.1 else f"p {p:.2f}"


def title(table: Table) -> str:
    """Return the dataset and the table's title in one line."""
    return " · ".join(part for part in (table.dataset, table.title) if part)
