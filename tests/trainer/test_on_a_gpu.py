"""Tests what only a GPU can show: captured and compiled steps, whole trials, streaming, determinism, memory."""

import json
import subprocess
import sys

import pytest
import torch

from trainer import TrialConfig
from trainer.files import load_checkpoint, save_checkpoint
from trainer.image_store import Store
from trainer.numerics import Numerics
from trainer.objectives import objective_names
from trainer.pretrain import Pretrainer
from trainer.step import be_deterministic, set_up_gpu
from trainer.trial import run_trial

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here: what runs on one is not shown")

OBJECTIVES = [name for name in objective_names() if name not in ("alpha_of", "formula")] + [
    "alpha_of(infonce)", "formula(alpha='exp(-d2**(p/2)/tau)*(1 + c*s)', p=4, c=0.5)",
]  # fmt: skip
GPU = torch.device("cuda", 0)


@pytest.fixture
def deterministic():
    """Ask for kernels that give the same bits: a ReLU turned over by rounding moves a small batch's gradient by a thousandth."""
    set_up_gpu(GPU)
    be_deterministic()
    yield
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.deterministic = False


def pretrainer(objective="infonce", precision="float32", budget=1e12, images=160, **changes):
    settings = {"epochs": 3, "batch_size": 16, "objective": objective, "encoder": "resnet18(width=8)", "lr": 1e-4, **changes}
    pixels = torch.randint(0, 256, (images, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return Pretrainer(TrialConfig(**settings), pixels, GPU, Numerics(precision, "channels_last"), budget=budget)


def losses(trainer, epochs=3):
    return [trainer.train_epoch()["train/loss"] for _ in range(epochs)]


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.filterwarnings("error:no CUDA graph")
def test_every_objective_is_captured_and_trains_as_the_eager_step_does(objective, monkeypatch, deterministic):
    seen = {}
    for engine in ("eager", "graph"):
        monkeypatch.setenv("ALPHACL_ENGINE", engine)
        trainer = pretrainer(objective)
        seen[engine] = losses(trainer, 2)
    assert trainer.step.graph is not None
    assert seen["graph"] == pytest.approx(seen["eager"], rel=1e-6)


@pytest.mark.filterwarnings("error:no CUDA graph", "error:the compiler failed")
@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("objective", ["infonce", "direct(p=4)"])
def test_compiled_steps_train_as_eager_ones_do(precision, objective, monkeypatch):
    seen = {}
    for engine in ("eager", "compile"):
        monkeypatch.setenv("ALPHACL_ENGINE", engine)
        trainer = pretrainer(objective, precision, optimiser="sgd(momentum=0)", lr=1e-3)
        seen[engine] = losses(trainer)
    assert trainer.engine == "compile"
    assert seen["compile"] == pytest.approx(
        seen["eager"], rel=1e-3 if precision == "float32" else 2e-2, abs=1e-4 if precision == "float32" else 1e-3
    )


@pytest.mark.parametrize("optimiser", ["adam", "adamw", "sgd", "lars"])
def test_a_trial_runs_from_its_configuration_to_its_record_and_can_be_resumed(optimiser, data_root, tmp_path):
    """As a worker runs it; what is resumed differs by the order of a GPU's additions alone."""
    config = TrialConfig(epochs=2, batch_size=64, optimiser=optimiser, warmup=1, probe="paper")
    for report in run_trial(config, device="cuda", gpu_share=0.5):
        if report.epoch == 1:
            save_checkpoint(tmp_path / "c.pt", report.state())
    (last,) = run_trial(config, device="cuda", gpu_share=0.5, resume=load_checkpoint(tmp_path / "c.pt"))
    assert report.record["environment"]["device"].startswith("cuda: ")
    assert last.metrics["train/loss"] == pytest.approx(report.metrics["train/loss"], rel=1e-2)
    assert last.metrics["test/linear"] == pytest.approx(report.metrics["test/linear"], abs=5)


@pytest.mark.parametrize("engine", ["eager", "graph"])
def test_images_streamed_from_memory_train_as_those_that_live_on_the_gpu_do(engine, monkeypatch, deterministic):
    monkeypatch.setenv("ALPHACL_ENGINE", engine)
    resident, streamed = pretrainer(budget=1e12, images=1600), pretrainer(budget=0, images=1600)
    assert (resident.images.resident is None, streamed.images.resident is None) == (False, True)
    assert losses(streamed) == pytest.approx(losses(resident), rel=1e-6)


def test_streamed_batches_are_those_asked_for_while_the_gpu_is_busy():
    pixels = torch.randint(0, 256, (4000, 3, 32, 32), dtype=torch.uint8)
    order = torch.randperm(4000)
    work = torch.rand(2000, 2000, device=GPU)
    kept = []
    for batch in Store(pixels, GPU, budget=0).batches(order, 64):
        for _ in range(10):
            work = work @ work / 1000
        kept.append(batch.clone())  # in the stream of the steps, behind the products
    assert torch.equal(torch.cat(kept).cpu(), pixels[order])


def test_a_deterministic_trial_gives_the_same_bits_twice(data_root, tmp_path):
    """The kernels are chosen before the first use of a GPU, so each run has a process of its own."""
    command = [sys.executable, "-m", "trainer", "--encoder", "resnet18(width=8)", "--epochs", "3", "--batch-size", "64"]
    command += ["--probe-every", "1", "--deterministic", "--device", "cuda", "--data-dir", str(data_root)]

    def metrics(name):
        done = subprocess.run([*command, "--record", str(tmp_path / name)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        kept = json.loads((tmp_path / name).read_text())["history"]
        return [{key: value for key, value in row.items() if not key.startswith("time/")} for row in kept]

    first, second = metrics("a.json"), metrics("b.json")
    assert first == second


def test_trials_after_one_another_take_no_more_memory_than_one(data_root):
    held = []
    for seed in range(4):
        config = TrialConfig(epochs=1, batch_size=64, encoder="resnet18(width=16)", seed=seed)
        list(run_trial(config, device="cuda"))
        held.append(torch.cuda.memory_reserved(GPU))
    assert max(held) <= 1.1 * held[0]


def test_a_checkpoint_goes_on_with_the_same_random_numbers(deterministic):
    whole = pretrainer()
    expected = losses(whole)
    first = pretrainer()
    losses(first, 2)
    second = pretrainer()
    second.load_state_dict(first.state_dict())
    assert losses(second, 1) == pytest.approx(expected[2:], rel=1e-6)
