"""Draws which settings of a search mattered for its score: over all that it tried, and within each family of objectives."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from results.plots.search import FEWEST, Tried, is_logarithmic, scored, tried
from results.plots.style import BLUE, add_tip, add_title, new, safe, styled
from results.record.naming import shown
from results.tables.model import Row
from trainer.errors import is_number
from trainer.metrics import metric_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_WEIGHED = 2000  # configurations that the settings' importance is told from: Optuna takes 0.5 ms for each
MOST_FAMILIES, BESIDE = 15, 3  # panels in all, and side by side


@styled
def importance(rows: list[Row], metric: str) -> Figure | None:
    """Draw PED-ANOVA's importance of every setting (arXiv 2304.10255), by Optuna, over configurations that have all of them.

    Of more than :data:`MOST_WEIGHED` configurations as many are taken, evenly spaced from the best to the worst. Returns None
    where Optuna is not installed, or where there are too few configurations, settings or scores.
    """
    shares, count = shares_of(rows, metric)
    if not shares:
        return None
    figure, (axis,) = new(6.4, 0.7 + 0.3 * len(shares))
    _bars(axis, shares, count)
    axis.set_xlabel(f"share of the importance for {metric}")
    return figure


@styled
def importance_by_family(rows: list[Row], metric: str) -> Figure | None:
    """Draw a panel per family of objectives with the importance of its settings, the objective's own hyper-parameters included.

    Returns None where :func:`importance` says all, as there is one family, and where no family has enough configurations.
    """
    families: dict[str, list[Row]] = {}
    for row in rows:
        if row.kind == "trial":
            families.setdefault(row.trials[0].family, []).append(row)
    if len(families) < 2:
        return None
    largest = sorted(families.items(), key=lambda item: -len(item[1]))[:MOST_FAMILIES]
    most = MOST_WEIGHED // len(largest)  # so that all panels together take no longer than the picture of all families
    drawn = [(family, shares, count) for family, mine in largest for shares, count in [shares_of(mine, metric, most)] if shares]
    if not drawn:
        return None
    columns = min(BESIDE, len(drawn))
    lines = math.ceil(len(drawn) / columns)
    tallest = max(len(shares) for _, shares, _ in drawn)
    figure, axes = new(3.1 * columns, 0.3 + lines * (0.6 + 0.22 * tallest), lines, columns)
    for axis in axes[len(drawn) :]:
        axis.set_visible(False)
    for axis, (family, shares, count) in zip(axes, drawn, strict=False):
        _bars(axis, shares, count)
        add_title(axis, f"{family} ({count})")
    figure.supxlabel(f"share of the importance for {metric}", fontsize=9)
    return figure


def shares_of(rows: list[Row], metric: str, most: int = MOST_WEIGHED) -> tuple[dict[str, float], int]:
    """Return each setting's share of the importance, the largest first, and the number of configurations behind them.

    Of more than ``most`` configurations as many are taken, evenly spaced from the best to the worst.

    There are no shares where Optuna is not installed, or where there are too few configurations, settings or scores.
    """
    names, found = tried(evenly_spaced(scored(rows, metric), metric, most), metric)
    members = [t for t in found if all(name in t.settings for name in names)]
    if len(members) < FEWEST or len(names) < 2 or len({t.score for t in members}) < 2:
        return {}, len(members)
    try:
        return _by_ped_anova(names, members, metric_of(metric).direction), len(members)
    except ImportError:
        return {}, len(members)


def evenly_spaced(rows: list[Row], metric: str, most: int) -> list[Row]:
    """Return all configurations, or of more than ``most`` so many, evenly spaced in the order of their scores."""
    if len(rows) <= most:
        return rows
    ordered = sorted(rows, key=lambda r: r.cells[metric].mean)
    return [ordered[round(place * (len(ordered) - 1) / (most - 1))] for place in range(most)]


def _bars(axis: Axes, shares: Mapping[str, float], count: int) -> None:
    """Draw a bar per setting, the most important on top."""
    ordered = list(shares)[::-1]
    bars = axis.barh([safe(n) for n in ordered], [shares[n] for n in ordered], color=BLUE, height=0.6)
    axis.bar_label(bars, fmt="%.2f", padding=3, fontsize=8)
    for bar, name in zip(bars, ordered, strict=True):
        add_tip(bar, f"{name}: {shares[name]:.3f} of the importance, over {count} configurations")
    axis.set_xlim(0, 1.2)
    axis.grid(visible=False, axis="y")


def _by_ped_anova(names: list[str], members: list[Tried], direction: str) -> dict[str, float]:
    import optuna

    def distribution(name: str) -> optuna.distributions.BaseDistribution:
        values = [t.settings[name] for t in members]
        if not all(map(is_number, values)):
            return optuna.distributions.CategoricalDistribution(sorted({shown(v) for v in values}))
        low, high = float(min(values)), float(max(values))
        return optuna.distributions.FloatDistribution(low, high, log=is_logarithmic(values))

    distributions = {name: distribution(name) for name in names}
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # else it reports the making of a study
    study = optuna.create_study(direction=direction, sampler=optuna.samplers.RandomSampler(seed=0))
    for t in members:
        params: dict[str, Any] = {n: float(v) if is_number(v := t.settings[n]) else shown(v) for n in names}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, value=t.score))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        shares = dict(optuna.importance.get_param_importances(study, evaluator=evaluator, params=names))
    optuna.logging.set_verbosity(verbosity)
    return shares
