"""One pass over both views against a pass per view."""

import copy

import pytest
import torch
from torch import nn

from trainer.encoders import make_encoder
from trainer.per_view import separate_views, separates_views
from trainer.projectors import make_projector


def networks(name):
    encoder = make_encoder(name, 3, 16)
    projector = make_projector("mlp(hidden=32, layers=3)", int(encoder.feature_dim), 8)
    return nn.Sequential(encoder, projector).double()  # BatchNorm of six values each multiplies the rounding of float32


@pytest.mark.parametrize("name", ["convnet(width=8)", "resnet18(width=4)", "resnet50(width=4)"])
def test_one_pass_gives_what_a_pass_per_view_gives(name):
    twice = networks(name)
    once = copy.deepcopy(twice)
    assert separates_views(once)
    separate_views(once)
    views = torch.randn(12, 3, 16, 16).double()
    expected = torch.cat([twice(view) for view in views.chunk(2)])
    given = once(views)
    torch.testing.assert_close(given, expected)
    weights = torch.randn_like(given)
    (expected * weights).sum().backward()
    (given * weights).sum().backward()
    for (name_of, ours), theirs in zip(once.named_parameters(), twice.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, msg=name_of)
    assert list(once.state_dict()) == list(twice.state_dict())
    for name_of, value in twice.state_dict().items():  # the running statistics among them
        torch.testing.assert_close(once.state_dict()[name_of], value, msg=name_of)
    torch.testing.assert_close(once.eval()(views), twice.eval()(views))


def test_views_that_one_batchnorm_sees_together_come_out_differently():
    plain = networks("convnet(width=8)")
    once = copy.deepcopy(plain)
    separate_views(once)
    views = torch.cat([torch.randn(6, 3, 16, 16), 3 + torch.randn(6, 3, 16, 16)]).double()
    assert (plain(views) - once(views)).abs().max() > 0.01


@pytest.mark.parametrize(
    "layer",
    [nn.SyncBatchNorm(4), nn.BatchNorm3d(4), nn.Dropout(0.1), type("Own", (nn.BatchNorm2d,), {})(4)],
    ids=lambda m: type(m).__name__,
)
def test_networks_that_mix_images_in_other_ways_keep_a_pass_per_view(layer):
    assert not separates_views(nn.Sequential(nn.Conv2d(3, 4, 1), layer))
    assert separates_views(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Dropout(0.0), nn.LayerNorm(4), nn.GroupNorm(2, 4)))
