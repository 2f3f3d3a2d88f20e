"""The expected time of a trial counts the images that it probes, not only those that it trains on."""

from types import SimpleNamespace

import pytest
import torch

from orchestrator.commands import trial_cost
from orchestrator.commands.trial_cost import calibrate, from_earlier_trials, size_of
from search_spaces import load_spec
from trainer.extra_metrics import probe
from trainer.pretrain import Pretrainer


@pytest.mark.slow
def test_probing_many_images_costs_what_training_few_does_not(write, data_root, monkeypatch):
    monkeypatch.setattr(trial_cost, "_time_steps", lambda trainer: (0.5, 5))
    monkeypatch.setattr(trial_cost, "_time_probes", lambda trainer, images, labels, classes: (0.01, 0.02))
    spec = load_spec(write("trial: {dataset: digits, images: 160, epochs: 4, batch_size: 64, read_at: [2]}\n"))
    (config,) = spec.leaves()
    cost = calibrate(config, spec, None)
    assert len(config.probe_epochs) == 4
    held_out, test = 160, 355  # train and val together, and digits' test images
    # Two steps an epoch; five probes of what is held out, of which the first, epoch 2 and the last read the test images.
    assert cost.seconds == pytest.approx(4 * 2 * 0.5 + 0.01 * 5 * held_out + 0.02 * 3 * (held_out + test), rel=0.01)


@pytest.mark.slow
def test_a_plug_ins_probe_that_few_images_are_not_enough_for_leaves_an_estimate_without_probes(write, data_root):
    @probe
    def wants_many(train, judged, classes):
        raise ValueError("too few images of class 3")

    spec = load_spec(write("trial: {dataset: digits, images: 128, epochs: 1, batch_size: 64}\n"))
    cost = calibrate(spec.leaves()[0], spec, None)
    assert cost.seconds > 0
    assert "without probes (" in cost.source
    assert "too few images of class 3" in cost.source


@pytest.mark.slow
def test_a_probe_is_timed_for_real(write, data_root):
    spec = load_spec(write("trial: {dataset: digits, images: 128, epochs: 1, batch_size: 64}\n"))
    cost = calibrate(spec.leaves()[0], spec, None)
    assert 0 < cost.seconds < 300
    assert cost.source.endswith(" and a probe on this CPU")


def test_every_probe_of_a_trial_is_timed_also_a_plug_ins_and_the_projectors(write, data_root, monkeypatch):
    clock = [0.0]

    @probe
    def slow(train, judged, classes):
        clock[0] += 3.0
        return 50.0

    spec = load_spec(write("trial: {dataset: digits, images: 128, epochs: 1, batch_size: 64, probe_projector: true}\n"))
    trainer = Pretrainer(spec.leaves()[0], torch.zeros(128, 1, 8, 8, dtype=torch.uint8), torch.device("cpu"))
    monkeypatch.setattr(trial_cost.time, "perf_counter", lambda: clock[0])
    images, labels = torch.randint(0, 256, (30, 1, 8, 8), dtype=torch.uint8), torch.arange(30) % 10
    # On the features and on the projector's output: two on held-out images, two more where the test images are read.
    assert trial_cost._time_probes(trainer, images, labels, 10) == (6.0 / 20, 6.0 / 30)


def test_trials_of_the_same_size_tell_what_another_costs(fake_sweep, tmp_path):
    sweep = fake_sweep()
    first = sweep.digests[0]
    sweep.run(first)
    config = sweep.folder.read(first).config
    assert from_earlier_trials(size_of(config), tmp_path / "runs") is None, "this one's record does not say what it took"
    assert size_of({**config, "seed": 9, "tau": 3.0}) == size_of(config)
    assert size_of({**config, "epochs": 9}) != size_of(config)


@pytest.mark.parametrize(("engine", "unsteady"), [("eager", 1), ("graph", 4), ("compile", 4)])
def test_steps_that_compile_or_capture_are_never_what_a_step_takes(engine, unsteady, monkeypatch):
    """A first compile takes minutes, more than a calibration may; a step after it is timed all the same."""
    clock = [0.0]
    monkeypatch.setattr(trial_cost.time, "perf_counter", lambda: clock[0])
    taken = iter([180.0] * unsteady + [0.25] * 50)

    def train_step(batch, drawn, step):
        clock[0] += next(taken)
        return (torch.zeros(()),)

    trainer = SimpleNamespace(engine=engine, batches=lambda: range(50), parameters=lambda: range(50), train_step=train_step)
    assert trial_cost._time_steps(trainer) == (0.25, unsteady + trial_cost.STEPS)
