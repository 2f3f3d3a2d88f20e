import pytest
import torch
import torchvision

from trainer.encoders import count_parameters, make_encoder, make_projector


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_a_full_width_resnet_is_torchvisions(name):
    ours = make_encoder(f"{name}(stem='standard')", 3, 96).eval()
    theirs = getattr(torchvision.models, name)().eval()
    missing = theirs.load_state_dict(ours.state_dict(), strict=False)
    assert set(missing.missing_keys) == {"fc.weight", "fc.bias"}
    assert missing.unexpected_keys == []
    theirs.fc = torch.nn.Identity()
    x = torch.rand(2, 3, 96, 96)
    torch.testing.assert_close(ours(x), theirs(x), atol=1e-4, rtol=1e-4)
    assert ours.feature_dim == {"resnet18": 512, "resnet50": 2048}[name]


def test_the_stem_follows_the_image_size():
    small, standard = make_encoder("auto", 3, 32), make_encoder("auto", 3, 96)
    assert small.conv1.kernel_size == (3, 3)
    assert small.conv1.stride == (1, 1)
    assert isinstance(small.maxpool, torch.nn.Identity)
    assert standard.conv1.kernel_size == (7, 7)
    assert make_encoder("resnet18(stem='small', width=8)", 3, 96).conv1.kernel_size == (3, 3)


def test_width_scales_the_encoder():
    narrow, full = make_encoder("resnet18(width=16)", 3, 32), make_encoder("resnet18", 3, 32)
    assert narrow.feature_dim == 128
    assert count_parameters(full) / count_parameters(narrow) == pytest.approx(16, rel=0.05)


def test_auto_takes_the_convnet_for_tiny_images():
    encoder = make_encoder("auto", 1, 8)
    assert encoder(torch.rand(4, 1, 8, 8)).shape == (4, encoder.feature_dim)


def test_the_projector_is_the_protocols():
    layers = list(make_projector(512, 128))
    assert [type(m).__name__ for m in layers] == ["Linear", "BatchNorm1d", "ReLU", "Linear"]
    assert (layers[0].in_features, layers[0].out_features, layers[3].out_features) == (512, 512, 128)
    assert layers[0].bias is not None
    assert layers[3].bias is not None
    assert not layers[1].affine
