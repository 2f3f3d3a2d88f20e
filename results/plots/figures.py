"""Draws the pictures of a sweep, for the report and for MLflow alike."""

from __future__ import annotations

import heapq
import math
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from results.plots.by_family import by_family
from results.plots.curves import curves
from results.plots.importance import importance, importance_by_family
from results.plots.search import parallel_coordinates
from results.plots.style import BLUE, COLORS, GREY, INK, ORANGE, add_tip, add_title, new, new_panels, safe, styled
from results.record.reader import TrialRecord
from results.record.status import Status
from results.tables.build import readable
from results.tables.cells import score, untrained_score
from results.tables.model import Table
from results.tables.series import Series, series_of
from trainer.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_PANELS, MOST_LABELLED, MOST_COLUMNS, MOST_LINES = 16, 4, 12, 24


@dataclass(frozen=True)
class Picture:
    """A picture of one table.

    Args:
        name: the name of its file, without a suffix.
        figure: the drawing.
        caption: what is seen.
    """

    name: str
    figure: Figure
    caption: str


def pictures_of(table: Table, best: Table, unfinished: bool = False, search: bool = False) -> list[Picture]:
    """Return every picture for which a table has something to show, what answers most first.

    Args:
        table: all configurations of one dataset.
        best: the rows whose learning curves are drawn, such as the best of each family.
        unfinished: whether curves take in what trials have reported that have not finished.
        search: whether pictures of what a search tried are among them.
    """
    judged = table.versus[1]
    pictures = []
    families = by_family(best, judged)
    if families:
        caption = "Each line: a dot per seed, the mean (diamond) and its 95 % interval by Student's t (from three seeds on);"
        pictures.append(Picture("accuracy_by_family", families, f"{caption} orange: InfoNCE, grey: the untrained encoder."))
    pictures += _against_tau([t for r in table.rows if r.kind != "untrained" for t in r.trials], judged)
    rows = [r for r in best.rows if r.kind != "untrained"][:MOST_PANELS]
    for name, metric, what in (
        ("learning_curves", table.selected_by, f"{table.selected_by} by epoch, on held-out images"),
        ("effective_negatives", "alpha/effective_negatives", "Effective number of negatives, exp of α's entropy, by epoch"),
    ):
        figure = curves(rows, metric, unfinished)
        if figure:
            caption = f"{what}: mean over seeds with a band of ± one standard deviation; orange: InfoNCE's."
            pictures.append(Picture(name, figure, caption))
    pictures += _of_search(table) if search else []
    if any(r.cells[judged].values for r in table.rows):
        caption = f"All configurations by mean {judged}; orange: InfoNCE's best on held-out images, grey: the untrained encoder."
        pictures.append(Picture("accuracy", ranking(table, judged), caption))
    return pictures


def _of_search(table: Table) -> list[Picture]:
    metric = table.selected_by
    drawn = (
        ("search_importance", importance(table.rows, metric), "Importance of the settings for the score, by PED-ANOVA."),
        (
            "search_importance_by_family",
            importance_by_family(table.rows, metric),
            "The same within each family of objectives (how many configurations), the objective's own hyper-parameters included.",
        ),
        (
            "search_settings",
            parallel_coordinates(table.rows, metric),
            f"Configurations that finished, as lines through their settings to {metric}; the best are yellow and on top.",
        ),
    )
    return [Picture(name, figure, caption) for name, figure, caption in drawn if figure is not None]


def _against_tau(trials: list[TrialRecord], metric: str) -> list[Picture]:
    with_tau = (t for t in readable(trials) if t.status == Status.FINISHED and t.config.get("tau") is not None)
    if not any(score(t, metric) is not None for t in with_tau):
        return []
    try:
        series = series_of(trials, "tau", metric)
    except UserError:  # no trial has a temperature, or none has finished
        return []
    if len({v for s in series for v, _ in s.points if v is not None}) < 2:
        return []
    caption = f"{metric} against tau per family, mean over seeds with a band of ± one standard deviation;"
    caption += " dotted: InfoNCE's highest mean, dashed: the untrained encoder."
    by_tau = Picture("accuracy_by_tau", sensitivity(series, trials, "tau", metric), caption)
    grid = heat_map(series, "tau", metric)
    if grid:
        caption = "Family × tau: the best mean over a family's variants (chosen on test: a picture, not a result)."
        return [Picture("heat_map", grid, caption), by_tau]
    return [by_tau]


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
        mean, *_ = axis.errorbar(cell.mean, y, xerr=cell.std or 0, fmt="o", color=color, markersize=5.5, elinewidth=1.4)
        add_tip(mean, f"{row.label}: {cell.text()} over {row.n} seeds")
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
    figure, axes = new_panels(len(families))
    values = sorted({v for s in series for v, _ in s.points if v is not None})
    logarithmic = len(values) > 1 and values[0] > 0 and values[-1] / values[0] >= 5
    reference = [c.mean for s in series if s.family == "infonce" for _, c in s.points]
    start = _untrained(trials, metric)
    for axis, family in zip(axes, families, strict=False):
        mine = [s for s in series if s.family == family]
        drawn = heapq.nlargest(MOST_LINES, mine, key=_highest) if len(mine) > MOST_LINES else mine
        if len(mine) > MOST_LINES:
            _cloud(axis, mine)
        alone = len(drawn) > MOST_LABELLED and all(len(curve.points) < 2 for curve in drawn)  # as in a search: dots
        for index, curve in enumerate(drawn):
            _line(axis, curve, BLUE if alone else COLORS[index % len(COLORS)])
        if reference:
            axis.axhline(max(reference), color=ORANGE, linewidth=1, linestyle=":", zorder=0)
        if start is not None:
            axis.axhline(start, color=GREY, linestyle="--", linewidth=1, zorder=0)
        add_title(axis, family)
        axis.set_xscale("log" if logarithmic else "linear")
        ticks = _ticks(values, logarithmic)
        axis.set_xticks(ticks, [f"{v:.3g}" for v in ticks])
        axis.minorticks_off()
        if 1 < len(mine) <= MOST_LABELLED:
            axis.legend()
    figure.supxlabel(safe(over), fontsize=9, color=INK)
    figure.supylabel(f"{metric}, %", fontsize=9, color=INK)
    return figure


def _ticks(values: list[float], logarithmic: bool) -> list[float]:
    """Return the ticks of an axis over sorted values: as many of them as have room, or round numbers where there are many."""
    if len(values) > MOST_COLUMNS:
        from matplotlib.ticker import LogLocator, MaxNLocator

        low, high = values[0], values[-1]
        locator = LogLocator(subs=(1, 3) if high / low < 300 else (1,)) if logarithmic else MaxNLocator(3)
        return [float(tick) for tick in locator.tick_values(low, high) if low <= tick <= high]
    at = [math.log(v) for v in values] if logarithmic else list(values)
    long = any(len(f"{v:.3g}") > 4 for v in values)
    least = (at[-1] - at[0]) / (3 if long else 5) if at else 0.0
    kept: list[int] = []
    for index, place in enumerate(at):
        if not kept or place - at[kept[-1]] >= least * 0.99:
            kept.append(index)
    return [values[index] for index in kept]


def _highest(curve: Series) -> float:
    """Return the highest mean of a series."""
    return max((cell.mean for _, cell in curve.points), default=-math.inf)


def _cloud(axis: Axes, series: list[Series]) -> None:
    """Draw every mean of many series as one grey cloud, which stays small in a page."""
    points = [(value, cell.mean) for curve in series for value, cell in curve.points if value is not None]
    x, y = [value for value, _ in points], [mean for _, mean in points]
    axis.plot(x, y, ".", color=GREY, alpha=0.6, markersize=4, markeredgewidth=0, zorder=0.5, rasterized=True)


def _line(axis: Axes, curve: Series, color: str) -> None:
    points = [(v, c) for v, c in curve.points if v is not None]
    x, y = [v for v, _ in points], [c.mean for _, c in points]
    spread = [c.std for _, c in points]
    repeated = any(s is not None for s in spread)
    style = "o-" if repeated or len(x) > 1 else "o"
    (line,) = axis.plot(x, y, style, color=color, markersize=3.5, linewidth=1.4, label=safe(curve.label))
    add_tip(line, f"{curve.label}: " + ", ".join(f"{cell.mean:.2f} at {value:.3g}" for value, cell in points))
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
                color = "white" if value < middle else "black"
                written = axis.text(x, y, f"{value:.1f}", ha="center", va="center", fontsize=8, color=color)
                at = "without" if values[x] is None else f"{over} {values[x]:.3g}"
                add_tip(written, f"{families[y]}, {at}: {value:.2f}")
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


def _untrained(trials: list[TrialRecord], metric: str) -> float | None:
    scores = [v for t in _finished(trials) if (v := untrained_score(t, metric)) is not None]
    return statistics.fmean(scores) if scores else None


def _finished(trials: list[TrialRecord]) -> Iterator[TrialRecord]:
    return (t for t in readable(trials) if t.status == Status.FINISHED)
