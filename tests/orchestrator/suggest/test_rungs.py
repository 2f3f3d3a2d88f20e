"""The rungs of early stopping, against those of Ray Tune."""

import math
import random
from types import SimpleNamespace

import pytest
from ray.tune.schedulers import AsyncHyperBandScheduler

from orchestrator.suggest.rungs import Rungs


@pytest.mark.filterwarnings("ignore:All-NaN slice")
@pytest.mark.parametrize("reduction", [2, 3, 4, 1.5])
def test_every_decision_is_that_of_tune(reduction, seed):
    draw = random.Random(seed)
    grace = draw.randint(1, 4)
    tune = AsyncHyperBandScheduler("epoch", "score", "max", max_t=10**9, grace_period=grace, reduction_factor=reduction)
    ours = Rungs(grace, reduction)
    epochs, decisions = dict.fromkeys(map(str, range(60)), 0), []
    for trial in epochs:
        tune.on_trial_add(None, SimpleNamespace(trial_id=trial))
    for _ in range(1500):
        trial = draw.choice(list(epochs))
        epochs[trial] += draw.choice([1, 1, 1, 2, 5])
        score = draw.choice([draw.gauss(50, 5), float(draw.randint(45, 55)), math.nan if draw.random() < 0.1 else 50.0])
        told = tune.on_trial_result(None, SimpleNamespace(trial_id=trial), {"epoch": epochs[trial], "score": score})
        assert ours.goes_on(trial, epochs[trial], score) == (told == "CONTINUE")
        decisions.append(told)
    assert len(set(decisions)) == 2
