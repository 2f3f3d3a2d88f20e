"""Tests the contract of every component that is no objective: encoders, projectors, augmentations, optimisers, datasets, more.

A new one is tested by being registered; ALPHACL_TEST_PLUGIN=my_module holds a plug-in's to the same. Components that need an
argument, or a download, are left out.
"""

import copy
import inspect
import math
import os

import numpy as np
import pytest
import torch
from torch import nn

from trainer import built_in  # noqa: F401 - registers what is tested
from trainer.augment import Parameters, apply, draw
from trainer.encoders import check_features, make_encoder
from trainer.extra_metrics import own_metrics, own_probes
from trainer.image_sources import check_arrays
from trainer.optimisers import make_optimiser
from trainer.plugins import load_plugin
from trainer.probe import Features
from trainer.projectors import make_projector
from trainer.recipes import recipe_for
from trainer.registry import REGISTRY

if os.environ.get("ALPHACL_TEST_PLUGIN"):
    load_plugin(os.environ["ALPHACL_TEST_PLUGIN"])

CPU = torch.device("cpu")
DOWNLOADED = ("cifar10", "cifar100", "stl10")


def names(kind):
    """The components of a kind that can be called by their names alone."""
    found = REGISTRY[kind].items()
    return [n for n, c in found if all(p.default is not inspect.Parameter.empty for p in c.parameters.values())]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", names("encoder"))
def test_encoders(name, channels, seed):
    small = f"{name}(width=4)" if "width" in REGISTRY["encoder"][name].parameters else name
    encoder = make_encoder(small, channels, 16)
    check_features(encoder, small, channels, 16)
    images = torch.rand(4, channels, 16, 16)
    encoder.eval()
    with torch.no_grad():
        together = encoder(images)
        alone = torch.cat([encoder(image[None]) for image in images])
    assert together.shape == (4, encoder.feature_dim)
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-4)  # a probe's features know nothing of their batch
    encoder.train()(images).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in encoder.parameters())
    again = make_encoder(small, channels, 16).eval()
    again.load_state_dict(encoder.state_dict())
    with torch.no_grad():
        assert torch.equal(again(images), encoder.eval()(images))


@pytest.mark.parametrize("name", names("projector"))
def test_projectors(name, seed):
    projector = make_projector(name, 12, 5)
    features = torch.rand(6, 12, requires_grad=True)
    embeddings = projector(features)
    assert embeddings.shape == (6, 12 if name == "none" else 5)
    embeddings.square().sum().backward()
    assert features.grad.isfinite().all()
    assert all(p.grad is not None for p in projector.parameters())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", names("augmentation"))
def test_augmentations(name, channels, seed):
    recipe = recipe_for(name, "", 16)
    assert hash(recipe) == hash(recipe_for(name, "", 16))  # it is a constant of what the compiler makes
    images = torch.randint(0, 256, (8, channels, 16, 16), dtype=torch.uint8)
    drawn = [draw(recipe, 8, 16, torch.Generator().manual_seed(seed)) for _ in range(2)]
    first, again = (apply(images, Parameters(*p), recipe) for p in drawn)
    assert first.shape == images.shape
    assert first.dtype == torch.float32
    assert first.isfinite().all()
    assert torch.equal(first, again)


@pytest.mark.parametrize("name", names("optimiser"))
def test_optimisers(name, seed):
    """A step goes downhill, and a state that was saved and loaded goes on to the bit."""
    x, y = torch.randn(32, 4), torch.randn(32, 2)

    def train(model, optimiser, steps):
        losses = []
        for _ in range(steps):
            optimiser.zero_grad()
            loss = (model(x) - y).square().mean()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        return losses

    def made(state=None):
        model = nn.Linear(4, 2)
        optimiser = make_optimiser(name, [model], 0.02, 0.0, "weights", CPU)
        if state:
            model.load_state_dict(state[0])
            optimiser.load_state_dict(state[1])
        return model, optimiser

    model, optimiser = made()
    losses = train(model, optimiser, 5)
    assert losses[-1] < losses[0]
    state = copy.deepcopy((model.state_dict(), optimiser.state_dict()))
    assert train(*made(state), 3) == train(model, optimiser, 3)


@pytest.mark.parametrize("name", [name for name in REGISTRY["dataset"] if name not in DOWNLOADED])
def test_datasets(name, tmp_path):
    arrays, again = (REGISTRY["dataset"][name].function(tmp_path, name, None) for _ in range(2))
    check_arrays(name, arrays)
    assert all(np.array_equal(arrays[key], again[key]) for key in arrays)  # every machine of a cluster makes its own


def test_metrics_and_probes(seed):
    views = [torch.nn.functional.normalize(torch.randn(8, 6), dim=1) for _ in range(2)]
    features = torch.randn(16, 10)
    before = [t.clone() for t in (*views, features)]
    assert all(math.isfinite(value) for value in own_metrics(*views, features).values())
    train, judged = (Features(torch.randn(n, 10), torch.arange(n) % 3) for n in (60, 30))
    assert all(0 <= value <= 100 for value in own_probes(train, judged, 3).values())
    assert all(torch.equal(a, b) for a, b in zip(before, (*views, features), strict=True))  # what they see is not theirs
