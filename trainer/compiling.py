"""The engine of a training step, and the compiler: where it pays, what it is given, and what is done where it fails."""

from __future__ import annotations

import importlib.util
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, cast

import torch

from trainer import environment_variables

ENGINES = ("auto", "eager", "graph", "compile")
# Measured for a ResNet-18 at 32×32, batch 128, on an H200 with 16 cores (benchmarks/README.md).
SAVED_S = 0.0026  # of a step, by compiled kernels in place of PyTorch's own
FIRST_COMPILE_S, CACHED_COMPILE_S = 70.0, 8.0
MARGIN = 1.5  # how much more than it costs the compiler is to save, since other networks and machines differ
F = TypeVar("F", bound=Callable[..., object])


def compiling_pays(steps: int, alike: int = 1) -> bool:
    """Tell whether the compiler saves more time than it takes.

    Args:
        steps: the training steps of a trial.
        alike: how many trials of the same shapes share what is compiled.
    """
    return alike * steps * SAVED_S > MARGIN * (FIRST_COMPILE_S + (alike - 1) * CACHED_COMPILE_S)


def engine_for(device: torch.device, steps: int = 0, alike: int = 1) -> str:
    """Return the engine for steps on a device: ``eager`` on a CPU, on a GPU what $ALPHACL_ENGINE says.

    By default it is ``compile`` where that pays (:func:`compiling_pays`) and a compiler is installed, else ``graph``.

    Args:
        device: where the steps run.
        steps: the training steps of the trial.
        alike: how many trials of the same shapes share what is compiled.
    """
    asked = environment_variables.engine()
    if asked not in ENGINES:
        warnings.warn(f"ALPHACL_ENGINE={asked!r} is none of {', '.join(ENGINES)}; taking auto", stacklevel=2)
        asked = "auto"
    if device.type != "cuda":
        return "eager"
    if asked == "auto":
        return "compile" if has_compiler() and compiling_pays(steps, alike) else "graph"
    if asked == "compile" and not has_compiler():
        warnings.warn("ALPHACL_ENGINE=compile needs triton; going on without the compiler", stacklevel=2)
        return "graph"
    return asked


def has_compiler() -> bool:
    """Tell whether Triton is installed, Inductor's back end on a GPU."""
    return importlib.util.find_spec("triton") is not None


def compiled(function: F, engine: str) -> F:
    """Return the function, compiled by Inductor where ``engine`` is ``compile``."""
    if engine != "compile":
        return function
    # It recommends TensorFloat32, but float32 is meant to be float32.
    warnings.filterwarnings("ignore", message="TensorFloat32 tensor cores", category=UserWarning)
    return cast(F, torch.compile(function, dynamic=False))


def is_of_compiler(error: RuntimeError) -> bool:
    """Tell whether an error was raised by the compiler, and not by what it compiled."""
    from torch._dynamo.exc import TorchDynamoException  # takes seconds to import, and is where it was raised
    from torch._inductor.exc import CppCompileError

    return isinstance(error, (TorchDynamoException, CppCompileError))


def share_compiled_code(data_root: Path) -> None:
    """Keep compiled code in a folder beside the data, where the workers of all trials find it, unless the user has named one."""
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(data_root.resolve() / "compiled"))
