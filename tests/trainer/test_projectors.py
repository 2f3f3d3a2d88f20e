"""Projectors: shapes, layers, what a digest knows of them, probes of their output."""

import pytest
import torch
from torch import nn

from trainer import ConfigError, TrialConfig, run_trial
from trainer.metrics import METRICS, SEARCHABLE
from trainer.projectors import make_projector


@pytest.mark.parametrize(
    ("text", "layers"),
    [
        ("mlp", [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear]),
        ("mlp(hidden=1024, norm=False)", [nn.Linear, nn.ReLU, nn.Linear]),
        ("mlp(layers=3)", [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear]),
    ],
)
def test_an_mlp_is_built_as_it_is_called(text, layers):
    module = make_projector(text, 64, 16)
    assert [type(layer) for layer in module] == layers
    assert module[0].out_features == (1024 if "1024" in text else 64)
    assert module(torch.rand(4, 64)).shape == (4, 16)


def test_linear_and_none():
    assert make_projector("linear", 64, 16)(torch.rand(4, 64)).shape == (4, 16)
    assert make_projector("none", 64, 16)(torch.rand(4, 64)).shape == (4, 64)
    assert TrialConfig(projector="none", projection_dim=32) == TrialConfig(projector="none")


def test_digests_and_mistakes():
    assert TrialConfig(projector="mlp(layers=2)").digest == TrialConfig().digest
    assert TrialConfig(projector="mlp(hidden=64)").digest != TrialConfig().digest
    for text, says in (
        ("mpl", "did you mean 'mlp'"),
        ("mlp(layers=1)", "expected layers >= 2"),
        ("linear(x=1)", "it takes none"),
    ):
        with pytest.raises(ConfigError, match=says):
            TrialConfig(projector=text)


@pytest.mark.slow
@pytest.mark.parametrize("projector", ["mlp(hidden=16, norm=False)", "linear", "none"])
def test_the_projectors_output_is_probed_beside_the_features_and_named_apart(projector, data_root):
    config = TrialConfig(epochs=1, images=200, batch_size=64, projector=projector, probe_projector=True, projection_dim=8)
    record = list(run_trial(config, threads=1, data_root=data_root))[-1].record
    names = {f"{split}/{probe}_projector" for split in ("val", "test", "untrained") for probe in ("linear", "knn")}
    assert names <= record["metrics"].keys()
    for name in names:
        same = record["metrics"][name] == record["metrics"][name.removesuffix("_projector")]
        assert same or projector != "none", name
    plain = list(run_trial(TrialConfig(epochs=1, images=200, batch_size=64, projector=projector, projection_dim=8), threads=1))
    assert plain[-1].record["metrics"]["test/linear"] == record["metrics"]["test/linear"]
    assert not any("projector" in name for name in plain[-1].record["metrics"])


def test_its_metrics_can_be_searched_by():
    assert {"val/linear_projector", "val/knn_projector"} <= set(SEARCHABLE)
    assert METRICS["test/linear_projector"].is_column
