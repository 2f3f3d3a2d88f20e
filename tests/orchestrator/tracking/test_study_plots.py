"""The picture of an Optuna study."""

import io

import numpy as np
import optuna
import pytest
from PIL import Image

from orchestrator.tracking.study_plots import draw_search

pytestmark = pytest.mark.slow


def is_drawn(figure):
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return len(np.unique(np.asarray(Image.open(out).convert("L")))) > 10


def searched(trials):
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    for number in range(trials):
        trial = study.ask()
        objective = trial.suggest_categorical("objective", ["direct", "infonce", "uniform"])
        lr = trial.suggest_float("lr", 1e-4, 1e-1, log=True)
        tau = trial.suggest_float("tau", 0.1, 1) if objective != "uniform" else 0.5
        p = trial.suggest_float("direct.p", 1, 8) if objective == "direct" else 0
        state = {3: optuna.trial.TrialState.PRUNED, 5: optuna.trial.TrialState.FAIL}.get(number)
        study.tell(trial, None if state else -abs(np.log10(lr) + 2) + 0.1 * tau + 0.001 * p, state=state)
    return study


def test_a_search_shows_its_history():
    figures = draw_search(searched(40))
    assert set(figures) == {"search/history.png"}
    assert all(is_drawn(figure) for figure in figures.values())
    best = figures["search/history.png"].axes[0].lines[1].get_ydata()
    assert list(best) == sorted(best)


def test_a_search_that_has_just_begun_has_no_history():
    assert draw_search(None) == {}
    assert draw_search(searched(0)) == {}
