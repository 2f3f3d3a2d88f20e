"""The pictures on a sweep's MLflow page. They are drawn in a thread, so with matplotlib's objects alone, never with pyplot."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from results.record.layout import file_name
from results.record.reader import TrialRecord
from results.record.status import Status

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ACCURACY, HELD_OUT, EFFECTIVE = "test/linear", "val/linear", "alpha/effective_negatives"
CURVES = (HELD_OUT, EFFECTIVE)
TAU_COLUMNS = 10  # a search draws tau from a range: its values are put into this many bins
LINES = 12  # a picture with more lines than this is drawn by family


@dataclass(frozen=True)
class Curve:
    """What the pictures need of a trial. ``final`` is its test accuracy in percent, ``series`` epoch → value by metric."""

    family: str
    label: str
    dataset: str
    tau: float | None
    negatives: int
    final: float | None
    series: dict[str, dict[int, float]]


def read_curves(trials: Iterable[TrialRecord]) -> list[Curve]:
    """The curves of the trials that have reported; damaged ones are left out."""
    found = []
    for trial in trials:
        if trial.status == Status.DAMAGED or not trial.reports:
            continue
        series = {name: {int(row["epoch"]): row[name] for row in trial.reports if _number(row.get(name))} for name in CURVES}
        config = trial.config
        tau = config.get("tau")
        label = str(config["objective"]) + ("" if tau is None else f" · tau {tau:g}")
        final = trial.metrics.get(ACCURACY)
        found.append(Curve(trial.family, label, str(config["dataset"]), tau, 2 * config.get("batch_size", 0) - 2, final, series))
    return found


def _number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def draw_figures(curves: list[Curve]) -> dict[str, Figure]:
    """Every picture for which there is something to show, by file name; those of a dataset lie in a folder of its name."""
    figures: dict[str, Figure] = {}
    kinds: dict[str, Callable[[list[Curve]], Figure | None]] = {
        "accuracy_by_tau": accuracy_against_tau,
        "heat_map": family_by_tau,
        "learning_curves": learning_curves,
        "effective_negatives": effective_negatives,
    }
    for dataset in dict.fromkeys(c.dataset for c in curves):
        members = [c for c in curves if c.dataset == dataset]
        for name, draw in kinds.items():
            figure = draw(members)
            if figure is not None:
                figure.suptitle(short_name(dataset), x=0.01, ha="left", fontsize=9, color="0.4")
                figures[f"{file_name(dataset)}/{name}.png"] = figure
    return figures


def short_name(dataset: str) -> str:
    """A dataset's name without the folders above it."""
    return dataset.removeprefix("folder:").rstrip("/").rpartition("/")[2] or dataset


def new_axes(width: float = 7.0, height: float = 4.2) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), dpi=100, layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="0.92")
    axes.set_axisbelow(True)
    return figure, axes


def _colours(names: Iterable[str]) -> dict[str, Any]:
    names = sorted(set(names))
    palette = colormaps["tab10" if len(names) <= 10 else "tab20"]
    return {name: palette(place % palette.N) for place, name in enumerate(names)}


def add_legend(axes: Axes) -> None:
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=9)


def _bins(taus: list[float]) -> Callable[[float], float]:
    """Values of tau as they are, or put into bins even in log tau where there are many."""
    if len(set(taus)) <= TAU_COLUMNS:
        return lambda tau: tau
    low, high = math.log(min(taus)), math.log(max(taus))
    width = (high - low) / TAU_COLUMNS
    return lambda tau: math.exp(low + (min(int((math.log(tau) - low) / width), TAU_COLUMNS - 1) + 0.5) * width)


def _by_tau(curves: list[Curve]) -> dict[str, dict[float | None, list[float]]]:
    """Test accuracies by family and (binned) tau; tau None where the family has none."""
    place = _bins([c.tau for c in curves if c.tau is not None and c.tau > 0 and c.final is not None])
    found: dict[str, dict[float | None, list[float]]] = {}
    for c in curves:
        if c.final is not None:
            tau = place(c.tau) if c.tau is not None and c.tau > 0 else None
            found.setdefault(c.family, {}).setdefault(tau, []).append(c.final)
    return found


def _spread(values: list[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0


def accuracy_against_tau(curves: list[Curve]) -> Figure | None:
    """Test accuracy against tau: a line per family, a band of ± std over its trials at that tau."""
    families = _by_tau(curves)
    if not families:
        return None
    figure, axes = new_axes()
    colours = _colours(families)
    for family, cells in families.items():
        taus = sorted(t for t in cells if t is not None)
        mean = np.array([statistics.fmean(cells[t]) for t in taus])
        std = np.array([_spread(cells[t]) for t in taus])
        if taus:
            axes.plot(taus, mean, "o-", color=colours[family], label=family, markersize=4)
            axes.fill_between(taus, mean - std, mean + std, color=colours[family], alpha=0.15, linewidth=0)
        if None in cells:
            label = None if taus else f"{family} (no tau)"
            axes.axhline(statistics.fmean(cells[None]), color=colours[family], linestyle="--", label=label)
    axes.set(xlabel="tau", ylabel="test accuracy, linear probe [%]", title="Accuracy against tau, mean ± std over trials")
    if any(t is not None for cells in families.values() for t in cells):
        taus = sorted({t for cells in families.values() for t in cells if t is not None})
        axes.set_xscale("log")
        axes.set_xticks(taus, [f"{t:.2g}" for t in taus])
        axes.set_xticks([], minor=True)
    add_legend(axes)
    return figure


def family_by_tau(curves: list[Curve]) -> Figure | None:
    """Heat map of mean test accuracy, families by tau; a family without tau has one cell on the left."""
    families = _by_tau(curves)
    columns = sorted({t for cells in families.values() for t in cells}, key=lambda t: (t is not None, t))
    if not families or len(columns) < 2:
        return None
    names = sorted(families)
    grid = np.full((len(names), len(columns)), np.nan)
    for i, name in enumerate(names):
        for j, tau in enumerate(columns):
            if tau in families[name]:
                grid[i, j] = statistics.fmean(families[name][tau])
    figure, axes = new_axes(2.2 + 0.75 * len(columns), 1.4 + 0.42 * len(names))
    axes.grid(False)
    image = axes.imshow(grid, aspect="auto", cmap="viridis")
    middle = (np.nanmin(grid) + np.nanmax(grid)) / 2
    for (i, j), value in np.ndenumerate(grid):
        if not np.isnan(value):
            axes.text(j, i, f"{value:.1f}", ha="center", va="center", fontsize=8, color="white" if value < middle else "black")
    axes.set_xticks(range(len(columns)), ["none" if t is None else f"{t:.2g}" for t in columns])
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="tau", title="Mean test accuracy [%]")
    figure.colorbar(image, ax=axes, shrink=0.9)
    return figure


def _grouped(curves: list[Curve], metric: str) -> dict[str, list[dict[int, float]]]:
    """The curves of a metric by objective and tau, or by family where that would be too many lines."""
    shown = [c for c in curves if c.series[metric]]
    fine = len({c.label for c in shown}) <= LINES
    groups: dict[str, list[dict[int, float]]] = {}
    for c in shown:
        groups.setdefault(c.label if fine else c.family, []).append(c.series[metric])
    return groups


def _draw_bands(axes: Axes, groups: dict[str, list[dict[int, float]]], extremes: bool = False) -> None:
    """Mean and band of ± std (or of all there is) per group, at every epoch that at least one of its trials has reached."""
    colours = _colours(groups)
    for name, members in sorted(groups.items()):
        epochs = sorted({e for m in members for e in m})
        values = [[m[e] for m in members if e in m] for e in epochs]
        mean, std = np.array([statistics.fmean(v) for v in values]), np.array([_spread(v) for v in values])
        low, high = ([min(v) for v in values], [max(v) for v in values]) if extremes else (mean - std, mean + std)
        axes.plot(epochs, mean, color=colours[name], label=name, marker="o" if len(epochs) < 3 else None, markersize=3)
        axes.fill_between(epochs, low, high, color=colours[name], alpha=0.12, linewidth=0)
    axes.set_xlabel("epoch")
    add_legend(axes)


def learning_curves(curves: list[Curve]) -> Figure | None:
    """Held-out accuracy over the epochs."""
    groups = _grouped(curves, HELD_OUT)
    if not groups:
        return None
    figure, axes = new_axes()
    _draw_bands(axes, groups)
    axes.set(ylabel="held-out accuracy, linear probe [%]", title="Learning curves, mean ± std over trials")
    return figure


def effective_negatives(curves: list[Curve]) -> Figure | None:
    """How many negatives α weighs, exp(entropy) per anchor, over the epochs."""
    groups = _grouped(curves, EFFECTIVE)
    if not groups:
        return None
    figure, axes = new_axes()
    for count in sorted({c.negatives for c in curves}):
        axes.axhline(count, color="0.6", linestyle=":", label=f"all {count}")
    _draw_bands(axes, groups, extremes=True)
    axes.set(ylabel="negatives", title="α's effective negatives: mean, and from lowest to highest")
    axes.set_yscale("log")
    return figure
