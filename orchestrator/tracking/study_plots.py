"""The picture of an Optuna study: how the search went."""

from __future__ import annotations

import itertools

import optuna
from matplotlib.figure import Figure
from optuna.trial import FrozenTrial, TrialState

from results.plots.style import add_legend, new, styled


def draw_search(study: optuna.Study | None) -> dict[str, Figure]:
    """Return the plot of a search's history by file name; none without a study, or while no trial has a value."""
    if study is None:
        return {}
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL))
    minimized = study.direction == optuna.study.StudyDirection.MINIMIZE
    figure = history(trials, minimized)
    return {} if figure is None else {"search/history.png": figure}


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
