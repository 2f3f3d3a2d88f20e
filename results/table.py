"""The accuracy table of a sweep: mean ± std over seeds for every objective and temperature, per dataset.

As a script: ``python results/table.py --sweep NAME [--storage DIR] [--format md|csv|tex|html]``.
"""

from __future__ import annotations

import argparse
import csv
import html
import io
import json
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from results.records import SweepRecord, TrialRecord, default_storage, open_sweep
from trainer.errors import UserError

FORMATS = ("md", "csv", "tex", "html")


@dataclass(frozen=True)
class Cell:
    """Accuracies in percent, one per seed, of one configuration."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @property
    def std(self) -> float | None:
        """Sample standard deviation over seeds; None for fewer than two."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    def text(self, plus_minus: str = " ± ") -> str:
        if not self.values:
            return "–"
        return f"{self.mean:.2f}" + (f"{plus_minus}{self.std:.2f}" if self.std is not None else "")


@dataclass
class Row:
    """One configuration over its seeds: what it is, and its cells by column."""

    settings: dict[str, Any]
    expected: int
    done: int = 0
    cells: dict[str, Cell] = field(default_factory=dict)

    @property
    def n(self) -> str:
        """Seeds that are in the row; ``1 of 2`` where some are missing."""
        return str(self.done) if self.done == self.expected else f"{self.done} of {self.expected}"


@dataclass(frozen=True)
class Table:
    """The table of one dataset. ``settings`` names the columns that tell rows apart, ``columns`` those that hold accuracies."""

    dataset: str
    settings: list[str]
    columns: list[str]
    rows: list[Row]

    def best(self, column: str) -> Row | None:
        """The pretrained row with the best mean, among those whose seeds are all there."""
        full = [r for r in self.rows if r.settings.get("epochs") != 0 and r.done == r.expected and r.cells[column].values]
        return max(full, key=lambda r: r.cells[column].mean, default=None)

    def header(self) -> list[str]:
        return [*self.settings, "n", *self.columns]

    def lines(self, plus_minus: str = " ± ") -> list[list[str]]:
        """The body as text, a list per row."""
        return [
            [*(_shown(row.settings.get(s)) for s in self.settings), row.n, *(row.cells[c].text(plus_minus) for c in self.columns)]
            for row in self.rows
        ]


def _shown(value: Any) -> str:
    return "–" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def build_tables(trials: list[TrialRecord]) -> list[Table]:
    """One table per dataset, rows in the sweep's order, the untrained encoder first.

    Trials are averaged over their seed alone: every other setting that differs gets a column of its own.
    """
    datasets: dict[str, list[TrialRecord]] = {}
    for trial in trials:
        datasets.setdefault(str(trial.config["dataset"]), []).append(trial)
    return [_build_table(dataset, members) for dataset, members in datasets.items()]


def _build_table(dataset: str, trials: list[TrialRecord]) -> Table:
    varying = [k for k in trials[0].config if k != "seed" and len({_key(t.config.get(k)) for t in trials}) > 1]
    settings = ["objective", *(["tau"] if any(t.config.get("tau") is not None for t in trials) else [])]
    settings += [k for k in varying if k not in ("objective", "tau")]
    groups: dict[str, list[TrialRecord]] = {}
    for trial in trials:
        groups.setdefault(_key({k: v for k, v in trial.config.items() if k != "seed"}), []).append(trial)
    columns = _columns(trials)
    rows = [_row(settings, columns, members) for members in groups.values()]
    untrained = _untrained_row(columns, trials)
    return Table(dataset, settings, columns, [*([untrained] if untrained else []), *rows])


def _key(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _columns(trials: list[TrialRecord]) -> list[str]:
    reads = sorted({int(e) for t in trials for e in t.config.get("read_at") or []})
    return [*(f"test/linear@{e}" for e in reads), "test/linear", "test/knn", "val/linear"]


def _row(settings: list[str], columns: list[str], trials: list[TrialRecord]) -> Row:
    done = [t for t in trials if t.result is not None]
    row = Row({s: trials[0].config.get(s) for s in settings}, len(trials), len(done))
    row.cells = {c: Cell(tuple(v for t in done if (v := _figure(t, c)) is not None)) for c in columns}
    return row


def _figure(trial: TrialRecord, column: str) -> float | None:
    """A finished trial's figure; ``test/linear@100`` is the one read at epoch 100."""
    metric, _, epoch = column.partition("@")
    result = trial.result or {}
    if not epoch:
        value: float | None = result["metrics"].get(metric)
        return value
    return next((row.get(metric) for row in result["history"] if row["epoch"] == int(epoch)), None)


def _untrained_row(columns: list[str], trials: list[TrialRecord]) -> Row | None:
    """What the encoder reaches before pretraining: the same for all trials of a seed, so each seed counts once."""
    encoders = {
        _key([t.config.get(k) for k in ("encoder", "images", "image_size", "held_out", "augmentation", "knn_k", "precision")])
        for t in trials
    }
    seen: dict[int, dict[str, float]] = {}
    for trial in trials:
        if trial.result is not None:
            metrics = trial.result["metrics"]
            found = {
                c: metrics[c.replace("test/", "untrained/")]
                for c in ("test/linear", "test/knn")
                if c.replace("test/", "untrained/") in metrics
            }
            if found:
                seen.setdefault(int(trial.config["seed"]), found)
    if len(encoders) > 1 or not seen:
        return None
    seeds = {int(t.config["seed"]) for t in trials}
    row = Row({"objective": "untrained encoder", "epochs": 0}, len(seeds), len(seen))
    row.cells = {c: Cell(tuple(figures[c] for figures in seen.values() if c in figures)) for c in columns}
    return row


# --------------------------------------------------------------------------------------------- formats


def to_markdown(tables: list[Table]) -> str:
    """Markdown, the best mean of a column in bold."""
    parts = []
    for table in tables:
        head = table.header()
        lines = ["| " + " | ".join(head) + " |", "|" + "|".join("---" if h in table.settings else "---:" for h in head) + "|"]
        for row, cells in zip(table.rows, table.lines(), strict=True):
            lines.append("| " + " | ".join(_mark(table, row, cells, lambda t: f"**{t}**")) + " |")
        parts.append(f"### {table.dataset}\n\n" + "\n".join(lines) + "\n")
    return "\n".join(parts)


def _mark(table: Table, row: Row, cells: list[str], bold: Callable[[str], str]) -> list[str]:
    first = len(table.settings) + 1
    return [
        bold(text) if place >= first and table.best(table.columns[place - first]) is row else text
        for place, text in enumerate(cells)
    ]


def to_csv(tables: list[Table]) -> str:
    """CSV with means and standard deviations in columns of their own, full precision."""
    out = io.StringIO()
    settings = list(dict.fromkeys(s for t in tables for s in t.settings))
    columns = list(dict.fromkeys(c for t in tables for c in t.columns))
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["dataset", *settings, "n", "expected", *(f"{c} {part}" for c in columns for part in ("mean", "std"))])
    for table in tables:
        for row in table.rows:
            figures: list[Any] = []
            for column in columns:
                cell = row.cells.get(column, Cell(()))
                figures += [cell.mean if cell.values else "", "" if cell.std is None else cell.std]
            plain = ["" if row.settings.get(s) is None else row.settings[s] for s in settings]
            writer.writerow([table.dataset, *plain, row.done, row.expected, *figures])
    return out.getvalue()


def to_latex(tables: list[Table]) -> str:
    """LaTeX tables; they need the package booktabs."""
    parts = []
    for table in tables:
        head = table.header()
        columns = "".join("l" if h in table.settings else "r" for h in head)
        lines = [
            f"% {_tex(table.dataset)}: top-1 accuracy in percent, mean and standard deviation over n seeds;"
            " needs \\usepackage{booktabs}"
        ]
        lines += [f"\\begin{{tabular}}{{{columns}}}", "\\toprule", " & ".join(map(_tex, head)) + r" \\", "\\midrule"]
        for row, cells in zip(table.rows, table.lines(" $\\pm$ "), strict=True):
            escaped = [_tex(c) if place < len(table.settings) + 1 else c for place, c in enumerate(cells)]
            lines.append(" & ".join(_mark(table, row, escaped, lambda t: f"\\textbf{{{t}}}")).replace("–", "--") + r" \\")
        parts.append("\n".join([*lines, "\\bottomrule", "\\end{tabular}"]) + "\n")
    return "\n".join(parts)


_TEX = {"\\": r"\textbackslash{}", "–": "--", **{mark: "\\" + mark for mark in "&%$#_{}"}}


def _tex(text: str) -> str:
    return "".join(_TEX.get(letter, letter) for letter in text)


def to_html(tables: list[Table]) -> str:
    """An HTML page of its own."""
    parts = [
        "<!doctype html><html lang='en'><meta charset='utf-8'><title>Accuracy</title><style>"
        "body{font:15px system-ui,sans-serif;margin:2em}table{border-collapse:collapse;margin:1em 0}"
        "th,td{padding:.3em .8em;border-bottom:1px solid #ddd;text-align:right}th:first-child,td:first-child{text-align:left}"
        "</style>"
    ]
    for table in tables:
        head = "".join(f"<th>{html.escape(h)}</th>" for h in table.header())
        body = ""
        for row, cells in zip(table.rows, table.lines(), strict=True):
            marked = _mark(table, row, [html.escape(c) for c in cells], lambda t: f"<b>{t}</b>")
            body += "<tr>" + "".join(f"<td>{c}</td>" for c in marked) + "</tr>\n"
        caption = (
            f"<h2>{html.escape(table.dataset)}</h2><p>Top-1 accuracy in percent, mean ± standard deviation over n seeds.</p>"
        )
        parts.append(f"{caption}<table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table>")
    return "\n".join(parts) + "</html>\n"


RENDERERS: dict[str, Callable[[list[Table]], str]] = {"md": to_markdown, "csv": to_csv, "tex": to_latex, "html": to_html}


def sweep_table(sweep: SweepRecord, form: str = "md") -> str:
    """A sweep's table in one of :data:`FORMATS`.

    Raises:
        UserError: the sweep has no trial that has been started.
    """
    trials = sweep.trials()
    if not any(t.result for t in trials):
        raise UserError(f"the sweep {sweep.name!r} has no finished trial yet; see 'alphacl status {sweep.name}'")
    return RENDERERS[form](build_tables(trials))


def main(argv: list[str] | None = None) -> int:
    """Print a sweep's table; 2 on bad input."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sweep", required=True, metavar="NAME", help="the sweep's name")
    parser.add_argument(
        "--storage", type=Path, default=default_storage(), metavar="DIR", help="where sweeps lie (default: %(default)s)"
    )
    parser.add_argument("--format", choices=FORMATS, default="md", help="md, csv, tex or html (default: %(default)s)")
    arguments = parser.parse_args(argv)
    try:
        print(sweep_table(open_sweep(arguments.storage, arguments.sweep), arguments.format), end="")
    except UserError as error:
        print(f"results/table.py: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
