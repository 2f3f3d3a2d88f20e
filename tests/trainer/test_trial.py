import itertools
import time

import pytest
import torch

from trainer import TrialConfig, TrialDiverged, run_trial
from trainer.pretrain import Pretrainer

pytestmark = pytest.mark.slow

SMALL = {"dataset": "digits", "images": 300, "epochs": 3, "batch_size": 64}


def figures(reports):
    return [{k: v for k, v in r.metrics.items() if not k.startswith("time/")} for r in reports]


def test_reports_and_metrics(data_root, monkeypatch):
    clock = itertools.count(2e9, -3600)  # is set back an hour whenever somebody looks
    monkeypatch.setattr(time, "time", lambda: next(clock))
    reports = list(run_trial(TrialConfig(**SMALL, read_at=[2]), threads=1))
    assert [r.epoch for r in reports] == [0, 1, 2, 3]
    assert [r.final for r in reports] == [False, False, False, True]
    assert {"val/linear", "val/knn", "untrained/linear", "untrained/knn"} == set(reports[0].metrics)
    assert "test/linear" not in reports[1].metrics  # the test set is read where asked, and at the end
    assert "test/linear" in reports[2].metrics
    assert {"train/loss", "time/epoch_s", "val/linear", "val/knn", "test/linear", "test/knn"} <= set(reports[3].metrics)
    record = reports[3].record
    assert record["metrics"]["untrained/linear"] == reports[0].metrics["untrained/linear"]
    assert record["config"] == TrialConfig(**SMALL, read_at=[2]).to_dict()
    assert 0 < record["seconds"] < 1000
    assert reports[1].state()["seconds"] > 0


def test_the_same_seed_gives_the_same_figures_and_another_does_not(data_root):
    first, again, other = (figures(run_trial(TrialConfig(**SMALL, seed=s), threads=1)) for s in (0, 0, 1))
    assert first == again
    assert first[-1]["train/loss"] != other[-1]["train/loss"]


def test_a_resumed_trial_equals_an_undisturbed_one_to_the_bit(data_root, tmp_path):
    config = TrialConfig(**SMALL, objective="direct(p=4)")
    whole = list(run_trial(config, threads=1))
    for stop in range(4):
        torch.save(next(r for r in run_trial(config, threads=1) if r.epoch == stop).state(), tmp_path / "c.pt")
        state = torch.load(tmp_path / "c.pt", weights_only=True)
        rest = list(run_trial(config, resume=state, threads=1))
        assert figures(rest) == figures(whole)[min(stop + 1, 3) :]
        history = [{k: v for k, v in row.items() if not k.startswith("time/")} for row in rest[-1].record["history"]]
        assert history == [{"epoch": e, **f} for e, f in enumerate(figures(whole))]


def test_no_epochs_probe_the_untrained_encoder(data_root):
    reports = list(run_trial(TrialConfig(**{**SMALL, "epochs": 0}), threads=1))
    assert len(reports) == 1
    assert reports[0].final
    pretrained = next(iter(run_trial(TrialConfig(**SMALL), threads=1)))
    assert reports[0].metrics["test/linear"] == pretrained.metrics["untrained/linear"]


def test_pretraining_on_digits_beats_the_untrained_encoder(data_root):
    final = list(run_trial(TrialConfig(dataset="digits", epochs=8), threads=1))[-1].metrics
    record = list(run_trial(TrialConfig(dataset="digits", epochs=0), threads=1))[-1].metrics
    assert final["test/knn"] > record["test/knn"] + 2
    assert final["test/linear"] > record["test/linear"]


def test_a_folder_of_images_with_a_narrow_resnet(data_root, image_tree):
    config = TrialConfig(
        dataset=f"folder:{image_tree}", encoder="resnet18(width=8)", epochs=1, batch_size=32, objective="entropy"
    )
    final = list(run_trial(config, threads=1))[-1]
    assert 0 <= final.metrics["test/linear"] <= 100
    assert final.record["environment"]["precision"] in ("bf16", "float32")


def test_it_leaves_the_global_random_state_alone(data_root):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    list(run_trial(TrialConfig(**{**SMALL, "epochs": 1}), threads=1))
    assert torch.equal(torch.rand(3), expected)


def test_the_papers_probe_is_reported_under_its_own_name(data_root):
    settings = {"dataset": "digits", "images": 300, "epochs": 2, "batch_size": 64, "read_at": [1]}
    reports = list(run_trial(TrialConfig(**settings, probe="paper"), threads=1))
    assert "untrained/linear_paper" in reports[0].metrics
    assert all({"test/linear", "test/linear_paper"} <= set(r.metrics) for r in reports[1:])
    exact = list(run_trial(TrialConfig(**settings), threads=1))
    assert exact[-1].metrics["test/linear"] == reports[-1].metrics["test/linear"]
    assert "test/linear_paper" not in exact[-1].metrics
    assert reports[-1].record["protocol"] == "mixed"
    assert exact[-1].record["protocol"] == "default"


def test_features_that_are_no_numbers_end_the_trial(data_root, monkeypatch):
    """A last step can spoil the weights after the epoch's last loss was computed: no probe of them may be reported."""
    train_epoch = Pretrainer.train_epoch

    def spoil(self):
        metrics = train_epoch(self)
        with torch.no_grad():
            next(self.encoder.parameters()).fill_(float("nan"))
        return metrics

    monkeypatch.setattr(Pretrainer, "train_epoch", spoil)
    with pytest.raises(TrialDiverged, match="diverged in epoch 1: the encoder's features of the train images are not finite"):
        list(run_trial(TrialConfig(**SMALL), threads=1))
