"""Ways to run a training step: as it is, captured in a CUDA graph, or compiled (:mod:`trainer.compiling`) and captured.

A step is a function of tensors to tensors whose shapes never change and which never asks the device for a value. So it can be
recorded once and replayed without the host: one launch in place of about two thousand. What a device cannot do falls back
to the step as it is, with a warning; the metrics are the same but for rounding.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import os
import sys
import warnings
import weakref
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
# Activations of the first two stages of a ResNet-18 are larger: 128 images, 64 × 32 × 32 and 128 × 16 × 16 in bf16.
LARGE_TENSOR_BYTES = 8_000_000
WARM_UP = 3  # steps before the capture, in which kernels are chosen and the optimiser's state is made

Tensors = tuple[Tensor, ...]
Function = Callable[..., Tensors]
T = TypeVar("T")


class GraphedStep:
    """A training step that is captured in a CUDA graph after a few runs, and replayed from then on.

    The first ``WARM_UP`` calls train as the later ones do. Tensors that it returns are overwritten by the next call.

    Args:
        function: the step; it must leave everything it changes (weights, BatchNorm's statistics, the optimiser's state) at the
            same address.
        device: the GPU.
    """

    def __init__(self, function: Function, device: torch.device) -> None:
        self.function, self.device = function, device
        self.calls = 0
        self.graph: torch.cuda.CUDAGraph | None = None
        self.inputs: Tensors = ()
        self.groups: list[list[int]] = []  # inputs of one type, which one kernel copies
        self.outputs: Tensors = ()

    def __call__(self, *inputs: Tensor) -> Tensors:
        self.calls += 1
        with self._on_device():
            if self.graph is None and self.calls > WARM_UP:
                self._capture(inputs)
            if self.graph is None:
                return self._beside(inputs)
            for indexes in self.groups:
                torch._foreach_copy_([self.inputs[i] for i in indexes], [inputs[i] for i in indexes])
            self.graph.replay()
            return self.outputs

    def _on_device(self) -> contextlib.AbstractContextManager[object]:
        """Make the step's GPU the current one, on which ``torch.cuda.graph`` captures."""
        return torch.cuda.device(self.device) if self.device.type == "cuda" else contextlib.nullcontext()

    @property
    def stream(self) -> torch.cuda.Stream:
        """Return the stream of warm-up and capture, the same for all trials of a process."""
        return _stream_of(self.device)

    def _beside(self, inputs: Tensors) -> Tensors:
        """A run on a stream of its own, as CUDA asks of what is to be captured later."""
        self.stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self.stream):
            outputs = self.function(*inputs)
        torch.cuda.current_stream(self.device).wait_stream(self.stream)
        return outputs

    def _capture(self, inputs: Tensors) -> None:
        """Record the step; nothing is computed. Where that fails, steps go on as they are."""
        self.inputs = tuple(t.clone() for t in inputs)
        by_type: dict[torch.dtype, list[int]] = {}
        for index, tensor in enumerate(inputs):
            by_type.setdefault(tensor.dtype, []).append(index)
        self.groups = list(by_type.values())
        graph = torch.cuda.CUDAGraph()
        try:
            # Other threads may pin memory meanwhile.
            with torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"):
                self.outputs = self.function(*self.inputs)
            self.graph = graph
        except RuntimeError as error:
            cause = error.__context__ or error  # the end of a capture that failed hides what failed in it
            reason = (str(cause).splitlines() or [type(cause).__name__])[0]
            warnings.warn(f"no CUDA graph ({reason}); steps are launched one kernel at a time", stacklevel=2)
            self.calls, self.inputs, self.groups, self.outputs = -(2**62), (), [], ()
            torch.cuda.empty_cache()  # what the capture had taken


@functools.cache
def _stream_of(device: torch.device) -> torch.cuda.Stream:
    """Return the one stream of a GPU that steps are captured on.

    The allocator keeps memory for each stream, and cuBLAS a workspace that is never given back: a stream for each trial took
    69 MB more with every trial (H200, four trials of a ResNet-18 of width 16: 0.89 GB held after the first, 1.09 after the last).
    """
    return torch.cuda.Stream(device)


def steps_before_steady(engine: str) -> int:
    """Return how many steps of a new trainer tell nothing of its speed: those that choose kernels, warm up and capture."""
    return WARM_UP + 1 if engine in ("graph", "compile") else 1


def with_number(device: torch.device) -> torch.device:
    """Return a device that is there; a GPU with its number, without which PyTorch sets nothing of it.

    Raises:
        RuntimeError, AssertionError: if there is no such device.
    """
    return torch.empty(0, device=device).device


def set_up_gpu(device: torch.device, share: float = 1.0) -> None:
    """Make a GPU this process's current one, set as trials compute on it, and give back what earlier trials held there.

    Args:
        device: the GPU, with its number.
        share: the part of its memory that this process may take.
    """
    torch.cuda.set_device(device)
    use_ieee_float32()
    torch.backends.cudnn.benchmark = not torch.are_deterministic_algorithms_enabled()  # shapes never change
    release_gpu_memory()
    torch.cuda.set_per_process_memory_fraction(share, device)


def use_ieee_float32() -> None:
    """Make float32 mean float32 on a GPU: PyTorch lets cuDNN's convolutions round to TF32 (10 bits of mantissa) by default."""
    torch.backends.cudnn.allow_tf32 = False  # the older switch: one that says otherwise makes PyTorch raise when it is read
    torch.backends.cuda.matmul.fp32_precision = "ieee"
    torch.backends.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]
    torch.backends.cudnn.rnn.fp32_precision = "ieee"  # type: ignore[attr-defined]


def release_gpu_memory() -> None:
    """Give back what earlier trials of this process held on its GPUs."""
    gc.collect()
    torch.cuda.empty_cache()


def weakly(method: Callable[..., T]) -> Callable[..., T]:
    """Return a bound method that does not keep its object alive, so that an object may hold what holds its method.

    An object in a reference cycle keeps its GPU memory until Python's collector comes by.
    """
    reference = weakref.WeakMethod(method)

    def call(*args: object) -> T:
        bound = reference()
        assert bound is not None, "the object is gone"
        return bound(*args)

    return call


def make_step(function: Function, engine: str, device: torch.device) -> Function:
    """Return the step as ``engine`` runs it: the function itself, or on a GPU under ``graph`` or ``compile`` a GraphedStep."""
    return GraphedStep(function, device) if engine in ("graph", "compile") and device.type == "cuda" else function


def steady_malloc() -> None:
    """Make glibc, in this process, map the few largest tensors of a step apart and give nothing else back to the system.

    As glibc adapts by itself, a step on a CPU leaves holes that a tensor of the next step does not fit into, and memory is given
    back only to be asked for again. benchmarks/README.md has what it saves. Elsewhere than on glibc it does nothing.
    """
    mallopt = _libc("mallopt")
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGE_TENSOR_BYTES)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def trim_malloc() -> None:
    """Give memory that steps have kept back to the system, before something else needs its own; the next step takes it anew."""
    malloc_trim = _libc("malloc_trim")
    if malloc_trim is not None:
        malloc_trim(0)


def _libc(name: str) -> Callable[..., int] | None:
    """A function of glibc's, where there is one."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None


def be_deterministic() -> None:
    """Make every kernel of this process give the same bits every time, where PyTorch has such a kernel; CPUs always do.

    Must be called before the first use of the GPU.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Else every step has hundreds of fills, of memory that is written anyway.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
