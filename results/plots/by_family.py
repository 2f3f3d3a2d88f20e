"""Draws accuracy by family: each family's best configuration with the interval of its mean, InfoNCE and the untrained encoder."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from results.plots.style import BLUE, GREY, ORANGE, add_tip, new, safe, styled
from results.tables.model import Cell, Row, Table
from results.tables.significance import t_quantile

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def interval(cell: Cell, level: float = 0.95) -> float | None:
    """Return half the width of the mean's interval by Student's t, in points; None for fewer than three seeds."""
    n = len(cell.values)
    if n < 3 or cell.std is None:
        return None
    return t_quantile((1 + level) / 2, n - 1) * cell.std / math.sqrt(n)


@styled
def by_family(best: Table, column: str) -> Figure | None:
    """Draw a line per family, the best mean on top: a dot per seed, the mean, its 95 % interval, and the figures as text.

    Returns None for fewer than two families.

    Args:
        best: a row per family, the untrained encoder among them.
        column: the column of the scores.
    """
    rows = sorted((r for r in best.rows if r.cells[column].values), key=lambda r: r.cells[column].mean)
    if sum(r.kind != "untrained" for r in rows) < 2:
        return None
    figure, (axis,) = new(9.2, 0.9 + 0.28 * len(rows))
    for y, row in enumerate(rows):
        cell = row.cells[column]
        color = GREY if row.kind == "untrained" else ORANGE if row.is_reference else BLUE
        for seed, value in cell.by_seed.items():
            (dot,) = axis.plot(value, y, "o", color=color, alpha=0.45, markersize=4, markeredgewidth=0)
            add_tip(dot, f"{row.label}, seed {seed}: {value:.2f}")
        half = interval(cell)
        if half is not None:
            axis.plot([cell.mean - half, cell.mean + half], [y, y], color=color, linewidth=1.6, solid_capstyle="butt")
        (mean,) = axis.plot(cell.mean, y, "D", color=color, markersize=5.5)
        add_tip(mean, _words(row, cell, half))
        axis.text(1.01, y, f"{cell.text()}, n {row.n}", transform=axis.get_yaxis_transform(), va="center", fontsize=8)
        if row.is_reference or row.kind == "untrained":
            axis.axvline(cell.mean, color=color, linestyle="--", linewidth=1, zorder=0)
    axis.set_xlim(*_limits([row.cells[column] for row in rows]))
    axis.set_yticks(range(len(rows)), [safe(row.label) for row in rows])
    axis.set_ylim(-0.6, len(rows) - 0.4)
    axis.set_xlabel(f"{column}, %")
    axis.grid(visible=False, axis="y")
    return figure


def _limits(cells: list[Cell]) -> tuple[float, float]:
    """Return the ends of the axis: all seeds and intervals, but at most half of the seeds' range beyond the seeds.

    An interval of three seeds may reach so far that nothing else could be told apart.
    """
    seen = [value for cell in cells for value in cell.values]
    ends = [cell.mean + sign * (interval(cell) or 0.0) for cell in cells for sign in (-1, 1)]
    low, high, most = min(seen), max(seen), 0.5 * (max(seen) - min(seen))
    low, high = max(low - most, min(low, *ends)), min(high + most, max(high, *ends))
    margin = 0.03 * (high - low) or 1.0
    return low - margin, high + margin


def _words(row: Row, cell: Cell, half: float | None) -> str:
    bounds = f", 95 % interval {cell.mean - half:.2f} to {cell.mean + half:.2f}" if half is not None else ""
    return f"{row.label}: {cell.text()} over {row.n} seeds{bounds}"
