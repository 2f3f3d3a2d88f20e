"""Renders tables as Markdown, CSV, LaTeX and HTML; text that comes from a configuration is escaped for each of them."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Callable
from typing import Any

from results.tables.latex import to_latex
from results.tables.lines import body, heading, title
from results.tables.model import Cell, Row, Table
from results.tables.significance import Comparison

# -------------------------------------------------------------------------------------------- Markdown

_MARKS = re.compile(r"[\\|*`<>\[\]&]|://|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")  # an underscore inside a word marks nothing


def markdown(text: str) -> str:
    """Return a text escaped so that Markdown shows it as it is."""
    return _MARKS.sub(lambda match: "\\" + match[0], " ".join(text.split()))


def markdown_note(text: str) -> str:
    """Return a note escaped for Markdown, but for the commands that it names between single backticks."""
    parts = re.split(r"(?<!`)(`[^`\n]+`)(?!`)", text)
    return "".join(part if index % 2 else markdown_line(part) for index, part in enumerate(parts))


def markdown_line(text: str) -> str:
    """Return a part of a line escaped for Markdown, with the spaces at its ends."""
    kept = markdown(text)
    return (" " if text[:1].isspace() else "") + kept + (" " if kept and text[-1:].isspace() else "")


def to_markdown(tables: list[Table]) -> str:
    """Return tables as Markdown; a column's best mean is bold, the second in italics."""
    wrap = {"best": "**{}**", "second": "_{}_", "": "{}"}
    parts = []
    for table in tables:
        head = heading(table)
        text = len(table.settings)
        lines = ["| " + " | ".join(map(markdown, head)) + " |"]
        lines.append("|" + "|".join("---" if index < text else "---:" for index in range(len(head))) + "|")
        for line in body(table):
            cells = [wrap[m].format(markdown(t)) for t, m in zip(line.texts, line.marks, strict=True)]
            lines.append("| " + " | ".join(cells) + " |")
        notes = "".join(f"\n- {markdown_note(note)}" for note in table.notes)
        parts.append(f"### {markdown(title(table))}\n\n" + "\n".join(lines) + "\n" + (f"{notes}\n" if notes else ""))
    return "\n".join(parts)


# ------------------------------------------------------------------------------------------------- CSV


def to_csv(tables: list[Table]) -> str:
    """Return tables as one CSV at full precision: mean, std, n, difference to InfoNCE with 95 % interval, p; a gap is empty."""
    out = io.StringIO()
    settings = list(dict.fromkeys(s for t in tables for s in t.settings))
    columns = list(dict.fromkeys(c for t in tables for c in t.columns))
    parts = ("mean", "std", "n", "vs infonce", "vs infonce low", "vs infonce high", "test", "p", "p exact", "p holm")
    paper = ("paper mean", "paper std") if any(r.paper for t in tables for r in t.rows) else ()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        [
            *("dataset", "kind", *map(csv_cell, settings), "n", "expected"),
            *(csv_cell(f"{c} {part}") for c in columns for part in (*parts, *paper)),
        ]
    )
    for table in tables:
        for row in table.rows:
            scores = [value for c in columns for value in _csv_scores(row, c, bool(paper))]
            plain = ["" if row.settings.get(s) is None else csv_cell(row.settings[s]) for s in settings]
            writer.writerow([csv_cell(table.dataset), row.kind, *plain, row.done, row.expected, *scores])
    return out.getvalue()


def csv_cell(value: Any) -> Any:
    """Return a setting as a cell that no spreadsheet takes for a formula, by an apostrophe before it."""
    text = value if isinstance(value, str) else str(value) if isinstance(value, list) else ""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def _csv_comparison(comparison: Comparison) -> list[Any]:
    low, high = comparison.interval or (None, None)
    return [comparison.difference, low, high, comparison.test, comparison.p, comparison.p_exact, comparison.p_holm]


def _csv_scores(row: Row, column: str, paper: bool) -> list[Any]:
    cell, comparison = row.cells.get(column, Cell(())), row.against.get(column)
    theirs = row.paper.get(column)
    values: list[Any] = [cell.mean if cell.values else None, cell.std, len(cell.values)]
    low, high = (comparison and comparison.interval) or (None, None)
    tested = comparison and [
        comparison.difference,
        low,
        high,
        comparison.test,
        comparison.p,
        comparison.p_exact,
        comparison.p_holm,
    ]
    values += tested or [None] * 7
    values += ([theirs.mean, theirs.std] if theirs else [None, None]) if paper else []
    return ["" if v is None else v for v in values]


# ------------------------------------------------------------------------------------------------ HTML

STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:75em;padding:0 1em;color-scheme:light dark}"
    "table{border-collapse:collapse;margin:1em 0;font-variant-numeric:tabular-nums}div{overflow-x:auto}"
    "th,td{padding:.3em .8em;border-bottom:1px solid #8884;text-align:right;white-space:nowrap}.t{text-align:left}"
    ".second{text-decoration:underline}.paper{color:GrayText;font-size:90%}li{margin:.2em 0}"
)


def to_html(tables: list[Table]) -> str:
    """Return tables as an HTML page of their own."""
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'><meta name='viewport' content='width=device-width'>"
        f"<title>Accuracy</title><style>{STYLE}</style></head><body><h1>Accuracy</h1>"
        "<p>Top-1 accuracy in percent, mean ± standard deviation over n seeds.</p>"
    ]
    for table in tables:
        parts.append(f"<h2>{html.escape(title(table))}</h2><div>{html_table(table)}</div>")
        parts += ["<ul>" + "".join(f"<li>{html.escape(n)}</li>" for n in table.notes) + "</ul>"] if table.notes else []
    return "\n".join(parts) + "</body></html>\n"


def html_table(table: Table, link: Callable[[Row], str] = lambda row: "") -> str:
    """Return a table as an HTML ``<table>``.

    Args:
        table: the table.
        link: returns the address of a row's runs, to which its cells then lead; empty for no link.
    """
    wrap = {"best": "<b>{}</b>", "second": "<span class='second'>{}</span>", "": "{}"}
    first = len(table.settings)

    def kind(index: int) -> str:
        return " class='t'" if index < first else ""

    head = "".join(f"<th scope='col'{kind(index)}>{html.escape(h)}</th>" for index, h in enumerate(heading(table)))
    rows = []
    for line in body(table):
        address = link(line.row) if line.row else ""
        cells = ""
        for index, (text, mark) in enumerate(zip(line.texts, line.marks, strict=True)):
            inner = wrap[mark].format(html.escape(text))
            inner = f"<a href='{html.escape(address)}'>{inner}</a>" if address and index > first and text != "–" else inner
            cells += f"<th scope='row' class='t'>{inner}</th>" if index == 0 else f"<td{kind(index)}>{inner}</td>"
        name = "paper" if line.row is None else line.row.kind
        rows.append(f"<tr class='{name}'>{cells}</tr>")
    return f"<table><thead><tr>{head}</tr></thead><tbody>\n" + "\n".join(rows) + "</tbody></table>"


RENDERERS: dict[str, Callable[[list[Table]], str]] = {"md": to_markdown, "csv": to_csv, "tex": to_latex, "html": to_html}
