"""Probing an encoder that exists, and writing one that torchvision loads."""

import json

import pytest
import torch
import torchvision

from trainer import TrialConfig, UserError, run_trial
from trainer.__main__ import main
from trainer.encoders import make_encoder
from trainer.pretrained import Pretrained, export

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def last_line(capsys):
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_a_pretrained_encoder_is_probed_to_the_same_figures(tmp_path, data_root, capsys):
    common = ["--dataset", "digits", "--images", "300", "--threads", "1"]
    files = {name: tmp_path / f"{name}.pt" for name in ("encoder", "checkpoint", "wrapped")}
    pretrained = [*common, "--epochs", "1", "--checkpoint", str(files["checkpoint"]), "--export", str(files["encoder"])]
    assert main(pretrained) == 0
    expected = last_line(capsys)
    weights = torch.load(files["encoder"], weights_only=True)
    torch.save({"state_dict": {f"module.{k}": v for k, v in weights.items()}}, files["wrapped"])
    digests = set()
    for file in files.values():
        assert main([*common, "--pretrained", str(file)]) == 0
        record = last_line(capsys)
        assert record["metrics"] == {k: v for k, v in expected["metrics"].items() if k.startswith(("val/", "test/"))}
        assert record["pretrained"]["file"] == file.name
        assert record["config"]["epochs"] == 0
        digests.add(record["digest"])
    # Nobody may take such a probe for that of the untrained encoder.
    assert not digests & {TrialConfig(dataset="digits", images=300, epochs=0).digest}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--pretrained", "{none}"], "cannot read the encoder {none}: No such file"),
        (["--pretrained", "{text}"], "cannot read the encoder {text}: "),
        (["--pretrained", "{odd}"], "{odd} holds no encoder; expected a state dict"),
        (["--pretrained", "{other}"], "the encoder {other} has no layers.0.0.weight; it does not suit encoder=auto"),
        (["--pretrained", "{wide}"], "has layers.0.0.weight of 64 × 1 × 3 × 3, expected 32 × 1 × 3 × 3"),
        (["--pretrained", "{nan}"], "holds numbers that are not finite, in layers.0.0.weight"),
        (["--pretrained", "{good}", "--epochs", "3"], "--epochs: expected epochs=0 with a pretrained encoder"),
        (["--pretrained", "{good}", "--checkpoint", "{new}"], "--checkpoint: there is nothing to go on from with --pretrained"),
        (["--epochs", "1", "--checkpoint", "{good}"], "the checkpoint is no trial's"),
    ],
)
def test_what_cannot_be_probed_is_one_clear_line(options, says, tmp_path, data_root, capsys):
    files = {name: str(tmp_path / name) for name in ("none", "text", "odd", "other", "wide", "nan", "good", "new")}
    (tmp_path / "text").write_text("no weights")
    torch.save([1, 2], files["odd"])
    torch.save(make_encoder("resnet18(width=4)", 3, 32).state_dict(), files["other"])
    torch.save(make_encoder("convnet(width=64)", 1, 8).state_dict(), files["wide"])
    good = make_encoder("convnet", 1, 8).state_dict()
    torch.save(good, files["good"])
    torch.save({**good, "layers.0.0.weight": good["layers.0.0.weight"] * float("nan")}, files["nan"])
    assert main(["--dataset", "digits", "--threads", "1", *(o.format(**files) for o in options)]) == 2
    error = capsys.readouterr().err
    assert says.format(**files) in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_an_exported_encoder_of_the_standard_stem_loads_strictly(name, tmp_path):
    ours = make_encoder(f"{name}(stem='standard')", 3, 96).to(memory_format=torch.channels_last).eval()
    line = export(ours, tmp_path / "e.pt")
    theirs = getattr(torchvision.models, name)()
    theirs.fc = torch.nn.Identity()
    theirs.load_state_dict(torch.load(tmp_path / "e.pt", weights_only=True), strict=True)
    x = torch.rand(2, 3, 96, 96)
    torch.testing.assert_close(theirs.eval()(x), ours(x), atol=1e-4, rtol=1e-4)
    assert f"torchvision.models.{name}()" in line
    back = make_encoder(f"{name}(stem='standard')", 3, 96)
    torch.save({**theirs.state_dict(), "fc.weight": torch.zeros(1000, 512)}, tmp_path / "t.pt")
    Pretrained(tmp_path / "t.pt").load_into(back, name, 96)
    torch.testing.assert_close(back.eval()(x), ours(x), atol=1e-4, rtol=1e-4)


def test_the_line_on_a_small_stem_is_code_that_loads_it(tmp_path):
    ours = make_encoder("resnet18", 3, 32).eval()
    line = export(ours, tmp_path / "e.pt")
    scope = {"torch": torch, "torchvision": torchvision}
    exec(line.partition(": ")[2].replace("; ", "\n"), scope)
    x = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(scope["model"].eval()(x), ours(x), atol=1e-4, rtol=1e-4)
    assert "width 8" in export(make_encoder("resnet18(width=8)", 3, 32), tmp_path / "n.pt")
    assert "not an encoder of torchvision's" in export(make_encoder("convnet", 1, 8), tmp_path / "c.pt")


def test_a_standard_stem_is_refused_for_small_images_with_a_hint(tmp_path):
    export(make_encoder("resnet18(stem='standard')", 3, 96), tmp_path / "e.pt")
    with pytest.raises(UserError, match=r"conv1\.weight of 64 × 3 × 7 × 7, expected 64 × 3 × 3 × 3; the stem differs"):
        Pretrained(tmp_path / "e.pt").load_into(make_encoder("resnet18", 3, 32), "resnet18", 32)


def test_pretraining_does_not_begin_with_a_pretrained_encoder(tmp_path, data_root):
    export(make_encoder("convnet", 1, 8), tmp_path / "e.pt")
    with pytest.raises(UserError, match="expected epochs=0"):
        next(run_trial(TrialConfig(dataset="digits"), pretrained=Pretrained(tmp_path / "e.pt")))
