"""Reads what a search tried out of its table, and draws every configuration as a line through its settings."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from results.plots.style import add_tip, new, safe, styled
from results.record.naming import shown
from results.tables.model import Row, varying
from trainer.calls import FORMULA, FORMULA_PARTS, Call, parse_call
from trainer.errors import UserError, is_number
from trainer.metrics import metric_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_LINES = 100
FEWEST = 6  # configurations below which a picture of what was tried says nothing
FAMILY = "family"


@dataclass(frozen=True)
class Tried:
    """A configuration that a search tried: its settings by name, its mean score, and its label."""

    settings: dict[str, Any]
    score: float
    label: str


def scored(rows: list[Row], metric: str) -> list[Row]:
    """Return the rows of configurations that a search tried and that have a score."""
    return [r for r in rows if r.kind == "trial" and r.cells[metric].values]


def tried(rows: list[Row], metric: str) -> tuple[list[str], list[Tried]]:
    """Return the settings that differ among at least half of the configurations, and the configurations.

    The objective is told by its family; where all are of one family, the objective's own hyper-parameters are settings too.

    Args:
        rows: configurations that have a score.
        metric: the score's metric.
    """
    families = [r.trials[0].family for r in rows]
    several = len(set(families)) > 1
    found = []
    for row, family in zip(rows, families, strict=True):
        config = row.trials[0].config
        settings = {FAMILY: family} if several else own_settings(str(config["objective"]))
        settings |= {k: v for k, v in config.items() if v is not None and k not in ("objective", "seed", "lr_per_256")}
        found.append(Tried(settings, row.cells[metric].mean, row.label))
    names = varying([t.settings for t in found]) if found else []
    counts = Counter(k for t in found for k in t.settings)
    return [k for k in names if counts[k] >= len(found) / 2], found


def own_settings(objective: str) -> dict[str, Any]:
    """Return the hyper-parameters in an objective's call string: ``p`` of ``direct(p=4)``, ``q`` of a formula."""
    try:
        call = parse_call(objective)
    except UserError:
        return {}
    return {k: v for k, v in call.kwargs if not isinstance(v, Call) and (call.name != FORMULA or k not in FORMULA_PARTS)}


def is_logarithmic(values: list[Any]) -> bool:
    """Tell whether a setting's numbers are better compared by their logarithms: all positive, over a factor of ten or more."""
    return bool(min(values) > 0 and max(values) / min(values) >= 10)


@styled
def parallel_coordinates(rows: list[Row], metric: str) -> Figure | None:
    """Draw configurations as lines through their settings to their scores, the best on top; None for too few of either.

    Of more than :data:`MOST_LINES` configurations the best are drawn, and as many of the others, evenly spaced in their order.
    """
    rows = scored(rows, metric)
    if len(rows) > 2 * MOST_LINES:
        rows.sort(key=lambda r: -metric_of(metric).goodness(r.cells[metric].mean))
        others = rows[MOST_LINES:]
        rows = [*rows[:MOST_LINES], *others[:: math.ceil(len(others) / MOST_LINES)]]
    names, found = tried(rows, metric)
    if len(found) < FEWEST or len(names) < 2:
        return None
    import matplotlib

    columns = {name: _positions([t.settings.get(name) for t in found]) for name in names}
    columns[metric] = _positions([t.score for t in found])
    figure, (axis,) = new(9.2, 3.6)
    goodness = [metric_of(metric).goodness(t.score) for t in found]
    low, span = min(goodness), (max(goodness) - min(goodness)) or 1.0
    colours = matplotlib.colormaps["viridis"]
    for index in sorted(range(len(found)), key=goodness.__getitem__):
        heights = [columns[name][0][index] for name in columns]
        share = (goodness[index] - low) / span
        (line,) = axis.plot(range(len(columns)), heights, "-", color=colours(share), linewidth=1 + share, alpha=0.4 + 0.5 * share)
        add_tip(line, f"{found[index].label}: {metric} {found[index].score:.2f}")
    for x, (_, ticks) in enumerate(columns.values()):
        axis.axvline(x, color="#a0a1a2", linewidth=0.8, zorder=0)
        for y, text in ticks:
            beside = -0.02 if x == 0 else 0.02  # left of the first axis, where no line runs
            axis.text(x + beside, y, safe(text), fontsize=7.5, va="center", ha="right" if x == 0 else "left")
    axis.set_xticks(range(len(columns)), [safe(name) for name in columns])
    axis.set_xlim(-0.5, len(columns) - 0.65)
    axis.set_ylim(-0.08, 1.08)
    axis.set_yticks([])
    axis.spines[:].set_visible(False)
    axis.grid(visible=False)
    return figure


def _positions(values: list[Any]) -> tuple[list[float], list[tuple[float, str]]]:
    """Return heights from 0 to 1 of a column's values, NaN for one that is missing, and the column's ticks."""
    known = [v for v in values if v is not None]
    if not all(map(is_number, known)):
        words = sorted({shown(v) for v in known})
        at = {word: index / max(1, len(words) - 1) for index, word in enumerate(words)}
        return [math.nan if v is None else at[shown(v)] for v in values], [(y, word) for word, y in at.items()]
    log = is_logarithmic(known)
    scale = [math.log(v) if log else float(v) for v in known]
    low, span = min(scale), (max(scale) - min(scale)) or 1.0
    heights = [math.nan if v is None else ((math.log(v) if log else v) - low) / span for v in values]
    ends = (0.0, 0.25, 0.5, 0.75, 1.0)
    return heights, [(y, f"{math.exp(low + y * span) if log else low + y * span:.3g}") for y in ends]
