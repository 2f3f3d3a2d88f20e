"""Tests that a plug-in's mistake, in whatever kind of component, is said in one line before anything is computed."""

import numpy as np
import pytest
import torch
from torch import nn

from trainer import TrialConfig, UserError, baselines, pairwise
from trainer.alphas import constructor
from trainer.data import prepare
from trainer.encoders import encoder
from trainer.image_sources import dataset
from trainer.losses import loss
from trainer.objectives import make_objective
from trainer.optimisers import make_optimiser, optimiser
from trainer.projectors import make_projector, projector
from trainer.recipes import Recipe, augmentation, recipe_for
from trainer.trial import check_trial

CPU = torch.device("cpu")


def fails(*arguments):
    raise OSError("two\nlines")


def refused(action, says):
    with pytest.raises(UserError, match=says) as caught:
        action()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda i, o: None, "the projector own: expected a torch.nn.Module, got NoneType"),
        (lambda i, o: nn.Linear(i + 1, o), "the projector own cannot be run on 2 features of 8: "),
        (lambda i, o: nn.Unflatten(1, (i, 1)), r"expected embeddings of shape \(2, D\) for 2 features, got \(2, 8, 1\)"),
        (lambda i, o: nn.Linear(i, o).double(), "cannot be run on 2 features of 8: "),
        (fails, r"the projector own failed: OSError: two \(test_components.py:\d+, in fails\)"),
    ],
)
def test_projectors(make, says):
    @projector()
    def own(inputs: int, outputs: int):
        return make(inputs, outputs)

    refused(lambda: make_projector("own", 8, 4), says)
    with pytest.raises(UserError, match=says.replace("of 8", "of 128").replace("2, 8", "2, 128")) as caught:
        check_trial(TrialConfig(projector="own", images=100, batch_size=16))
    assert caught.value.field == "projector"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda groups, lr: None, "the optimiser own: expected a torch.optim.Optimizer, got NoneType"),
        (lambda groups, lr: torch.optim.SGD(groups[0]["params"][:1], lr=lr), "expected all 2 parameters in its groups, 1 are"),
        (lambda groups, lr: torch.optim.LBFGS(groups[0]["params"]), r"expected a step\(\) without a closure"),
        (fails, "the optimiser own failed: OSError: two"),
    ],
)
def test_optimisers(make, says):
    @optimiser()
    def own(groups, lr: float, on_gpu: bool):
        return make(groups, lr)

    refused(lambda: make_optimiser("own", [nn.Linear(2, 2)], 0.1, 0.0, "all", CPU), says)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda size: {}, "the augmentation own: expected a trainer.recipes.Recipe, got dict"),
        (
            lambda size: Recipe(crop_scale=(0.5, 2.0)),
            r"a recipe's crop_scale: expected 0 < lowest <= highest <= 1, got \(0.5, 2.0\)",
        ),
        (lambda size: Recipe(jitter=(1.0,)), "a recipe's jitter: expected a tuple of 4 numbers"),
        (lambda size: Recipe(jitter=(0.4, 0.4, 0.4, 0.6)), "the hue's <= 0.5"),
        (lambda size: Recipe(mean=(0.5, 0.5)), "a recipe's mean: expected a tuple of 1 or 3 numbers"),
        (lambda size: Recipe(std=(0.0,)), "a recipe's std: expected numbers > 0, as many as mean has"),
        (lambda size: Recipe(flip="x"), "a recipe's flip: expected a probability, got 'x'"),
        (lambda size: Recipe(blur_kernel=4), "a recipe's blur_kernel: expected an odd whole number"),
        (lambda size: Recipe(blur=1.0, blur_kernel=99), "expected blur_kernel below 16, twice the images' side, got 99"),
        (fails, "the augmentation own failed: OSError: two"),
    ],
)
def test_augmentations(make, says):
    @augmentation()
    def own(size: int):
        return make(size)

    refused(lambda: recipe_for("own", "digits", 8), says)


def test_encoders_and_datasets_that_raise(tmp_path):
    encoder()(lambda channels, size: None)

    @encoder()
    def broken(channels: int, size: int):
        return fails()

    refused(
        lambda: check_trial(TrialConfig(encoder="broken", images=100, batch_size=16)), "the encoder broken failed: OSError: two"
    )
    dataset("broken")(fails)
    refused(lambda: prepare("broken", None, tmp_path), "the dataset broken failed: OSError: two")


@pytest.mark.parametrize(
    ("register", "function", "says"),
    [
        (constructor, lambda d: None, "expected α as a tensor of floats, got NoneType"),
        (constructor, lambda d: np.zeros((32, 30)), "expected α as a tensor of floats, got ndarray"),
        (constructor, lambda d: d.inter > 0, "expected α as a tensor of floats, got torch.bool"),
        (constructor, lambda d: (d.inter, d.intra, d.intra), "expected α, or α and β, got 3 values"),
        (loss, lambda x: x, r"the loss gives \(32, 30\); expected a value for each of 32 anchors"),
        (loss, lambda x: x.sum(), r"the loss gives \(\); expected a value for each of 32 anchors"),
        (pairwise.pair_loss, lambda d: d.inter, r"the loss gives \(32, 30\)"),
        (baselines.embedding_loss, lambda a, b: 3.0, "expected a tensor that depends on the embeddings, got float"),
        (baselines.embedding_loss, lambda a, b: a.detach().sum(), "got one without a gradient"),
    ],
)
def test_objectives(register, function, says):
    function.__name__ = "own"
    register()(function)
    refused(lambda: make_objective("own", 0.5), says)


def test_a_loss_of_the_positives_alone_weighs_no_negative(seed, views):
    @pairwise.pair_loss()
    def pull(d):
        return d.intra.squeeze(1)

    alpha, beta = make_objective("pull").alpha_beta(*views(seed))
    assert (alpha == 0).all()
    assert (beta == 1).all()


@pytest.mark.parametrize(
    ("bounds", "says"),
    [
        ({"q": "> 0"}, "has a bound for 'q', which it does not take; known: p"),
        ({"p": "between 1 and 2"}, "cannot read the bound 'between 1 and 2' of p"),
    ],
)
def test_bounds_that_are_none(bounds, says):
    def own(d, p: float = 1.0):
        return d.inter

    refused(lambda: constructor(**bounds)(own), says)


@pytest.mark.parametrize(
    ("setting", "value", "says"),
    [
        ("encoder", "resnet18(width=65536)", "its weights take .* GB, more than this machine's memory"),
        ("encoder", "convnet(width=10000000000000000000)", "expected width >= 1 and <= 65536"),
        ("projector", "mlp(hidden=1000000, layers=100)", "its weights take .* GB"),
        ("projector", "mlp(layers=100000000)", "expected layers >= 2 and <= 100"),
    ],
)
def test_what_no_memory_holds_is_refused_without_trying(setting, value, says, data_root):
    with pytest.raises(UserError, match=says) as caught:
        check_trial(TrialConfig(images=100, batch_size=16, **{setting: value}))
    assert caught.value.field == setting
