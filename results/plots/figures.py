"""The report's pictures. Text and lines take the page's own colours, so that they suit light, dark and paper alike."""

from __future__ import annotations

import functools
import io
import math
import re
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from results.options import writing
from results.record.reader import TrialRecord
from results.record.status import Status
from results.tables.build import readable
from results.tables.model import Row, Table
from results.tables.scores import untrained_score

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from results.tables.series import Series

P = ParamSpec("P")
R = TypeVar("R")
INK, RULE = "#010203", "#a0a1a2"  # stand-ins: in a page they become its own text and line colours
BLUE, ORANGE, GREEN, GREY = "#3b7dd8", "#d9822b", "#2e9e6b", "#8a8f98"
COLORS = (BLUE, ORANGE, GREEN, "#b0569c", "#c0504d", "#7a68c9")
ACROSS = 4  # panels side by side


STYLE = {
    "font.size": 9, "axes.titlesize": 9.5, "axes.edgecolor": RULE, "axes.labelcolor": INK, "xtick.color": INK,
    "ytick.color": INK, "text.color": INK, "grid.color": RULE, "axes.grid": True, "grid.alpha": 0.35, "axes.axisbelow": True,
    "axes.spines.top": False, "axes.spines.right": False, "figure.facecolor": "none", "axes.facecolor": "none",
    "legend.frameon": False, "legend.fontsize": 6.5, "svg.fonttype": "none", "font.family": "sans-serif",
}  # fmt: skip


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Draw in the report's style, without a display, and leave the caller's as it is."""

    @functools.wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> R:
        import matplotlib

        matplotlib.use("Agg")
        with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]
            return draw(*args, **kwargs)

    return drawn


def new(width: float, height: float, rows: int = 1, columns: int = 1, **more: Any) -> tuple[Figure, list[Axes]]:
    """A figure and its axes in reading order; sizes in inches."""
    from matplotlib import pyplot as plt

    made, axes = plt.subplots(rows, columns, figsize=(width, height), squeeze=False, layout="constrained", **more)
    return made, list(axes.flat)


def to_svg(made: Figure, prefix: str, label: str) -> str:
    """The figure for a page: its ids begin with ``prefix``, ``label`` is what a screen reader says."""
    import matplotlib
    from markupsafe import escape
    from matplotlib import pyplot as plt

    out = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": prefix}):
        made.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    plt.close(made)
    text = out.getvalue()[out.getvalue().index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns:\w+="[^"]*"', "", text).replace("xlink:href", "href")
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    text = text.replace("url(#", f"url(#{prefix}-").replace('href="#', f'href="#{prefix}-')
    text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font: \1px system-ui, sans-serif", text)
    text = text.replace("#010203", "currentColor").replace("#a0a1a2", "var(--rule, #a0a1a2)")
    return re.sub(
        r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', rf'<svg viewBox="\1" role="img" aria-label="{escape(label)}">', text, count=1
    )


def save(made: Figure, file: Path) -> None:
    """Write a picture on white.

    Raises:
        UserError: it can't be written.
    """
    from matplotlib import pyplot as plt

    with writing(file):
        made.savefig(file, dpi=130, facecolor="white")
    plt.close(made)


# ---------------------------------------------------------------------------------------------- pictures


@styled
def ranking(table: Table, column: str, most: int = 40) -> Figure:
    """All configurations by their mean: a dot per seed, the mean and its deviation; lines at InfoNCE and untrained."""
    rows = sorted((r for r in table.rows if r.cells[column].values), key=lambda r: r.cells[column].mean)[-most:]
    made, (axis,) = new(9.2, 0.8 + 0.2 * len(rows))
    for place, row in enumerate(rows):
        cell = row.cells[column]
        color = GREY if row.kind == "untrained" else ORANGE if row.is_reference else BLUE
        axis.plot(cell.values, [place] * len(cell.values), "o", color=color, alpha=0.55, markersize=3.5, markeredgewidth=0)
        axis.errorbar(cell.mean, place, xerr=cell.std or 0, fmt="o", color=color, markersize=5.5, elinewidth=1.4)
    for row in rows:
        if row.is_reference or row.kind == "untrained":
            axis.axvline(
                row.cells[column].mean, color=ORANGE if row.is_reference else GREY, linestyle="--", linewidth=1, zorder=0
            )
    axis.set_yticks(range(len(rows)), [_safe(r.label) + ("" if r.done == r.expected else f"  [{r.n}]") for r in rows])
    axis.set_ylim(-0.6, len(rows) - 0.4)
    axis.set_xlabel(f"{column}, % (dot: a seed; bar: mean ± std)")
    axis.grid(visible=False, axis="y")
    return made


@styled
def sensitivity(series: list[Series], trials: list[TrialRecord], over: str, metric: str) -> Figure:
    """A panel per family: the mean over seeds with a band of ± std; dashed the untrained encoder, orange InfoNCE's best."""
    families = list(dict.fromkeys(s.family for s in series if any(v is not None for v, _ in s.points)))
    made, axes = _panels(len(families))
    values = sorted({v for s in series for v, _ in s.points if v is not None})
    logarithmic = len(values) > 1 and values[0] > 0 and values[-1] / values[0] >= 5
    reference = [c.mean for s in series if s.family == "infonce" for _, c in s.points]
    start = _untrained(trials, metric)
    for axis, family in zip(axes, families, strict=False):
        for place, one in enumerate(s for s in series if s.family == family):
            _line(axis, one, COLORS[place % len(COLORS)])
        if reference:
            axis.axhline(max(reference), color=ORANGE, linewidth=1, linestyle=":", zorder=0)
        if start is not None:
            axis.axhline(start, color=GREY, linestyle="--", linewidth=1, zorder=0)
        axis.set_title(_safe(family))
        axis.set_xscale("log" if logarithmic else "linear")
        if len(values) <= 6:
            axis.set_xticks(values, [f"{v:g}" for v in values])
            axis.minorticks_off()
        if len([s for s in series if s.family == family]) > 1:
            axis.legend()
    made.supxlabel(_safe(over), fontsize=9, color=INK)
    made.supylabel(f"{metric}, %", fontsize=9, color=INK)
    return made


def _line(axis: Axes, one: Series, color: str) -> None:
    points = [(v, c) for v, c in one.points if v is not None]
    x, y = [v for v, _ in points], [c.mean for _, c in points]
    spread = [c.std for _, c in points]
    repeated = any(s is not None for s in spread)
    axis.plot(x, y, "o-" if repeated or len(x) > 1 else "o", color=color, markersize=3.5, linewidth=1.4, label=_safe(one.label))
    if repeated:
        low, high = ([m + sign * (s or 0) for m, s in zip(y, spread, strict=True)] for sign in (-1, 1))
        axis.fill_between(x, low, high, color=color, alpha=0.18, linewidth=0)


@styled
def heat_map(series: list[Series], over: str, metric: str) -> Figure | None:
    """Family × hyper-parameter: the best mean over a family's variants; None for less than two of either."""
    values = sorted({v for s in series for v, _ in s.points if v is not None})
    families = list(dict.fromkeys(s.family for s in series if any(v is not None for v, _ in s.points)))
    if not 2 <= len(values) <= 12 or len(families) < 2:
        return None
    grid = [
        [max((c.mean for s in series if s.family == f for v, c in s.points if v == value), default=math.nan) for value in values]
        for f in families
    ]
    made, (axis,) = new(2.6 + 0.75 * len(values), 0.8 + 0.27 * len(families))
    image = axis.imshow(grid, cmap="viridis", aspect="auto")
    seen = [v for row in grid for v in row if not math.isnan(v)]
    middle = (min(seen) + max(seen)) / 2
    for y, row in enumerate(grid):
        for x, value in enumerate(row):
            if not math.isnan(value):
                axis.text(
                    x, y, f"{value:.1f}", ha="center", va="center", fontsize=8, color="white" if value < middle else "black"
                )
    axis.set_xticks(range(len(values)), [f"{v:g}" for v in values])
    axis.set_yticks(range(len(families)), [_safe(f) for f in families])
    axis.set_xlabel(_safe(over))
    axis.grid(visible=False)
    axis.spines[:].set_visible(False)
    bar = made.colorbar(image, ax=axis, shrink=0.8)
    bar.set_label(f"{metric}, %", color=INK)
    bar.ax.tick_params(colors=INK)
    bar.outline.set_visible(False)
    return made


@styled
def curves(rows: list[Row], metric: str) -> Figure | None:
    """Learning curves: a panel per row, the mean over seeds of a metric by epoch with a band, InfoNCE's reference behind each."""
    found = {r.label: c for r in rows if (c := _curve(r, metric))}
    if not found:
        return None
    reference = next((found.get(r.label) for r in rows if r.is_reference), None)
    made, axes = _panels(len(found))
    for axis, (label, curve) in zip(axes, found.items(), strict=False):
        x = sorted(curve)
        mean = [statistics.fmean(curve[e]) for e in x]
        std = [statistics.stdev(curve[e]) if len(curve[e]) > 1 else 0.0 for e in x]
        if reference:
            axis.plot(sorted(reference), [statistics.fmean(reference[e]) for e in sorted(reference)], color=ORANGE, linewidth=1)
        axis.plot(x, mean, "-", color=BLUE, linewidth=1.5)
        low, high = ([m + sign * s for m, s in zip(mean, std, strict=True)] for sign in (-1, 1))
        axis.fill_between(x, low, high, color=BLUE, alpha=0.18, linewidth=0)
        axis.set_title(_safe(label), fontsize=8)
        axis.locator_params(axis="x", integer=True, nbins=5)
    made.supxlabel("epoch (0: untrained)", fontsize=9, color=INK)
    made.supylabel(metric, fontsize=9, color=INK)
    return made


def _curve(row: Row, metric: str) -> dict[int, list[float]]:
    """A metric's values over seeds, by epoch."""
    curve: dict[int, list[float]] = {}
    for trial in row.trials:
        if trial.status == Status.FINISHED:
            for report in (trial.result or {}).get("history", []):
                if metric in report:
                    curve.setdefault(int(report["epoch"]), []).append(report[metric])
    return curve


def _panels(count: int) -> tuple[Figure, list[Axes]]:
    columns = min(ACROSS, max(1, count))
    rows = max(1, math.ceil(count / columns))
    made, axes = new(max(3.6, 2.3 * columns), 0.6 + 1.5 * rows, rows, columns, sharex=True, sharey=True)
    for axis in axes[count:]:
        axis.set_visible(False)
    for axis in axes[max(0, count - columns) : count]:
        axis.tick_params(labelbottom=True)
    return made, axes


def _untrained(trials: list[TrialRecord], metric: str) -> float | None:
    found = [v for t in _finished(trials) if (v := untrained_score(t, metric)) is not None]
    return statistics.fmean(found) if found else None


def _finished(trials: list[TrialRecord]) -> Iterator[TrialRecord]:
    return (t for t in readable(trials) if t.status == Status.FINISHED)


def _safe(text: str) -> str:
    """Text in which matplotlib reads no mathematics."""
    return text.replace("$", r"\$")
