"""A plug-in of every kind: the one of docs/plugins.md trains, and what a plug-in may get wrong is one line."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from trainer import UserError
from trainer.__main__ import main
from trainer.data import is_prepared, prepare
from trainer.image_sources import check_arrays
from trainer.plugins import load_plugin

pytestmark = pytest.mark.slow

DOCS = Path(__file__).resolve().parents[2] / "docs" / "plugins.md"
SETTINGS = {
    "dataset": "stripes", "encoder": "flat(width=16)", "projector": "square_root", "augmentation": "only_crops(least=0.3)",
    "optimiser": "plain", "epochs": 2, "batch_size": 32, "lr": 0.1,
}  # fmt: skip


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """Write a module that can be imported, the one of the docs where no text is given."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("ALPHACL_DATA", str(tmp_path / "data"))

    def put(text=None):
        text = text or re.search(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)[1]
        (tmp_path / "my_module.py").write_text(text, encoding="utf-8")

    return put


@pytest.fixture
def train(capsys):
    """Run ``python -m trainer`` in this process: settings → (exit code, standard output, standard error)."""

    def run(**settings):
        options = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
        code = main(["--plugin", "my_module", "--threads", "1", *options])
        return code, *capsys.readouterr()

    return run


def test_the_plugin_of_the_docs_trains_with_all_its_components(plugin, train):
    plugin()
    for objective in ("laplace(beta=2)", "hinge", "push_and_pull(weight=2)", "whitened"):
        code, out, err = train(objective=objective, **SETTINGS)
        assert code == 0, err
        record = json.loads(out.splitlines()[-1])
        assert record["metrics"]["test/linear"] > 60
        assert 0 <= record["metrics"]["test/nearest_mean"] <= 100
        assert -1 <= record["metrics"]["own/agreement"] <= 1


def test_it_can_be_searched_by_its_own_metric_and_probe(plugin, tmp_path, alphacl):
    plugin()
    text = "plugins: [my_module]\nsearch: {trials: 2, metric: METRIC}\nspace: {tau: {float: [0.1, 1]}}\n"
    for name, passes in (("own/agreement", True), ("val/nearest_mean", True), ("own/agrement", False)):
        (tmp_path / "s.yaml").write_text(text.replace("METRIC", name))
        code, _, err = alphacl("sweep", tmp_path / "s.yaml", "--dry-run")
        assert (code == 0) is passes, err
        assert passes or "s.yaml:2: expected metric to be one of" in err


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("return (view1 * view2).sum(dim=1).mean()", "return view1"), "the metric 'agreement' failed: RuntimeError: "),
        (("return (view1 * view2).sum(dim=1).mean()", "return 'much'"), "the metric 'agreement': expected a number, got 'much'"),
        (("return 100 * (torch", "return 1000 + (torch"), "the probe 'nearest_mean': expected an accuracy from 0 to 100 %"),
        (("def nearest_mean(", "def knn("), "the probe 'knn' of my_module is already defined in trainer.probe"),
        (("labels = rng.integers(0, 2", "labels = rng.integers(1, 3"), "expected labels 0 to K - 1 of at least 2 classes"),
        (("self.feature_dim = width", "self.feature_dim = 5"), "expected features of shape (2, 5) for 2 images, got (2, 16)"),
        (("return softmax(", "return -softmax("), "expected α >= 0"),
        (("dim=1)\n\n\n@loss", "dim=1)[:, 1:]\n\n\n@loss"), "expected α of shape (32, 30)"),
    ],
)
def test_what_a_plugin_gets_wrong_is_one_line(plugin, train, change, says):
    text = re.search(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)[1]
    assert change[0] in text
    plugin(text.replace(*change))
    code, out, err = train(objective="laplace", **SETTINGS)
    assert code == 2, out
    assert says in err.splitlines()[-1]
    assert "Traceback" not in err


def test_a_metric_that_raises_names_its_own_line(plugin, train):
    text = re.search(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)[1]
    plugin(text.replace("return (view1 * view2).sum(dim=1).mean()", "raise KeyError('agreed')"))
    code, _, err = train(objective="laplace", **SETTINGS)
    assert code == 2
    assert re.search(r"the metric 'agreement' failed: KeyError: 'agreed' \(my_module\.py:\d+, in agreement\)$", err.strip())


GOOD = {
    "train_images": np.zeros((6, 4, 4, 3), np.uint8), "train_labels": np.array([0, 1, 2, 0, 1, 2]),
    "test_images": np.zeros((3, 4, 4, 3), np.uint8), "test_labels": np.array([0, 1, 2]),
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"train_images": np.zeros((6, 4, 5, 3), np.uint8)},
            r"expected train_images to hold square .* \(6, 4, 5, 3\)",
        ),
        ({"train_images": np.zeros((6, 3, 4, 4), np.uint8)}, "expected train_images to hold square"),
        ({"test_images": np.zeros((3, 8, 8, 3), np.uint8)}, "expected test_images to hold .* alike in all splits"),
        ({"test_images": np.zeros((3, 4, 4, 3))}, "got float64"),
        ({"test_labels": np.array([0, 1])}, "expected test_labels to hold a whole number for each of 3 images"),
        ({"train_labels": np.array([1, 2, 3, 1, 2, 3])}, "expected labels 0 to K - 1"),
        ({"test_labels": np.array([0, 1, 7])}, "expected labels 0 to K - 1 .* in test_labels"),
        ({"train_labels": np.zeros(6)}, "got float64"),
        ({"train_labels": None}, "expected an array train_labels, got NoneType"),
        ({"extra": np.zeros(3)}, "no array 'extra' is known"),
    ],
)
def test_arrays_that_are_no_dataset_are_refused(change, says):
    check_arrays("mine", GOOD)
    with pytest.raises(UserError, match=says):
        check_arrays("mine", {**GOOD, **change})


def test_a_dataset_is_decoded_anew_when_its_source_has_changed(plugin, tmp_path, data_root):
    plugin()
    load_plugin("my_module")
    before = prepare("stripes")
    assert before.name.startswith("stripes-")
    assert is_prepared("stripes")
    source = tmp_path / "my_module.py"
    source.write_text(source.read_text(encoding="utf-8") + "\n# other stripes\n", encoding="utf-8")
    assert not is_prepared("stripes")
    assert prepare("stripes") != before
    assert prepare("digits").name == "digits"
