"""The pictures of an Optuna study: how the search went, and which settings mattered."""

from __future__ import annotations

import itertools
import warnings
from collections import Counter

import optuna
from matplotlib.figure import Figure
from optuna.trial import FrozenTrial, TrialState

from results.plots.style import add_legend, new, styled

FEWEST = 6  # finished trials below which an importance says nothing


def draw_search(study: optuna.Study | None) -> dict[str, Figure]:
    """Return plots of history and parameter importance by file name, as far as the study has them; none without a study."""
    if study is None:
        return {}
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL))
    minimized = study.direction == optuna.study.StudyDirection.MINIMIZE
    figures = {"search/history.png": history(trials, minimized), "search/importance.png": importance(trials, minimized)}
    return {name: figure for name, figure in figures.items() if figure is not None}


@styled
def history(trials: list[FrozenTrial], minimized: bool = False) -> Figure | None:
    """Draw the value of every trial in the order of suggestion, and the best so far; return None while no trial has a value."""
    done = [(t.number, t.value) for t in trials if t.state == TrialState.COMPLETE and t.value is not None]
    if not done:
        return None
    figure, (axes,) = new(7.0, 4.2)
    numbers, values = zip(*done, strict=True)
    best = list(itertools.accumulate(values, min if minimized else max))
    axes.plot(numbers, values, "o", markersize=4, label="trial")
    axes.step(numbers, best, where="post", label="best so far")
    floor = max(values) if minimized else min(values)
    for state, label, mark in ((TrialState.PRUNED, "stopped early", "|"), (TrialState.FAIL, "failed", "x")):
        others = [t.number for t in trials if t.state == state and "repeats" not in t.user_attrs]
        if others:
            axes.plot(others, [floor] * len(others), mark, color="0.5", label=label)
    axes.set(xlabel="trial", ylabel="value that is minimised" if minimized else "value that is maximised", title="Search history")
    add_legend(axes)
    return figure


@styled
def importance(trials: list[FrozenTrial], minimized: bool = False) -> Figure | None:
    """Draw PED-ANOVA's importance of every setting (arXiv 2304.10255), over the trials that have all the settings shown.

    A conditional space has settings that few trials have (``direct.p``): those of at least half of the trials are shown. Return
    None where there are fewer than ``FEWEST`` trials, two settings or two values.
    """
    done = [t for t in trials if t.state == TrialState.COMPLETE and t.value is not None]
    counts = Counter(name for t in done for name in t.params)
    common = [name for name, count in counts.items() if count >= len(done) / 2]
    members = [t for t in done if all(name in t.params for name in common)]
    if len(members) < FEWEST or len({t.value for t in members}) < 2 or len(common) < 2:
        return None
    study = optuna.create_study(direction="minimize" if minimized else "maximize")
    for trial in members:
        distributions = {name: trial.distributions[name] for name in common}
        study.add_trial(
            optuna.trial.create_trial(
                params={name: trial.params[name] for name in common}, distributions=distributions, value=trial.value
            )
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        shares = optuna.importance.get_param_importances(study, evaluator=evaluator, params=common)
    figure, (axes,) = new(6.0, 1.4 + 0.4 * len(shares))
    names = list(shares)[::-1]
    bars = axes.barh(names, [shares[name] for name in names], color="tab:blue")
    axes.bar_label(bars, fmt="%.2f", padding=3, fontsize=9)
    axes.set(xlabel="share of the importance", title=f"Importance of settings (PED-ANOVA, {len(members)} trials)")
    axes.set_xlim(0, 1.1)
    return figure
