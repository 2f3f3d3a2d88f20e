"""The bounded history of a sampler: what it shows, and that a short study is suggested the same with it as without."""

import random

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from orchestrator.suggest.bounded_history import BEST, BoundedHistory, History, make_sampler
from search_spaces.samplers import SAMPLERS


def study_of(values, sampler=None, direction="maximize"):
    study = optuna.create_study(sampler=sampler, direction=direction)
    space = {"x": FloatDistribution(0, 1)}
    study.add_trials([create_trial(params={"x": random.random()}, distributions=space, value=value) for value in values])
    return study


@pytest.mark.parametrize("minimized", [False, True])
def test_the_running_the_best_and_the_most_recent_trials_are_shown(seed, minimized):
    draw, study = random.Random(seed), optuna.create_study(direction="minimize" if minimized else "maximize")
    history, asked = History(50, minimized), []
    for _ in range(400):
        asked.append(study.ask({"x": FloatDistribution(0, 1)}))
        if len(asked) > 5:  # trials end in another order than they began
            trial = asked.pop(draw.randrange(len(asked)))
            state = draw.choice([TrialState.COMPLETE] * 4 + [TrialState.PRUNED, TrialState.FAIL])
            study.tell(trial, draw.random() if state == TrialState.COMPLETE else None, state=state)
        shown = history.update(study.get_trials(deepcopy=False))
    trials = study.get_trials(deepcopy=False)
    numbers = {t.number for t in shown}
    assert [t.number for t in shown] == sorted(numbers)
    assert {t.number for t in asked} <= numbers, "all that run"
    complete = sorted((t for t in trials if t.state == TrialState.COMPLETE), key=lambda t: t.value, reverse=not minimized)
    assert {t.number for t in complete[:BEST]} <= numbers
    assert len(shown) <= BEST + 50 + len(asked)
    assert all(t.state == trials[t.number].state for t in shown), "each as it is now"
    assert not any(t.state == TrialState.FAIL for t in shown)


def test_a_short_study_is_suggested_the_same_with_and_without_the_bound():
    asked = []
    for bound in (False, True):
        sampler = optuna.samplers.TPESampler(seed=7)
        random.seed(1)
        study = study_of([random.random() for _ in range(60)], BoundedHistory(sampler, 60) if bound else sampler)
        for _ in range(5):
            trial = study.ask()
            asked.append((trial.suggest_float("x", 0, 1), trial.suggest_float("y", 1, 2)))
            study.tell(trial, sum(asked[-1]))
    assert asked[:5] == asked[5:]


def test_tpe_learns_from_the_best_however_old_they_are():
    """The good values of x are the first 30 of 400; after them come 370 bad ones, of which the sampler is shown 50."""
    random.seed(2)
    study = optuna.create_study(direction="maximize", sampler=BoundedHistory(optuna.samplers.TPESampler(seed=0), 50))
    space = {"x": FloatDistribution(0, 1)}
    for index in range(400):
        x = 0.1 + 0.02 * random.random() if index < 30 else 0.3 + 0.7 * random.random()
        study.add_trial(create_trial(params={"x": x}, distributions=space, value=1.0 if index < 30 else 0.0))
    assert sum(abs(study.ask(space).params["x"] - 0.11) < 0.1 for _ in range(10)) >= 8


def test_every_sampler_has_the_bound_that_its_table_says():
    for name, entry in SAMPLERS.items():
        sampler = make_sampler(name, 0)
        assert getattr(sampler, "most", None) == entry.history
