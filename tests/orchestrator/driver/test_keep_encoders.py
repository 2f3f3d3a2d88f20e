"""Which encoders stay on the disk: those that are best by the metric that the sweep chooses by."""

import pytest

from orchestrator.driver.keep_encoders import EncoderKeeper
from results.record.ranking import best_per_dataset
from trainer.files import write_json

SPACE = """
trial: {epochs: 3, encoder: convnet(width=4), read_at: [2]}
space: {objective: [infonce], tau: [0.1, 0.3, 0.5], seed: [0, 1]}
"""


def set_figures(record, **metrics):
    """Give a finished trial other final metrics."""
    names = {name.replace("_", "/"): value for name, value in metrics.items()}
    write_json(record.folder / "result.json", {**record.result, "metrics": {**record.metrics, **names}})


@pytest.fixture
def finished(fake_sweep):
    """Six finished trials: by ``val/linear`` the first is best, by ``val/knn`` the last."""
    sweep = fake_sweep(space=SPACE)
    for index, digest in enumerate(sweep.digests):
        sweep.run(digest)
        set_figures(sweep.folder.read(digest), val_linear=90.0 - index, val_knn=70.0 + index)
    return sweep


@pytest.mark.parametrize(("metric", "kept"), [("val/linear", [0, 1]), ("val/knn", [4, 5])])
def test_the_best_by_the_sweeps_metric_are_kept_and_the_others_files_removed(finished, metric, kept):
    keeper = EncoderKeeper(2, metric, [])
    for digest in finished.digests:
        keeper.add(finished.folder.read(digest))
    assert [t.index for t in finished.folder.record.trials() if t.encoder is not None] == kept


def test_a_resumed_driver_keeps_what_the_first_one_kept(finished):
    trials = finished.folder.record.trials()
    EncoderKeeper(1, "val/knn", trials[:4])
    keeper = EncoderKeeper(1, "val/knn", finished.folder.record.trials()[:4])
    keeper.add(finished.folder.read(finished.digests[5]))
    keeper.add(finished.folder.read(finished.digests[4]))
    assert [t.index for t in finished.folder.record.trials() if t.encoder is not None] == [5]


@pytest.mark.parametrize("metric", ["val/linear", "val/knn"])
def test_mlflow_shows_just_those_that_are_kept(finished, metric):
    EncoderKeeper(3, metric, finished.folder.record.trials())
    trials = finished.folder.record.trials()
    assert {t.index for t in best_per_dataset(trials, metric, 3)} == {t.index for t in trials if t.encoder is not None}
