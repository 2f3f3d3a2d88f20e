"""Schedules of the learning rate, against PyTorch's and by hand."""

import pytest
import torch

from trainer import ConfigError, TrialConfig
from trainer.schedules import learning_rate


def test_schedules():
    cosine = TrialConfig(epochs=10, lr=1.0)
    assert learning_rate(cosine, 1, 0, 5) == 1
    assert learning_rate(cosine, 6, 0, 5) == pytest.approx(0.5)
    assert learning_rate(cosine, 10, 4, 5) < 0.002
    assert learning_rate(TrialConfig(lr=0.3, schedule="constant"), 77, 3, 5) == 0.3


def stepped(lr, epochs, half_period, from_epoch=0):
    """The rates of PyTorch's cosine, stepped once after every epoch from ``from_epoch`` on."""
    optimiser = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=half_period)
    for epoch in range(1, epochs + 1):
        yield epoch, optimiser.param_groups[0]["lr"]
        optimiser.step()
        if epoch > from_epoch:
            scheduler.step()


def test_the_papers_schedule_equals_torchs_as_its_code_steps_it():
    paper = TrialConfig(lr=0.01, epochs=500, schedule="paper")
    for epoch, rate in stepped(0.01, 500, 390, from_epoch=10):
        assert learning_rate(paper, epoch, 0, 390) == pytest.approx(rate, rel=1e-6, abs=1e-9)
    assert learning_rate(paper, 100, 0, 390) == pytest.approx(0.01 * 0.88, rel=0.01)


def test_a_cosine_in_epochs_equals_torchs():
    config = TrialConfig(lr=0.06, epochs=100, schedule="cosine_epochs")
    for epoch, rate in stepped(0.06, 100, 100):
        assert [learning_rate(config, epoch, step, 50) for step in (0, 49)] == pytest.approx([rate] * 2, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("schedule", ["cosine", "cosine_epochs", "constant"])
def test_a_warm_up_rises_in_a_line_to_the_rate_and_then_the_schedule_begins(schedule):
    config = TrialConfig(lr=1.0, epochs=10, warmup=2, schedule=schedule)
    rates = [learning_rate(config, epoch, step, 5) for epoch in range(1, 11) for step in range(5)]
    assert rates[:10] == pytest.approx([(k + 1) / 10 for k in range(10)])
    assert rates[10] == 1
    if schedule == "constant":
        assert set(rates[10:]) == {1}
    else:
        assert rates[10:] == sorted(rates[10:], reverse=True)
        assert learning_rate(config, 7, 0, 5) == pytest.approx(0.5)  # the middle of the eight epochs that are left


def test_a_rate_for_256_images_scales_with_the_batch():
    scaled = TrialConfig(lr_per_256=0.03, batch_size=512)
    assert scaled.lr == 0.06
    assert scaled.digest == TrialConfig(lr=0.06, batch_size=512).digest
    assert TrialConfig.from_dict(scaled.to_dict()) == scaled
    with pytest.raises(ConfigError, match=r"lr=0.1 is given too; keep one of lr and lr_per_256"):
        TrialConfig.from_dict({"lr": 0.1, "lr_per_256": 0.03})


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"warmup": 100}, "expected warmup < epochs=100, got warmup=100"),
        ({"warmup": -1}, "expected warmup >= 0"),
        ({"warmup": 1.5}, "expected warmup to be a whole number"),
        ({"warmup": 5, "schedule": "paper"}, "schedule=paper has no warm-up"),
        ({"lr_per_256": 0}, "expected lr_per_256 > 0"),
        ({"schedule": "cosine_epoch"}, "did you mean 'cosine_epochs'"),
    ],
)
def test_mistakes_are_one_line(settings, says):
    with pytest.raises(ConfigError, match=says):
        TrialConfig(**settings)
