"""Precision and layout: measured once, kept, and never changed under a trial."""

import json

import pytest
import torch

from trainer import TrialConfig, run_trial
from trainer.encoders import make_encoder
from trainer.numerics import Numerics, candidates, choose, fastest, has_bf16, measure, narrowest_shortcut

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
NARROW = {"dataset": "cifar10", "encoder": "resnet18(width=16)"}


def chosen(root, **changes):
    config = TrialConfig(**{**NARROW, **changes})
    return choose(config, make_encoder(config.encoder, 3, 16), (3, 16, 16), CPU, root)


def kept(root):
    return json.loads((root / "cache" / "numerics.json").read_text())


def test_noise_alone_does_not_decide():
    first, second, third = (
        Numerics("bf16", "channels_last"),
        Numerics("float32", "channels_last"),
        Numerics("float32", "contiguous"),
    )
    assert fastest({first: 1.0, second: 0.9, third: 0.85}) == first
    assert fastest({first: 1.0, second: 0.5, third: 0.45}) == second
    assert fastest({first: 1.0, second: 0.5, third: 0.3}) == third


def test_the_choice_is_measured_once_and_kept(tmp_path):
    first = chosen(tmp_path)
    [(key, entry)] = kept(tmp_path).items()
    assert "resnet18(width=16)" in key
    assert torch.__version__ in key
    assert len(entry["seconds"]) == (3 if has_bf16(CPU) else 2)
    other = next(n for n in (Numerics("float32", "contiguous"), Numerics("float32", "channels_last")) if n != first)
    entry |= other._asdict()  # as if the measurement had come out otherwise
    (tmp_path / "cache" / "numerics.json").write_text(json.dumps({key: entry}))
    assert chosen(tmp_path) == other


@pytest.mark.parametrize("harm", ["", "{", "[]", '{"key": 3}'])
def test_a_damaged_choice_is_measured_anew(tmp_path, harm):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "numerics.json").write_text(harm)
    assert chosen(tmp_path) in candidates(TrialConfig(**NARROW), make_encoder(NARROW["encoder"], 3, 16), CPU)
    assert kept(tmp_path)


def test_a_given_precision_is_obeyed(tmp_path):
    assert chosen(tmp_path, precision="float32").precision == "float32"
    assert chosen(tmp_path, precision="bf16") == Numerics("bf16", "channels_last")
    assert choose(TrialConfig(), make_encoder("convnet", 1, 8), (1, 8, 8), CPU, tmp_path) == Numerics("float32", "contiguous")


def test_measuring_leaves_threads_and_random_state_alone():
    config, threads = TrialConfig(**NARROW), torch.get_num_threads()
    tried = candidates(config, make_encoder(config.encoder, 3, 16), CPU)
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    seconds = measure(config, (3, 16, 16), tried)
    assert torch.equal(torch.rand(2), expected)
    assert torch.get_num_threads() == threads
    assert all(0 < s < 10 for s in seconds.values())


def test_a_resumed_trial_computes_as_it_began(data_root, image_tree, tmp_path):
    config = TrialConfig(dataset=f"folder:{image_tree}", encoder="resnet18(width=16)", epochs=2, batch_size=32)
    reports = list(run_trial(config, threads=1, data_root=tmp_path))
    began = reports[0].record or reports[-1].record
    stored = began["environment"]["precision"], began["environment"]["layout"]
    half = next(r for r in run_trial(config, threads=1, data_root=tmp_path) if r.epoch == 1).state()
    tried = candidates(config, make_encoder(config.encoder, 3, 16), CPU)
    other = next(n for n in tried if n != stored)
    [key] = kept(tmp_path)
    (tmp_path / "cache" / "numerics.json").write_text(json.dumps({key: other._asdict()}))
    last = list(run_trial(config, resume=half, threads=1, data_root=tmp_path))[-1]
    assert (last.record["environment"]["precision"], last.record["environment"]["layout"]) == stored
    assert last.metrics["train/loss"] == reports[-1].metrics["train/loss"]
    fresh = list(run_trial(config, threads=1, data_root=tmp_path))[-1]
    assert (fresh.record["environment"]["precision"], fresh.record["environment"]["layout"]) == other


@pytest.mark.parametrize(("width", "layouts"), [(4, {"contiguous"}), (16, {"contiguous", "channels_last"})])
def test_a_narrow_encoder_is_kept_from_the_kernel_that_writes_past_its_memory(width, layouts):
    encoder = make_encoder(f"resnet18(width={width})", 3, 16)
    config = TrialConfig(dataset="cifar10", encoder=f"resnet18(width={width})", precision="float32")
    assert {n.layout for n in candidates(config, encoder, CPU)} == layouts
    assert narrowest_shortcut(encoder) == width


def smooth(module):
    """Put a smooth activation in place of every ReLU, whose gradient jumps where rounding carries an input across zero."""
    for name, child in module.named_children():
        if isinstance(child, torch.nn.ReLU):
            setattr(module, name, torch.nn.Softplus())
        smooth(child)
    return module


def test_gradients_in_every_layout_that_may_be_chosen_are_those_of_float64():
    config = TrialConfig(dataset="cifar10", encoder="resnet18(width=16)", precision="float32")
    encoder = make_encoder(config.encoder, 3, 16)
    x = torch.rand(8, 3, 16, 16)

    def gradients(dtype, memory_format):
        made = make_encoder(config.encoder, 3, 16)
        made.load_state_dict(encoder.state_dict())
        made = smooth(made).to(dtype, memory_format=memory_format)
        made(x.to(dtype).contiguous(memory_format=memory_format)).square().sum().backward()
        return {name: p.grad.double() for name, p in made.named_parameters()}

    exact = gradients(torch.float64, torch.contiguous_format)
    for numerics in candidates(config, encoder, CPU):
        for name, gradient in gradients(torch.float32, numerics.memory_format).items():
            assert (gradient - exact[name]).norm() <= 1e-3 * exact[name].norm(), (numerics, name)
