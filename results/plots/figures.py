"""Draws the pictures of a sweep, for the report and for MLflow alike."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from results.plots.style import BLUE, COLORS, GREY, INK, ORANGE, new, safe, styled
from results.record.reader import TrialRecord
from results.record.status import Status
from results.tables.build import readable
from results.tables.cells import score, untrained_score
from results.tables.model import Row, Table
from results.tables.series import Series, series_of
from trainer.errors import UserError
from trainer.metrics import PRIMARY

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ACROSS = 4  # panels side by side
MOST_PANELS, MOST_LABELLED, MOST_COLUMNS = 16, 8, 12


@dataclass(frozen=True)
class Picture:
    """A picture of one table.

    Args:
        name: the name of its file, without a suffix.
        figure: the drawing.
        caption: what is seen.
        narrow: whether the picture takes half a page.
    """

    name: str
    figure: Figure
    caption: str
    narrow: bool = False


def pictures_of(table: Table, best: Table, unfinished: bool = False) -> list[Picture]:
    """Return every picture for which a table has something to show.

    Args:
        table: all configurations of one dataset.
        best: the rows whose learning curves are drawn, such as the best of each family.
        unfinished: whether curves take in what trials have reported that have not finished.
    """
    members = [t for r in table.rows if r.kind != "untrained" for t in r.trials]
    pictures = []
    if any(r.cells[PRIMARY].values for r in table.rows):
        caption = f"All configurations by mean {PRIMARY}; orange: InfoNCE's best on held-out images, grey: the untrained encoder."
        pictures.append(Picture("accuracy", ranking(table, PRIMARY), caption))
    pictures += _against_tau(members)
    rows = [r for r in best.rows if r.kind != "untrained"][:MOST_PANELS]
    for name, metric, what in (
        ("learning_curves", table.selected_by, f"{table.selected_by} by epoch, on held-out images"),
        ("effective_negatives", "alpha/effective_negatives", "Effective number of negatives, exp of α's entropy, by epoch"),
    ):
        figure = curves(rows, metric, unfinished)
        if figure:
            caption = f"{what}: mean over seeds with a band of ± one standard deviation; orange: InfoNCE's."
            pictures.append(Picture(name, figure, caption))
    return pictures


def _against_tau(trials: list[TrialRecord]) -> list[Picture]:
    with_tau = (t for t in readable(trials) if t.status == Status.FINISHED and t.config.get("tau") is not None)
    if not any(score(t, PRIMARY) is not None for t in with_tau):
        return []
    try:
        series = series_of(trials, "tau", PRIMARY)
    except UserError:  # no trial has a temperature, or none has finished
        return []
    if len({v for s in series for v, _ in s.points if v is not None}) < 2:
        return []
    caption = f"{PRIMARY} against tau per family, mean over seeds with a band of ± one standard deviation;"
    caption += " dotted: InfoNCE's highest mean, dashed: the untrained encoder."
    pictures = [Picture("accuracy_by_tau", sensitivity(series, trials, "tau", PRIMARY), caption)]
    grid = heat_map(series, "tau", PRIMARY)
    if grid:
        caption = "Family × tau: the best mean over a family's variants (chosen on test: a picture, not a result)."
        pictures.append(Picture("heat_map", grid, caption, narrow=True))
    return pictures


@styled
def ranking(table: Table, column: str, most: int = 40) -> Figure:
    """Draw all configurations by their mean: a dot per seed, mean ± std, and lines at InfoNCE and the untrained encoder.

    Args:
        table: all configurations of one dataset.
        column: the column of the scores.
        most: how many of the best are drawn.
    """
    rows = sorted((r for r in table.rows if r.cells[column].values), key=lambda r: r.cells[column].mean)[-most:]
    figure, (axis,) = new(9.2, 0.8 + 0.2 * len(rows))
    for y, row in enumerate(rows):
        cell = row.cells[column]
        color = GREY if row.kind == "untrained" else ORANGE if row.is_reference else BLUE
        axis.plot(cell.values, [y] * len(cell.values), "o", color=color, alpha=0.55, markersize=3.5, markeredgewidth=0)
        axis.errorbar(cell.mean, y, xerr=cell.std or 0, fmt="o", color=color, markersize=5.5, elinewidth=1.4)
    for row in rows:
        if row.is_reference or row.kind == "untrained":
            axis.axvline(
                row.cells[column].mean, color=ORANGE if row.is_reference else GREY, linestyle="--", linewidth=1, zorder=0
            )
    axis.set_yticks(range(len(rows)), [safe(r.label) + ("" if r.done == r.expected else f"  [{r.n}]") for r in rows])
    axis.set_ylim(-0.6, len(rows) - 0.4)
    axis.set_xlabel(f"{column}, % (dot: a seed; bar: mean ± std)")
    axis.grid(visible=False, axis="y")
    return figure


@styled
def sensitivity(series: list[Series], trials: list[TrialRecord], over: str, metric: str) -> Figure:
    """Draw a panel per family: the mean over seeds with a band of ± std; dashed the untrained encoder, orange InfoNCE's best.

    Args:
        series: the series to draw.
        trials: the trials that the untrained encoder's score is read from.
        over: the hyper-parameter of the x axis.
        metric: the metric of the y axis, in percent.
    """
    families = list(dict.fromkeys(s.family for s in series if any(v is not None for v, _ in s.points)))
    figure, axes = _panels(len(families))
    values = sorted({v for s in series for v, _ in s.points if v is not None})
    logarithmic = len(values) > 1 and values[0] > 0 and values[-1] / values[0] >= 5
    reference = [c.mean for s in series if s.family == "infonce" for _, c in s.points]
    start = _untrained(trials, metric)
    for axis, family in zip(axes, families, strict=False):
        for index, curve in enumerate(s for s in series if s.family == family):
            _line(axis, curve, COLORS[index % len(COLORS)])
        if reference:
            axis.axhline(max(reference), color=ORANGE, linewidth=1, linestyle=":", zorder=0)
        if start is not None:
            axis.axhline(start, color=GREY, linestyle="--", linewidth=1, zorder=0)
        axis.set_title(safe(family))
        axis.set_xscale("log" if logarithmic else "linear")
        if len(values) <= 6:
            axis.set_xticks(values, [f"{v:g}" for v in values])
            axis.minorticks_off()
        if 1 < len([s for s in series if s.family == family]) <= MOST_LABELLED:
            axis.legend()
    figure.supxlabel(safe(over), fontsize=9, color=INK)
    figure.supylabel(f"{metric}, %", fontsize=9, color=INK)
    return figure


def _line(axis: Axes, curve: Series, color: str) -> None:
    points = [(v, c) for v, c in curve.points if v is not None]
    x, y = [v for v, _ in points], [c.mean for _, c in points]
    spread = [c.std for _, c in points]
    repeated = any(s is not None for s in spread)
    axis.plot(x, y, "o-" if repeated or len(x) > 1 else "o", color=color, markersize=3.5, linewidth=1.4, label=safe(curve.label))
    if repeated:
        low, high = ([m + sign * (s or 0) for m, s in zip(y, spread, strict=True)] for sign in (-1, 1))
        axis.fill_between(x, low, high, color=color, alpha=0.18, linewidth=0)


def _bins(values: list[float]) -> Callable[[float], float]:
    """Return a function from a value to its column: itself, or the middle of a bin even in the logarithm where there are many."""
    if len(values) <= MOST_COLUMNS or values[0] <= 0:
        return lambda value: value
    low, high = math.log(values[0]), math.log(values[-1])
    width = (high - low) / MOST_COLUMNS
    return lambda value: math.exp(low + (min(int((math.log(value) - low) / width), MOST_COLUMNS - 1) + 0.5) * width)


@styled
def heat_map(series: list[Series], over: str, metric: str) -> Figure | None:
    """Draw family × hyper-parameter: the best mean over a family's variants; return None for less than two of either.

    A family without the hyper-parameter has one cell on the left. Many values, as a search draws them, are put into bins.
    """
    known = sorted({v for s in series for v, _ in s.points if v is not None})
    families = list(dict.fromkeys(s.family for s in series))
    if len(known) < 2 or len(families) < 2:
        return None
    column = _bins(known)
    best: dict[tuple[str, float | None], float] = {}
    for curve in series:
        for value, cell in curve.points:
            key = curve.family, None if value is None else column(value)
            best[key] = max(cell.mean, best.get(key, -math.inf))
    columns = sorted({v for _, v in best if v is not None})
    values: list[float | None] = [*([None] if any(v is None for _, v in best) else []), *columns]
    grid = [[best.get((family, value), math.nan) for value in values] for family in families]
    figure, (axis,) = new(2.6 + 0.75 * len(values), 0.8 + 0.27 * len(families))
    image = axis.imshow(grid, cmap="viridis", aspect="auto")
    seen = [v for row in grid for v in row if not math.isnan(v)]
    middle = (min(seen) + max(seen)) / 2
    for y, row in enumerate(grid):
        for x, value in enumerate(row):
            if not math.isnan(value):
                axis.text(
                    x, y, f"{value:.1f}", ha="center", va="center", fontsize=8, color="white" if value < middle else "black"
                )
    axis.set_xticks(range(len(values)), ["none" if v is None else f"{v:.3g}" for v in values])
    axis.set_yticks(range(len(families)), [safe(f) for f in families])
    axis.set_xlabel(safe(over))
    axis.grid(visible=False)
    axis.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=axis, shrink=0.8)
    bar.set_label(f"{metric}, %", color=INK)
    bar.ax.tick_params(colors=INK)
    bar.outline.set_visible(False)
    return figure


@styled
def curves(rows: list[Row], metric: str, unfinished: bool = False) -> Figure | None:
    """Draw learning curves: a panel per row, the mean over seeds by epoch with a band of ± std, InfoNCE's mean behind each.

    Returns None where no row has the metric.

    Args:
        rows: the configurations.
        metric: the metric of the y axis.
        unfinished: whether curves take in what trials have reported that have not finished.
    """
    by_label = {r.label: c for r in rows if (c := _curve(r, metric, unfinished))}
    if not by_label:
        return None
    reference = next((by_label.get(r.label) for r in rows if r.is_reference), None)
    figure, axes = _panels(len(by_label))
    for axis, (label, curve) in zip(axes, by_label.items(), strict=False):
        x = sorted(curve)
        mean = [statistics.fmean(curve[e]) for e in x]
        std = [statistics.stdev(curve[e]) if len(curve[e]) > 1 else 0.0 for e in x]
        if reference:
            axis.plot(sorted(reference), [statistics.fmean(reference[e]) for e in sorted(reference)], color=ORANGE, linewidth=1)
        axis.plot(x, mean, "-", color=BLUE, linewidth=1.5)
        low, high = ([m + sign * s for m, s in zip(mean, std, strict=True)] for sign in (-1, 1))
        axis.fill_between(x, low, high, color=BLUE, alpha=0.18, linewidth=0)
        axis.set_title(safe(label), fontsize=8)
        axis.locator_params(axis="x", integer=True, nbins=5)
    figure.supxlabel("epoch (0: untrained)", fontsize=9, color=INK)
    figure.supylabel(metric, fontsize=9, color=INK)
    return figure


def _curve(row: Row, metric: str, unfinished: bool) -> dict[int, list[float]]:
    """Return a metric's values over seeds, by epoch."""
    curve: dict[int, list[float]] = {}
    for trial in row.trials:
        if trial.status == Status.FINISHED:
            reports = (trial.result or {}).get("history", [])
        else:
            reports = trial.reports if unfinished and not trial.problem else []
        for report in reports:
            if isinstance(report.get(metric), (int, float)):
                curve.setdefault(int(report["epoch"]), []).append(report[metric])
    return curve


def _panels(count: int) -> tuple[Figure, list[Axes]]:
    columns = min(ACROSS, max(1, count))
    rows = max(1, math.ceil(count / columns))
    figure, axes = new(max(3.6, 2.3 * columns), 0.6 + 1.5 * rows, rows, columns, sharex=True, sharey=True)
    for axis in axes[count:]:
        axis.set_visible(False)
    for axis in axes[max(0, count - columns) : count]:
        axis.tick_params(labelbottom=True)
    return figure, axes


def _untrained(trials: list[TrialRecord], metric: str) -> float | None:
    scores = [v for t in _finished(trials) if (v := untrained_score(t, metric)) is not None]
    return statistics.fmean(scores) if scores else None


def _finished(trials: list[TrialRecord]) -> Iterator[TrialRecord]:
    return (t for t in readable(trials) if t.status == Status.FINISHED)
