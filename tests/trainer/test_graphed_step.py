"""The CUDA graph of a step: when it is captured, what it is given, and what comes where it cannot be; with stand-ins for CUDA."""

import contextlib

import pytest
import torch

from trainer.step import GraphedStep

CPU = torch.device("cpu")


class Recorder:
    """Stands for CUDA's capture: what runs inside ``torch.cuda.graph`` is recorded, and replayed by doing it again."""

    def __init__(self, fails=False):
        self.captures, self.replays, self.fails, self.step = 0, 0, fails, None

    def replay(self):
        self.replays += 1
        for mine, fresh in zip(self.step.outputs, self.step.function(*self.step.inputs), strict=True):
            mine.copy_(fresh)

    @contextlib.contextmanager
    def graph(self, graph, stream, capture_error_mode):
        self.captures += 1
        if self.fails:
            raise RuntimeError("operation not permitted when stream is capturing\nand more")
        yield


@pytest.fixture
def recorded(monkeypatch):
    def make(**how):
        recorder = Recorder(**how)
        monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: recorder)
        monkeypatch.setattr(torch.cuda, "graph", recorder.graph)
        monkeypatch.setattr(GraphedStep, "_beside", lambda self, inputs: self.function(*inputs))
        monkeypatch.setattr(GraphedStep, "stream", None)
        return recorder

    return make


def test_a_graphed_step_is_captured_once_and_sees_every_input(recorded):
    recorder = recorded()
    step = recorder.step = GraphedStep(lambda x: (2 * x,), CPU)
    assert [step(torch.tensor(float(i)))[0].item() for i in range(10)] == [2.0 * i for i in range(10)]
    assert (recorder.captures, recorder.replays) == (1, 7)


def test_a_step_that_cannot_be_captured_goes_on_as_it_is(recorded):
    recorder = recorded(fails=True)
    step = GraphedStep(lambda x: (2 * x,), CPU)
    with pytest.warns(UserWarning, match="no CUDA graph .operation not permitted when stream is capturing."):
        assert [step(torch.tensor(float(i)))[0].item() for i in range(10)] == [2.0 * i for i in range(10)]
    assert (recorder.captures, recorder.replays) == (1, 0)


def test_what_failed_inside_a_capture_is_what_the_warning_says(recorded, monkeypatch):
    recorder = recorded()

    @contextlib.contextmanager
    def graph(graph, stream, capture_error_mode):
        try:
            yield
        except RuntimeError:
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture") from None

    monkeypatch.setattr(torch.cuda, "graph", graph)

    def function(x):
        if step.calls > 3:
            raise RuntimeError("CUDA out of memory. Tried to allocate 20 GiB")
        return (x,)

    step = recorder.step = GraphedStep(function, CPU)
    for _ in range(3):
        step(torch.zeros(1))
    with pytest.warns(UserWarning, match="no CUDA graph .CUDA out of memory"), contextlib.suppress(RuntimeError):
        step(torch.zeros(1))


class Cuda:
    """Stands for the part of ``torch.cuda`` that a captured step uses, and counts streams and devices."""

    def __init__(self, monkeypatch):
        self.streams, self.devices, self.captured_on = 0, [], []
        for name in ("Stream", "current_stream", "stream", "device", "graph", "CUDAGraph", "empty_cache"):
            monkeypatch.setattr(torch.cuda, name, getattr(self, name))

    def Stream(self, device):
        self.streams += 1
        return self

    CUDAGraph = replay = empty_cache = lambda self: None

    def wait_stream(self, other):
        pass

    def current_stream(self, device):
        return self

    @contextlib.contextmanager
    def stream(self, stream):
        yield

    @contextlib.contextmanager
    def device(self, device):
        self.devices.append(device)
        yield

    @contextlib.contextmanager
    def graph(self, graph, stream, capture_error_mode):
        self.captured_on.append((self.devices[-1], stream))
        yield


def test_warm_up_and_capture_use_one_stream_on_the_steps_own_gpu(monkeypatch):
    cuda, second = Cuda(monkeypatch), torch.device("cuda", 1)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: cuda)
    step = GraphedStep(lambda x: (x,), second)
    for _ in range(6):
        step(torch.zeros(1))
    assert cuda.streams == 1
    assert cuda.devices == [second] * 6
    assert cuda.captured_on == [(second, cuda)]
