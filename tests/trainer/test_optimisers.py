"""Optimisers: against PyTorch's own and naive steps, resumed exactly, and with mistakes in one line."""

import copy

import pytest
import torch
from torch import nn

from trainer import ConfigError, TrialConfig
from trainer.optimisers import Lars, make_optimiser
from trainer.pretrain import Pretrainer
from trainer.registry import names_of, spell_out

CPU = torch.device("cpu")
CALLS = ["adam", "adamw(beta1=0.8)", "sgd", "sgd(momentum=0)", "sgd(momentum=0.8, nesterov=True)", "lars"]


def network():
    return nn.Sequential(nn.Linear(5, 4, bias=False), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 3))


def steps(model, optimiser, rates, seed):
    generator = torch.Generator().manual_seed(seed)
    for rate in rates:
        for group in optimiser.param_groups:
            group["lr"] = rate
        optimiser.zero_grad()
        model(torch.randn(8, 5, generator=generator)).square().sum().backward()
        optimiser.step()
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.parametrize(
    ("text", "theirs"),
    [
        ("adam(beta2=0.99)", lambda p: torch.optim.Adam(p, betas=(0.9, 0.99), weight_decay=0.1)),
        ("adamw", lambda p: torch.optim.AdamW(p, weight_decay=0.1)),
        ("sgd", lambda p: torch.optim.SGD(p, momentum=0.9, weight_decay=0.1)),
        ("sgd(momentum=0.5, nesterov=True)", lambda p: torch.optim.SGD(p, momentum=0.5, nesterov=True, weight_decay=0.1)),
        ("sgd(momentum=0, nesterov=True)", lambda p: torch.optim.SGD(p, weight_decay=0.1)),
    ],
)
def test_they_are_pytorchs_own(text, theirs, seed):
    model = network()
    other = copy.deepcopy(model)
    found = steps(model, make_optimiser(text, [model], 0.01, 0.1, "all", CPU), [0.01, 0.02, 0.005], seed)
    expected = steps(other, theirs(other.parameters()), [0.01, 0.02, 0.005], seed)
    torch.testing.assert_close(found, expected)


def test_lars_is_the_naive_step(seed):
    model = network()
    weights = [p.detach().clone().double() for p in model.parameters()]
    optimiser = make_optimiser("lars(momentum=0.8, trust=0.01)", [model], 0.5, 0.1, "all", CPU)
    velocity = [torch.zeros_like(w) for w in weights]
    for offset in range(3):
        optimiser.zero_grad()
        model(torch.randn(8, 5, generator=torch.Generator().manual_seed(seed + offset))).square().sum().backward()
        gradients = [p.grad.double() for p in model.parameters()]
        optimiser.step()
        for place, (w, g) in enumerate(zip(weights, gradients, strict=True)):
            decayed = g + 0.1 * w
            ratio = 0.01 * w.norm() / decayed.norm() if w.ndim > 1 else 1.0
            velocity[place] = 0.8 * velocity[place] + ratio * decayed
            w -= 0.5 * velocity[place]
        for w, p in zip(weights, model.parameters(), strict=True):
            torch.testing.assert_close(p.detach().double(), w, rtol=1e-4, atol=1e-6)


def test_lars_stands_still_where_there_is_nothing_to_scale_by():
    parameter = nn.Parameter(torch.zeros(2, 2))
    optimiser = Lars([{"params": [parameter], "weight_decay": 0.0}], 0.1)
    parameter.grad = torch.ones(2, 2)
    optimiser.step()
    torch.testing.assert_close(parameter.detach(), torch.full((2, 2), -0.1))  # weights of no length take plain steps
    parameter.grad = torch.zeros(2, 2)
    optimiser.step()
    assert parameter.isfinite().all()


@pytest.mark.parametrize("text", CALLS)
def test_weight_decay_spares_norms_and_biases_where_it_is_told_to(text):
    """With gradients of zero the weight decay is all that moves a parameter."""
    moved = {}
    for decayed in ("all", "weights"):
        model = network()
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        optimiser = make_optimiser(text, [model], 0.1, 0.1, decayed, CPU)
        for p in model.parameters():
            p.grad = torch.zeros_like(p)
        optimiser.step()
        moved[decayed] = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert moved["weights"] == {"0.weight", "3.weight"}
    assert moved["all"] >= {"0.weight", "1.weight", "3.weight", "3.bias"}


def trainer(**changes):
    images = torch.randint(0, 256, (64, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return Pretrainer(TrialConfig(**{"epochs": 4, "batch_size": 16, "lr": 0.01, **changes}), images, CPU)


@pytest.mark.slow
@pytest.mark.parametrize("text", CALLS)
def test_a_resumed_run_goes_on_to_the_last_bit(text):
    settings = {"optimiser": text, "weight_decay": 1e-3, "decayed": "weights", "warmup": 1, "lr_per_256": 0.1}
    whole = trainer(**settings)
    expected = [whole.train_epoch()["train/loss"] for _ in range(4)]
    half = trainer(**settings)
    assert [half.train_epoch()["train/loss"] for _ in range(2)] == expected[:2]
    again = trainer(**settings)
    again.load_state_dict(copy.deepcopy(half.state_dict()))
    assert [again.train_epoch()["train/loss"] for _ in range(2)] == expected[2:]
    assert all(torch.equal(a, b) for a, b in zip(whole.encoder.parameters(), again.encoder.parameters(), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("text", CALLS)
def test_a_captured_steps_rate_is_a_tensor_that_can_be_changed(text):
    """As on a GPU, with the fused kernels and tensor rates of a CPU: the same weights as with plain numbers."""
    plain, tensor = trainer(optimiser=text), trainer(optimiser=text)
    for group in tensor.optimiser.param_groups:
        group["lr"] = torch.full((), 0.01)
    addresses = [group["lr"].data_ptr() for group in tensor.optimiser.param_groups]
    losses = [t.train_epoch()["train/loss"] for t in (plain, tensor)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert [group["lr"].data_ptr() for group in tensor.optimiser.param_groups] == addresses
    assert all(group["lr"] < 0.01 for group in tensor.optimiser.param_groups)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"optimiser": "adma"}, "no optimiser 'adma'; did you mean 'adam'"),
        ({"optimiser": "sgd(momentun=0.9)"}, "optimiser 'sgd' has no hyper-parameter 'momentun'; did you mean 'momentum'"),
        ({"optimiser": "sgd(momentum=1)"}, "expected momentum >= 0 and < 1, got momentum=1"),
        ({"optimiser": "sgd(nesterov=1)"}, "expected nesterov to be true or false"),
        ({"optimiser": "lars(trust=0)"}, "expected trust > 0"),
        ({"optimiser": "sgd(lr=0.1)"}, "has no hyper-parameter 'lr'"),
        ({"decayed": "norms"}, "no decayed 'norms'; known: all, weights"),
    ],
)
def test_mistakes_are_one_line(settings, says):
    with pytest.raises(ConfigError, match=says):
        TrialConfig(**settings)


def test_call_strings_are_spelled_out_for_digests():
    assert spell_out("optimiser", "sgd") == "sgd(momentum=0.9, nesterov=false)"
    assert TrialConfig(optimiser="sgd").digest == TrialConfig(optimiser="sgd(nesterov=false, momentum=0.9)").digest
    assert TrialConfig(optimiser="adam(beta1=0.9)").digest == TrialConfig().digest
    assert set(names_of("optimiser")) == {"adam", "adamw", "sgd", "lars"}
