import pytest
import torch
import torchvision

from trainer import ConfigError, TrialConfig, UserError, run_trial
from trainer.encoders import check_features, count_parameters, make_encoder
from trainer.projectors import make_projector
from trainer.trial import check_trial


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50"])
def test_a_full_width_resnet_is_torchvisions(name):
    ours = make_encoder(f"{name}(stem='standard')", 3, 96).eval()
    theirs = getattr(torchvision.models, name)().eval()
    missing = theirs.load_state_dict(ours.state_dict(), strict=False)
    assert set(missing.missing_keys) == {"fc.weight", "fc.bias"}
    assert missing.unexpected_keys == []
    theirs.fc = torch.nn.Identity()
    x = torch.rand(2, 3, 96, 96)
    torch.testing.assert_close(ours(x), theirs(x), atol=1e-4, rtol=1e-4)
    assert ours.feature_dim == {"resnet18": 512, "resnet34": 512, "resnet50": 2048}[name]


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
    layers = list(make_projector("mlp", 512, 128))
    assert [type(m).__name__ for m in layers] == ["Linear", "BatchNorm1d", "ReLU", "Linear"]
    assert (layers[0].in_features, layers[0].out_features, layers[3].out_features) == (512, 512, 128)
    assert layers[0].bias is not None
    assert layers[3].bias is not None
    assert not layers[1].affine


@pytest.mark.slow
@pytest.mark.parametrize(("model", "width"), [("convnext_atto", 320), ("vit_tiny_patch16_224", 192)])
def test_timms_encoders_take_images_of_this_size(model, width):
    pytest.importorskip("timm")
    encoder = make_encoder(f"timm('{model}')", 3, 32)
    assert encoder.feature_dim == width
    assert encoder(torch.rand(2, 3, 32, 32)).shape == (2, width)


@pytest.mark.slow
def test_a_trial_trains_one_of_timms_encoders(data_root):
    pytest.importorskip("timm")
    config = TrialConfig(encoder="timm('test_resnet')", images=64, batch_size=32, epochs=1, precision="float32")
    assert config.digest == TrialConfig(**{**config.to_dict(), "encoder": "timm(model='test_resnet')"}).digest
    record = list(run_trial(config, threads=1, data_root=data_root))[-1].record
    assert record["metrics"]["test/linear"] > 10


def test_mistakes_in_timms_names_are_one_line():
    pytest.importorskip("timm")
    with pytest.raises(UserError, match="timm has no model 'convnext_atom'; did you mean 'convnext_atto'"):
        make_encoder("timm('convnext_atom')", 3, 32)
    with pytest.raises(ConfigError, match="encoder 'timm' needs 'model'"):
        TrialConfig(encoder="timm()")
    with pytest.raises(UserError, match="does not take images of 8×8"):
        make_encoder("timm('inception_v4')", 1, 8)


class Wrong(torch.nn.Module):
    def __init__(self, output, feature_dim):
        super().__init__()
        self.output = output
        if feature_dim is not None:
            self.feature_dim = feature_dim

    def forward(self, x):
        if self.output is None:
            raise RuntimeError("size mismatch")
        return torch.zeros(len(x), *self.output)


@pytest.mark.parametrize(
    ("module", "says"),
    [
        (Wrong((4,), None), "the encoder mine has no feature_dim"),
        (Wrong((4, 2, 2), 4), r"expected features of shape \(2, 4\) for 2 images, got \(2, 4, 2, 2\)"),
        (Wrong(None, 4), "cannot be run on 2 images of 3 × 8 × 8: RuntimeError: size mismatch"),
    ],
)
def test_an_encoder_whose_output_is_no_features_is_refused(module, says):
    with pytest.raises(UserError, match=says):
        check_features(module, "mine", 3, 8)


def test_it_is_refused_before_anything_is_computed(data_root, monkeypatch):
    from trainer.registry import REGISTRY, register

    register("encoder", {}, inputs=2, names=("wrong",))(lambda channels, size: Wrong((4, 2, 2), 4))
    try:
        with pytest.raises(ConfigError, match="expected features of shape") as caught:
            check_trial(TrialConfig(encoder="wrong"), data_root)
        assert caught.value.field == "encoder"
    finally:
        del REGISTRY["encoder"]["wrong"]
