"""What must hold for a step to run on a GPU without the host, as far as a CPU can show it.

A dispatch mode sees every operator of a step. With PyTorch's fake tensors the lines for CUDA run here too, all but the kernels:
devices are checked operator by operator, and whatever would need a value raises.
"""

import contextlib
import gc
import weakref

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from trainer import TrialConfig, augment, pretrain
from trainer.augment import apply, draw
from trainer.numerics import Numerics
from trainer.objectives import make_objective, objective_names
from trainer.pretrain import Pretrainer
from trainer.recipes import recipe_for
from trainer.step import (
    GraphedStep,
    be_deterministic,
    set_up_gpu,
    steps_before_steady,
    use_ieee_float32,
)
from trainer.trial import _device

CPU = torch.device("cpu")
# Operators by which the host waits for the device, or a tensor is made from the host's numbers and copied over.
HOST = {"_local_scalar_dense", "item", "is_nonzero", "equal", "nonzero", "masked_select", "unique_dim", "_unique2", "lift_fresh"}
OBJECTIVES = [name for name in objective_names() if name not in ("alpha_of", "formula")] + [
    "alpha_of(infonce)", "infonce(eps=0)", "adnce(eps=1)", "formula(alpha='exp(-d2**(p/2)/tau)*(1 + c*s)', p=4, c=0.5)",
    "formula(phi='tau*log(1 + x)', psi='exp(x/tau) + 0.1')",
]  # fmt: skip


class Watch(TorchDispatchMode):
    """Collects the operators that :data:`HOST` names, and copies from one device to another."""

    def __init__(self):
        super().__init__()
        self.seen, self.operators = [], 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        name = function.overloadpacket.__name__
        self.operators += 1
        tensors = [t for t in args if isinstance(t, torch.Tensor)]
        moved = isinstance(out, torch.Tensor) and any(t.device != out.device and t.ndim for t in tensors)
        if name in HOST or moved:
            self.seen.append(name)
        return out


def pretrainer(objective="infonce", device=CPU, size=8, **changes):
    settings = {"epochs": 1, "batch_size": 16, "objective": objective, "encoder": "resnet18(width=4)", **changes}
    images = torch.zeros(64, 3, size, size, dtype=torch.uint8, device="cpu")
    layout = "channels_last" if device.type == "cuda" else "contiguous"  # see trainer.numerics.kernel_block
    return Pretrainer(TrialConfig(**settings), images, device, Numerics("float32", layout), budget=1e12)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_step_never_asks_for_a_value(objective, monkeypatch):
    monkeypatch.setattr(augment, "_shift_chosen", augment._shift_all)  # a CPU counts the images whose hue it shifts
    trainer = pretrainer(objective)
    batches, parameters = trainer.batches(), trainer.parameters()
    trainer.train_step(next(batches), next(parameters), 0)  # constants are made in the first
    batch, drawn = next(batches), next(parameters)
    with Watch() as watch:
        trainer.train_step(batch, drawn, 1)
    assert watch.operators > 300
    assert watch.seen == []


@contextlib.contextmanager
def pretending_cuda(monkeypatch):
    """Fake tensors that say they are on a GPU; its generator, and its autograd threads, cannot be had without a driver."""
    augment._kept_constant.cache_clear()
    fake = FakeTensorMode()  # before anything is patched: the first one imports the compiler
    generator, build = torch.Generator, pretrain.build

    def build_there(*args):
        with torch.device("cuda", 0):
            return build(*args)

    monkeypatch.setattr(pretrain, "build", build_there)
    monkeypatch.setattr(torch.nn.Module, "to", lambda self, *args, **kwargs: self)  # fake parameters can't be moved
    monkeypatch.setattr(torch, "Generator", lambda device=None: generator())
    monkeypatch.setattr(torch.Tensor, "backward", lambda self: None)
    try:
        with fake:
            yield
    finally:
        augment._kept_constant.cache_clear()


@pytest.mark.parametrize("objective", [name for name in OBJECTIVES if not name.startswith("alpha_of")])  # it runs autograd
def test_an_objective_stays_on_its_device(objective, monkeypatch):
    made = make_objective(objective, 0.5)
    with pretending_cuda(monkeypatch):
        views = [torch.empty(8, 4, device="cuda") for _ in range(2)]
        with Watch() as watch:
            assert made(*views).device.type == "cuda"
    assert watch.operators > 5
    assert watch.seen == []


@pytest.mark.slow
@pytest.mark.parametrize("shuffle", [True, False])
def test_an_epoch_stays_on_its_device(shuffle, monkeypatch):
    with pretending_cuda(monkeypatch):
        trainer = pretrainer("infonce", torch.device("cuda", 0), size=32, augmentation="stl10", shuffle=shuffle)
        assert isinstance(trainer.step, GraphedStep)
        trainer.step = trainer._step  # the graph needs a driver
        first = next(zip(trainer.batches(), trainer.parameters(), strict=True))
        trainer.train_step(*first, 0)
        with Watch() as watch:
            total = torch.zeros((), device=trainer.device)
            for step, (batch, drawn) in enumerate(zip(trainer.batches(), trainer.parameters(), strict=True)):
                loss, *seen = trainer.train_step(batch, drawn, step)
                total += loss
        assert step == 3
        assert {t.device.type for t in (total, batch, *drawn[0], *drawn[1], *seen)} == {"cuda"}
    assert watch.operators > 1000
    assert watch.seen == []


def test_the_watch_sees_what_it_is_for(monkeypatch):
    with pretending_cuda(monkeypatch), Watch() as watch:
        torch.tensor([1.0, 2.0], device="cuda")
        torch.zeros(3, device="cuda").cpu()
        with pytest.raises(Exception, match=r"item|data-dependent|_local_scalar_dense"):
            torch.zeros(3, device="cuda").sum().item()
    assert "lift_fresh" in watch.seen or "_to_copy" in watch.seen
    assert "_to_copy" in watch.seen


def test_both_ways_of_shifting_hue_agree(seed):
    x, chosen, shift = torch.rand(12, 3, 6, 6), torch.rand(12) < 0.5, torch.rand(12) - 0.5
    assert torch.equal(augment._shift_all(chosen, x, shift), augment._shift_chosen(chosen, x, shift))


@pytest.mark.slow
def test_augmentation_and_model_can_be_captured_whole_by_the_compiler(monkeypatch, seed):
    """No graph break and the same numbers, with the front ends that Inductor has; Inductor's kernels need a compiler."""
    monkeypatch.setattr(augment, "_shift_chosen", augment._shift_all)
    batch = torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8)
    recipe = recipe_for("stl10", "", 32)
    p = draw(recipe, 8, 32, torch.Generator().manual_seed(seed))
    whole = torch.compile(apply, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(whole(batch, p, recipe), apply(batch, p, recipe), atol=1e-5, rtol=0)
    trainer = pretrainer(size=32)
    views = torch.cat([apply(batch, p, recipe), apply(batch.flip(0), p, recipe)])
    model = torch.compile(trainer._embed_views, fullgraph=True, backend="aot_eager")
    for ours, theirs in zip(model(views), trainer._embed_views(views), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("engine", ["eager", "graph"])
def test_a_trainer_is_no_reference_cycle_so_its_memory_goes_with_it(engine, monkeypatch):
    monkeypatch.setenv("ALPHACL_ENGINE", engine)
    with pretending_cuda(monkeypatch) if engine == "graph" else contextlib.nullcontext():
        trainer = pretrainer("infonce", torch.device("cuda", 0) if engine == "graph" else CPU, size=32)
        assert isinstance(trainer.step, GraphedStep) == (engine == "graph")
        if engine == "eager":
            trainer.train_epoch()
        gone = weakref.ref(trainer.encoder)
        gc.collect()
        gc.disable()
        try:
            del trainer
            assert gone() is None
        finally:
            gc.enable()


@contextlib.contextmanager
def usual_precision():
    """Bring the switches of a GPU's float32 back to what they were when the block ends."""
    cuda, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = cudnn.allow_tf32, cuda.fp32_precision, cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision
    try:
        yield
    finally:
        cudnn.allow_tf32, cuda.fp32_precision, cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision = before


@pytest.mark.parametrize(("name", "number"), [("cuda", 0), ("cuda:1", 1)])
def test_a_trials_gpu_is_set_up_by_its_number(name, number, monkeypatch):
    """PyTorch's own functions, with stand-ins for what asks the driver: they refuse a GPU that has no number."""
    called = []
    for module in (torch.cuda, torch.cuda.memory):
        monkeypatch.setattr(module, "_lazy_init", lambda: None)
    monkeypatch.setattr(torch.cuda, "_check_stray_context", lambda device: None)
    monkeypatch.setattr(torch._C, "_cuda_setDevice", lambda device: called.append(("device", device)))
    monkeypatch.setattr(torch._C, "_cuda_setMemoryFraction", lambda *given: called.append(given))
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    with FakeTensorMode():
        device = _device(name)
    with usual_precision():
        set_up_gpu(device, 0.25)
        assert torch.backends.cudnn.benchmark
    assert called == [("device", number), (0.25, number)]


def test_float32_means_float32_and_determinism_fills_nothing(monkeypatch):
    with usual_precision():
        use_ieee_float32()
        assert (torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision) == ("ieee", "ieee")
        # The older switches say the same: where they differ PyTorch raises when one is read, as Inductor may.
        assert (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32) == (False, False)
    deterministic, fill = torch.are_deterministic_algorithms_enabled(), torch.utils.deterministic.fill_uninitialized_memory
    try:
        be_deterministic()
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.utils.deterministic.fill_uninitialized_memory is False
    finally:
        torch.use_deterministic_algorithms(deterministic)
        torch.utils.deterministic.fill_uninitialized_memory = fill


def test_a_probe_embeds_fewer_images_at_a_time_where_they_are_larger():
    gpu = torch.device("cuda")
    assert [pretrain.embed_batch(gpu, size) for size in (8, 32, 64, 96, 224)] == [2048, 2048, 512, 227, 41]
    assert pretrain.embed_batch(CPU, 96) == 128


def test_speed_is_judged_by_replays():
    assert (steps_before_steady("eager"), steps_before_steady("graph")) == (1, 4)
