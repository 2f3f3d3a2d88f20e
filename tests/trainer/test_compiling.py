"""Which engine a step gets, and what becomes of training when the compiler is used, or fails."""

import pytest
import torch

from trainer import TrialConfig, compiling
from trainer.compiling import compiled, compiling_pays, engine_for
from trainer.numerics import Numerics
from trainer.pretrain import Pretrainer
from trainer.step import make_step

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def no_engine(monkeypatch):
    monkeypatch.delenv("ALPHACL_ENGINE", raising=False)


def test_a_cpu_runs_steps_as_they_are(monkeypatch):
    for asked in ("auto", "graph", "compile"):
        monkeypatch.setenv("ALPHACL_ENGINE", asked)
        assert engine_for(CPU, steps=10**9) == "eager"
    assert make_step(len, "graph", CPU) is len
    assert compiled(len, "graph") is len


def test_a_gpu_compiles_what_runs_long_or_often_and_captures_the_rest(no_engine, monkeypatch):
    monkeypatch.setattr(compiling, "has_compiler", lambda: True)
    assert engine_for(GPU, steps=20 * 390) == "graph"
    assert engine_for(GPU, steps=500 * 390) == "compile"
    assert engine_for(GPU, steps=100 * 390) == "graph"
    assert engine_for(GPU, steps=100 * 390, alike=70) == "compile"
    monkeypatch.setattr(compiling, "has_compiler", lambda: False)
    assert engine_for(GPU, steps=500 * 390) == "graph"


def test_what_pays_goes_on_paying_with_more_steps_and_with_more_trials():
    for alike in (1, 2, 10, 100):
        pays = [compiling_pays(steps, alike) for steps in (1_000, 10_000, 100_000, 1_000_000)]
        assert pays == sorted(pays)
        assert (pays[0], pays[-1]) == (False, True)
    assert [compiling_pays(20_000, alike) for alike in (1, 2, 10, 100)] == [False, False, True, True]


def test_an_engine_that_is_asked_for_is_taken_and_an_unknown_one_named(monkeypatch):
    for asked in ("eager", "graph"):
        monkeypatch.setenv("ALPHACL_ENGINE", asked)
        assert engine_for(GPU, steps=10**9) == asked
    monkeypatch.setenv("ALPHACL_ENGINE", "graphs")
    with pytest.warns(UserWarning, match="ALPHACL_ENGINE='graphs' is none of auto, eager, graph, compile"):
        assert engine_for(GPU) == "graph"
    monkeypatch.setenv("ALPHACL_ENGINE", "compile")
    monkeypatch.setattr(compiling, "has_compiler", lambda: False)
    with pytest.warns(UserWarning, match="needs triton; going on without the compiler"):
        assert engine_for(GPU) == "graph"


def pretrainer(monkeypatch, engine):
    monkeypatch.setattr("trainer.pretrain.engine_for", lambda *args: engine)
    config = TrialConfig(epochs=1, batch_size=16, encoder="convnet(width=4)", augmentation="none", projection_dim=8)
    images = torch.randint(0, 256, (48, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return Pretrainer(config, images, CPU, Numerics("float32", "contiguous"))


@pytest.mark.slow
def test_compiled_steps_train_as_eager_ones_do_with_both_views_in_one_pass(monkeypatch):
    """Inductor's own kernels, for a CPU."""
    eager, ours = (pretrainer(monkeypatch, engine) for engine in ("eager", "compile"))
    assert (eager.one_pass, ours.one_pass) == (False, True)
    losses = [trainer.train_epoch()["train/loss"] for trainer in (eager, ours)]
    assert ours.engine == "compile"
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    for name, value in eager.encoder.state_dict().items():
        torch.testing.assert_close(ours.encoder.state_dict()[name], value, atol=2e-3, rtol=1e-2, msg=name)


def test_a_compiler_that_fails_is_done_without(monkeypatch):
    def failing(function, engine):
        def raises(*args):
            raise torch._dynamo.exc.BackendCompilerFailed(len, RuntimeError("no such kernel"), None)

        return raises if engine == "compile" else function

    eager = pretrainer(monkeypatch, "eager")
    monkeypatch.setattr("trainer.pretrain.compiled", failing)
    ours = pretrainer(monkeypatch, "compile")
    with pytest.warns(UserWarning, match=r"the compiler failed \(.*; going on without it"):
        loss = ours.train_epoch()["train/loss"]
    assert ours.engine == "eager"
    assert loss == pytest.approx(eager.train_epoch()["train/loss"], rel=1e-5)


def test_an_error_of_the_step_itself_is_not_the_compilers(monkeypatch):
    ours = pretrainer(monkeypatch, "compile")
    monkeypatch.setattr(ours, "model", lambda views: (_ for _ in ()).throw(RuntimeError("CUDA out of memory")))
    monkeypatch.setattr(ours, "augment", lambda batch, *rest: batch.float())
    with pytest.raises(RuntimeError, match="CUDA out of memory"):
        ours.train_epoch()
    assert ours.engine == "compile"


def test_compiled_code_lies_beside_the_data_unless_the_user_says_where(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "/elsewhere")
    compiling.share_compiled_code(tmp_path)
    assert compiling.os.environ["TORCHINDUCTOR_CACHE_DIR"] == "/elsewhere"
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    compiling.share_compiled_code(tmp_path)
    assert compiling.os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "compiled")
