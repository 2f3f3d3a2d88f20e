"""The best encoders as MLflow models, loaded as somebody without our code would."""

import json
import os
import subprocess
import sys
import warnings
from types import SimpleNamespace

import mlflow
import pytest
import torch

from orchestrator.tracking.addresses import tracking_uri
from orchestrator.tracking.exported_encoder import load_encoder, save_encoder
from orchestrator.tracking.models import log_best
from orchestrator.tracking.rebuild import rebuild
from orchestrator.tracking.tracker import Tracker
from results.record.ranking import best_per_dataset
from trainer.encoders import make_encoder
from trainer.errors import UserError

pytestmark = pytest.mark.slow

LOAD = """
import json, sys
import mlflow, torch
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pytorch.load_model(sys.argv[2])
images = torch.arange(5 * 64, dtype=torch.uint8).reshape(5, 1, 8, 8)
ours = [name for name in sys.modules if name.split('.')[0] in ('trainer', 'orchestrator', 'results')]
print(json.dumps({"features": model(images).tolist(), "ours": ours}))
"""


def test_the_best_by_the_held_out_images_are_logged_once_and_load_without_our_code(fake_sweep, tmp_path, holdings):
    sweep = fake_sweep()
    for digest in sweep.digests[:4]:
        sweep.run(digest)
    uri = tracking_uri(sweep.folder.record)
    trials = sweep.folder.record.trials()[:4]
    ranked = sorted(trials, key=lambda t: -t.result["metrics"]["val/linear"])
    assert [t.digest for t in best_per_dataset(trials, "val/linear", 2)] == [t.digest for t in ranked[:2]]
    rebuild(sweep.folder, uri, keep=2)
    held = holdings(uri)
    assert [key for *_, key in held["models"]] == sorted(t.digest for t in ranked[:2])
    assert held[ranked[0].digest]["tags"]["best encoder"] == "1 of 2 by val/linear"
    rebuild(sweep.folder, uri, keep=2)
    assert holdings(uri) == held

    client = mlflow.MlflowClient(uri)
    experiment = client.get_experiment_by_name("s").experiment_id
    (run,) = client.search_runs([experiment], f"tags.`alphacl.key` = '{ranked[0].digest}'")
    words = [sys.executable, "-c", LOAD, uri, f"runs:/{run.info.run_id}/encoder"]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["ours"] == []
    module, _ = load_encoder(ranked[0])
    with torch.no_grad():
        expected = module(torch.arange(5 * 64, dtype=torch.uint8).reshape(5, 1, 8, 8))
    torch.testing.assert_close(torch.tensor(told["features"]), expected)

    sweep.run(sweep.digests[4])  # what is better later takes the place of what was best
    better = sweep.folder.trials / sweep.digests[4] / "result.json"
    result = json.loads(better.read_text())
    result["metrics"]["val/linear"] = 99.9
    better.write_text(json.dumps(result))
    rebuild(sweep.folder, uri, keep=2)
    held = holdings(uri)
    assert [key for *_, key in held["models"]] == sorted([sweep.digests[4], ranked[0].digest])
    assert "best encoder" not in held[ranked[1].digest]["tags"]


def test_an_encoder_that_cannot_be_read_is_named_and_the_others_are_logged(fake_sweep, holdings):
    sweep = fake_sweep()
    for digest in sweep.digests[:2]:
        sweep.run(digest)
    uri = tracking_uri(sweep.folder.record)
    broken = sweep.folder.read(sweep.digests[0]).encoder
    broken.write_bytes(b"PK no longer")
    tracker = Tracker(sweep.folder, uri, keep=3)
    tracker.start()
    assert tracker.close("KILLED")
    assert f"{broken}: cannot read the encoder" in tracker.problem
    assert [key for *_, key in holdings(uri)["models"]] == [sweep.digests[1]]
    broken.unlink()
    assert best_per_dataset(sweep.folder.record.trials(), "val/linear", 3) == [sweep.folder.record.trials()[1]]
    assert log_best(tracker.store, sweep.folder.record.trials(), "val/linear", 3) == []


@pytest.mark.parametrize(("encoder", "size"), [("resnet18(width=4)", 32), ("resnet18(width=4)", 96)])
def test_encoders_of_image_folders_keep_their_stem(encoder, size, tmp_path):
    made = make_encoder(encoder, 3, size)
    config = {"dataset": "folder:/x", "encoder": encoder, "augmentation": "auto"}
    trial = SimpleNamespace(config=config, encoder=tmp_path / "encoder.pt")
    torch.save(made.to(memory_format=torch.channels_last).state_dict(), trial.encoder)  # as training leaves them
    module, example = load_encoder(trial)
    assert module.encoder.conv1.kernel_size == made.conv1.kernel_size
    assert example.shape == (2, 3, size, size)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="No complete tensor")
        save_encoder(module, example, tmp_path / "model")
    loaded = mlflow.pytorch.load_model(str(tmp_path / "model"))
    images = torch.randint(0, 256, (7, *example.shape[1:]), dtype=torch.uint8)
    with torch.no_grad():
        torch.testing.assert_close(loaded(images), module(images), rtol=1e-3, atol=1e-4)
    for other in ("convnet", "resnet18(width=65536)"):  # a stranger's width takes no memory before it is found not to fit
        config["encoder"] = other
        with pytest.raises(UserError, match="cannot read the encoder"):
            load_encoder(trial)
