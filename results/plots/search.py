"""Draws what a search tried: which settings mattered, and every configuration as a line through its settings."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from results.plots.style import BLUE, add_tip, new, safe, styled
from results.record.naming import family_of, shown
from results.tables.model import Row, varying
from trainer.errors import is_number
from trainer.metrics import metric_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_LINES = 100
MOST_WEIGHED = 2000  # configurations that the settings' importance is told from: Optuna takes 0.5 ms for each
FEWEST = 6  # configurations below which neither picture says anything
FAMILY = "family"


@dataclass(frozen=True)
class Tried:
    """A configuration that a search tried: its settings by name, its mean score, and its label."""

    settings: dict[str, Any]
    score: float
    label: str


def tried(rows: list[Row], metric: str) -> tuple[list[str], list[Tried]]:
    """Return the settings that differ among at least half of a search's configurations, and the configurations with a score."""
    scored = [r for r in rows if r.kind == "trial" and r.cells[metric].values]
    names = [k for k in varying([r.trials[0].config for r in scored]) if k not in ("objective", "seed", "lr_per_256")]
    found = []
    for row in scored:
        config = row.trials[0].config
        settings = {FAMILY: family_of(str(config["objective"])), **{k: config[k] for k in names if config.get(k) is not None}}
        found.append(Tried(settings, row.cells[metric].mean, row.label))
    counts = Counter(k for t in found for k in t.settings)
    several = len({t.settings[FAMILY] for t in found}) > 1
    common = [k for k in (*([FAMILY] if several else []), *names) if counts[k] >= len(found) / 2]
    return common, found


@styled
def importance(rows: list[Row], metric: str) -> Figure | None:
    """Draw PED-ANOVA's importance of every setting (arXiv 2304.10255), by Optuna, over configurations that have all of them.

    Of more than :data:`MOST_WEIGHED` configurations as many are taken, evenly spaced from the best to the worst. Returns None
    where Optuna is not installed, or where there are too few configurations, settings or scores.
    """
    names, found = tried(rows, metric)
    members = evenly_spaced([t for t in found if all(name in t.settings for name in names)], MOST_WEIGHED)
    if len(members) < FEWEST or len(names) < 2 or len({t.score for t in members}) < 2:
        return None
    try:
        shares = _shares(names, members, metric_of(metric).direction)
    except ImportError:
        return None
    ordered = list(shares)[::-1]
    figure, (axis,) = new(6.4, 0.7 + 0.3 * len(ordered))
    bars = axis.barh([safe(n) for n in ordered], [shares[n] for n in ordered], color=BLUE, height=0.6)
    axis.bar_label(bars, fmt="%.2f", padding=3, fontsize=8)
    for bar, name in zip(bars, ordered, strict=True):
        add_tip(bar, f"{name}: {shares[name]:.3f} of the importance, over {len(members)} configurations")
    axis.set_xlabel(f"share of the importance for {metric}")
    axis.set_xlim(0, 1.1)
    axis.grid(visible=False, axis="y")
    return figure


def evenly_spaced(members: list[Tried], most: int) -> list[Tried]:
    """Return all configurations, or of more than ``most`` so many, evenly spaced in the order of their scores."""
    if len(members) <= most:
        return members
    ordered = sorted(members, key=lambda t: t.score)
    return [ordered[round(place * (len(ordered) - 1) / (most - 1))] for place in range(most)]


def _shares(names: list[str], members: list[Tried], direction: str) -> dict[str, float]:
    import optuna

    def distribution(name: str) -> optuna.distributions.BaseDistribution:
        values = [t.settings[name] for t in members]
        if not all(map(is_number, values)):
            return optuna.distributions.CategoricalDistribution(sorted({shown(v) for v in values}))
        low, high = float(min(values)), float(max(values))
        return optuna.distributions.FloatDistribution(low, high, log=_is_logarithmic(values))

    distributions = {name: distribution(name) for name in names}
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # else it reports the making of a study
    study = optuna.create_study(direction=direction, sampler=optuna.samplers.RandomSampler(seed=0))
    for t in members:
        params = {n: float(v) if is_number(v := t.settings[n]) else shown(v) for n in names}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, value=t.score))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        shares = dict(optuna.importance.get_param_importances(study, evaluator=evaluator, params=names))
    optuna.logging.set_verbosity(verbosity)
    return shares


def _is_logarithmic(values: list[Any]) -> bool:
    return bool(min(values) > 0 and max(values) / min(values) >= 10)


@styled
def parallel_coordinates(rows: list[Row], metric: str) -> Figure | None:
    """Draw configurations as lines through their settings to their scores, the best on top; None for too few of either.

    Of more than :data:`MOST_LINES` configurations the best are drawn, and as many of the others, evenly spaced in their order.
    """
    names, found = tried(rows, metric)
    if len(found) > 2 * MOST_LINES:
        found = sorted(found, key=lambda t: -metric_of(metric).goodness(t.score))
        others = found[MOST_LINES:]
        found = [*found[:MOST_LINES], *others[:: math.ceil(len(others) / MOST_LINES)]]
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
            axis.text(x + 0.02, y, safe(text), fontsize=7.5, va="center")
    axis.set_xticks(range(len(columns)), [safe(name) for name in columns])
    axis.set_xlim(-0.1, len(columns) - 0.65)
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
    log = _is_logarithmic(known)
    scale = [math.log(v) if log else float(v) for v in known]
    low, span = min(scale), (max(scale) - min(scale)) or 1.0
    heights = [math.nan if v is None else ((math.log(v) if log else v) - low) / span for v in values]
    ends = (0.0, 0.25, 0.5, 0.75, 1.0)
    return heights, [(y, f"{math.exp(low + y * span) if log else low + y * span:.3g}") for y in ends]
