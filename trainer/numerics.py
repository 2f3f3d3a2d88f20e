"""Numerics of a trial: precision and memory layout, chosen by measurement where the configuration leaves them open.

Both change the last bits of every metric. So the choice is made once per machine and kept beside the decoded images, stored in
every checkpoint (a resumed trial goes on as it began), and named in the record. Where several kinds of machine share a sweep,
``precision: float32`` or ``bf16`` fixes the precision for all.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
from filelock import FileLock
from torch import nn

from trainer.config import TrialConfig
from trainer.data import data_dir
from trainer.encoders import make_encoder
from trainer.files import read_bounded, write_json
from trainer.processor import processor

LAYOUTS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
BATCH, ROUNDS = 8, 4
MOST_BYTES = 1 << 20  # of the file of choices
GAIN = 1.25  # a later candidate must be this much faster than an earlier one: noise alone must not decide


class Numerics(NamedTuple):
    """The precision (bf16 or float32) and memory layout (channels_last or contiguous) that a trial computes in."""

    precision: str
    layout: str

    @property
    def memory_format(self) -> torch.memory_format:
        """Return the layout as PyTorch's memory format."""
        return LAYOUTS[self.layout]


def has_bf16(device: torch.device) -> bool:
    """Tell whether a device computes in bfloat16 natively, without emulation."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def candidates(config: TrialConfig, encoder: nn.Module, device: torch.device) -> list[Numerics]:
    """Return the numerics that may be chosen for a trial, the usual winner first.

    There is a choice only for a ResNet: the small convnet is contiguous, and computes in float32 unless bf16 is configured.
    """
    if not hasattr(encoder, "conv1"):
        return [Numerics("bf16" if config.precision == "bf16" else "float32", "contiguous")]
    both = {"auto": ["bf16", "float32"] if has_bf16(device) else ["float32"]}.get(config.precision, [config.precision])
    layouts = ["channels_last"] if device.type == "cuda" else ["channels_last", "contiguous"]
    skipped = {("bf16", "contiguous")}
    if device.type == "cpu" and narrowest_shortcut(encoder) < kernel_block():
        skipped.add(("float32", "channels_last"))
    return [Numerics(precision, layout) for precision in both for layout in layouts if (precision, layout) not in skipped]


def narrowest_shortcut(encoder: nn.Module) -> float:
    """Return the fewest input channels of a 1×1 convolution with a stride; infinity where the encoder has none."""
    strided = (m for m in encoder.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1) and m.stride != (1, 1))
    return min((m.in_channels for m in strided), default=float("inf"))


def kernel_block() -> int:
    """Return how many channels oneDNN's 1×1 kernels take at a time on this CPU.

    With fewer input channels, a stride and channels-last images its backward pass writes past its workspace: it crashes, or
    gives wrong gradients (oneDNN issue 6035; seen here as a segmentation fault of ResNet-18 at widths 2, 4 and 6 with AVX2).
    """
    return 16 if "AVX512" in torch.backends.cpu.get_cpu_capability().upper() else 8


def measure(config: TrialConfig, shape: tuple[int, ...], tried: list[Numerics]) -> dict[Numerics, float]:
    """Return the seconds of a forward and backward pass on a small batch on this CPU, for each candidate in ``tried``.

    The passes take turns, and the least of a few counts. Measured is the processor time of one thread, which other work on the
    machine hardly changes. ``shape`` is an image's (C, S, S).
    """
    least, threads = dict.fromkeys(tried, float("inf")), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        _run(config, shape, least)
    finally:
        torch.set_num_threads(threads)
    return least


def _run(config: TrialConfig, shape: tuple[int, ...], least: dict[Numerics, float]) -> None:
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        models = {n: make_encoder(config.encoder, shape[0], shape[-1]).to(memory_format=n.memory_format) for n in least}
        for turn in range(ROUNDS + 1):
            for numerics, model in models.items():
                x = torch.rand(BATCH, *shape).contiguous(memory_format=numerics.memory_format)
                began = time.thread_time()
                with torch.autocast("cpu", torch.bfloat16, enabled=numerics.precision == "bf16"):
                    features = model(x)
                features.float().sum().backward()
                if turn:  # the first chooses kernels
                    least[numerics] = min(least[numerics], time.thread_time() - began)


def fastest(seconds: dict[Numerics, float]) -> Numerics:
    """Return the first of the measured candidates, unless a later one is faster by more than noise (a factor of ``GAIN``)."""
    chosen, *later = seconds
    for other in later:
        if seconds[other] * GAIN < seconds[chosen]:
            chosen = other
    return chosen


def choose(
    config: TrialConfig, encoder: nn.Module, shape: tuple[int, ...], device: torch.device, root: str | os.PathLike[str] | None
) -> Numerics:
    """Return the numerics of a trial that begins: as configured, else as measured once on this machine.

    Args:
        config: the trial.
        encoder: the trial's encoder.
        shape: an image's (C, S, S).
        device: where the trial computes.
        root: the data folder in which the choice is kept, see :func:`trainer.data.data_dir`.
    """
    tried = candidates(config, encoder, device)
    if device.type != "cpu" or len(tried) == 1:
        return tried[0]
    key = f"{processor()} · torch {torch.__version__} · {config.encoder} · {list(shape)} · {config.precision}"
    kept = data_dir(root) / "cache" / "numerics.json"
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{kept}.lock"):  # trials that start together wait, and so do not disturb the measurement
            known = _read(kept)
            if (known.get(key, {}).get("precision"), known.get(key, {}).get("layout")) not in tried:
                seconds = measure(config, shape, tried)
                chosen = fastest(seconds)
                known[key] = {**chosen._asdict(), "seconds": {"/".join(n): round(s, 5) for n, s in seconds.items()}}
                write_json(kept, known)
            return Numerics(known[key]["precision"], known[key]["layout"])
    except OSError:  # a data folder that is read-only: measured for this trial alone
        return fastest(measure(config, shape, tried))


def _read(kept: Path) -> dict[str, dict[str, Any]]:
    try:
        known = json.loads(read_bounded(kept, MOST_BYTES))
    except (OSError, ValueError, RecursionError):  # none yet, or damaged: measured anew
        return {}
    return {key: value for key, value in known.items() if isinstance(value, dict)} if isinstance(known, dict) else {}
