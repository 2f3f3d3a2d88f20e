"""Early stopping within a family, against reports in a sweep folder."""

import itertools
from types import SimpleNamespace

import pytest

from orchestrator.suggest.early_stopping import CONTINUE, STOP, FamilyHalving
from results.record.sweep_writer import SweepWriter
from search_spaces import SpaceError, load_spec
from trainer import Report

SPACE = """
trial: {epochs: 8}
space: {objective: [infonce, uniform], seed: [0, 1, 2, 3]}
early_stopping: {grace: 2, reduction: 2}
"""


@pytest.fixture
def sweep(tmp_path, write):
    spec = load_spec(write(SPACE))
    folder = SweepWriter.create(tmp_path / "runs", "s", spec, {})
    trials = {(t.family, t.config["seed"]): t for t in folder.record.trials()}
    return folder, spec, trials


def feed(halving, trial, epoch, value):
    return halving.on_trial_result(None, SimpleNamespace(config={"digest": trial.digest}), {"epoch": epoch, "val/linear": value})


def test_a_trial_is_measured_against_its_own_family_alone(sweep):
    folder, spec, trials = sweep
    halving = FamilyHalving(folder, spec.early_stopping, [])
    assert feed(halving, trials["uniform", 0], 1, 1.0) == CONTINUE, "before the grace is over nothing is stopped"
    for seed, value in enumerate([90.0, 80.0]):
        decision = feed(halving, trials["infonce", seed], 2, value)
        assert decision == (CONTINUE if seed == 0 else STOP)
    assert feed(halving, trials["uniform", 0], 2, 10.0) == CONTINUE, "the first of its family, however far below the other"
    assert feed(halving, trials["uniform", 1], 2, 9.0) == STOP
    assert folder.read(trials["uniform", 1].digest).status == "stopped"
    assert folder.read(trials["uniform", 1].digest).stopped["value"] == 9.0
    assert folder.read(trials["infonce", 0].digest).status == "waiting"


def test_the_last_epoch_is_not_stopped(sweep):
    folder, spec, trials = sweep
    halving = FamilyHalving(folder, spec.early_stopping, [])
    feed(halving, trials["infonce", 0], 8, 90.0)
    assert feed(halving, trials["infonce", 1], 8, 1.0) == CONTINUE


def test_after_a_crash_the_rungs_are_as_they_were(sweep):
    folder, spec, trials = sweep
    values = {0: 90.0, 1: 95.0}
    for seed, value in values.items():
        worker = folder.trial(trials["infonce", seed].digest)
        worker.begin()
        for epoch in range(4):
            worker.add(Report(epoch, 8, {"val/linear": value}, lambda: {"epoch": 3, "encoder": {}}))
    halving = FamilyHalving(folder, spec.early_stopping, folder.record.trials())
    assert feed(halving, folder.read(trials["infonce", 0].digest), 2, 1.0) == CONTINUE, "it has passed this rung"
    assert feed(halving, trials["infonce", 2], 2, 91.0) == STOP


def test_confirmations_and_lost_causes(sweep, write):
    folder, spec, trials = sweep
    given_up = {trials["infonce", 1].digest}
    halving = FamilyHalving(folder, spec.early_stopping, [], given_up.__contains__)
    assert feed(halving, trials["infonce", 1], 1, 99.0) == STOP
    config = spec.leaves()[0].from_dict({**trials["infonce", 0].config, "seed": 9})
    folder.trial(config.digest).plan(config, 99, "confirm")
    feed(halving, trials["infonce", 0], 2, 90.0)
    assert feed(halving, folder.read(config.digest), 2, 1.0) == CONTINUE


@pytest.mark.parametrize(
    ("text", "says"),
    itertools.chain(
        [("{grace: 1}", "expected grace from 2 to 9 epochs"), ("{grace: 10}", "expected grace from 2 to 9 epochs")],
        [
            ("{reduction: 1}", "expected 1 < reduction <= 100, got 1"),
            ("{metric: test/linear}", "expected metric to be one of val/linear"),
        ],
        [
            ("{graze: 3}", "unknown key 'graze' in 'early_stopping'; did you mean 'grace'?"),
            ("7", "expected 'early_stopping' to hold"),
        ],
    ),
)
def test_bad_input(write, text, says):
    file = write(f"trial: {{epochs: 10}}\nearly_stopping: {text}\n")
    with pytest.raises(SpaceError) as caught:
        load_spec(file)
    assert str(caught.value).startswith(f"{file}:2: ")
    assert says in str(caught.value)


def test_a_run_of_few_epochs_is_not_stopped_early(write):
    with pytest.raises(SpaceError, match="expected trials of at least 4 epochs to stop early, got 3"):
        load_spec(write("trial: {epochs: 3}\nearly_stopping: true\n"))
