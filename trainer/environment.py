"""What a trial's metrics were made with, for its record."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

from trainer.encoders import count_parameters
from trainer.pretrain import Pretrainer
from trainer.processor import processor


def environment(trainer: Pretrainer) -> dict[str, Any]:
    """Return what a trial's metrics were made with, for its record: versions, device, precision, commit."""
    device = trainer.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": importlib.metadata.version("torchvision"),
        "device": f"{device.type}: {name}",
        "threads": torch.get_num_threads(),
        "precision": trainer.precision,
        "layout": trainer.numerics.layout,
        "engine": trainer.engine,
        "deterministic": torch.are_deterministic_algorithms_enabled() or device.type == "cpu",
        "parameters": count_parameters(trainer.encoder),
        "commit": commit(),
    }


def commit() -> str | None:
    """Return the commit of the source that runs, with ``+`` where it has been edited since; None outside a git checkout."""

    def git(*args: str) -> str:
        done = subprocess.run(["git", *args], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10, check=True)
        return done.stdout.strip()

    try:
        return git("rev-parse", "HEAD")[:12] + ("+" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.SubprocessError):
        return None
