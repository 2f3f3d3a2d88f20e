"""Peak resident memory of one trial on a CPU, data set, probes and checkpoint included, and where it grew.

    python benchmarks/memory.py --dataset folder:data/cifar10-jpeg [--steps 3] [--width 64]

Runs a trial of one epoch cut short after a few steps, as :func:`trainer.trial.run_trial` would: the memory of a step does not
depend on how many follow. Shared pages of the memory map count as resident; other trials on the machine use the same ones.
"""

from __future__ import annotations

import argparse
import json
import resource
from typing import Any

import torch

from trainer import TrialConfig
from trainer.environment import commit
from trainer.files import save_checkpoint
from trainer.trial import _Trial


def peak_mb() -> int:
    """Most resident memory so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main(argv: list[str] | None = None) -> int:
    """Measure and print as JSON: the peak after each part of the trial, in MB."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dataset", default="folder:data/cifar10-jpeg", help="(default: %(default)s)")
    parser.add_argument("--width", type=int, default=64, help="of the ResNet-18 (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=128, help="(default: %(default)s)")
    parser.add_argument("--steps", type=int, default=3, help="(default: %(default)s)")
    parser.add_argument("--probe", action="store_true", help="probe all images too (minutes at full width)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="(default: %(default)s)")
    parser.add_argument("--data-dir", help="decoded images (default: $ALPHACL_DATA or ~/.cache/alphacl)")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    config = TrialConfig(
        dataset=arguments.dataset, encoder=f"resnet18(width={arguments.width})", batch_size=arguments.batch_size, epochs=1
    )
    peaks = {"imports": peak_mb()}
    trial = _Trial(config, torch.device("cpu"), arguments.data_dir)
    peaks["data set, model, choice of numerics"] = peak_mb()
    trainer = trial.trainer
    trainer.encoder.train()
    for step, (batch, parameters) in enumerate(zip(trainer.batches(), trainer.parameters(), strict=False)):
        if step == arguments.steps:
            break
        trainer.train_step(batch, parameters, step)
    peaks["training steps"] = peak_mb()
    if arguments.probe:
        trial.probes(read_test=True)
        peaks["probes"] = peak_mb()
    state: dict[str, Any] = trial.state()
    with _scratch() as folder:
        save_checkpoint(folder / "checkpoint.pt", state)
    peaks["checkpoint"] = peak_mb()
    print(
        json.dumps(
            {
                "peak_mb": peaks,
                "numerics": trainer.numerics,
                "threads": arguments.threads,
                "torch": torch.__version__,
                "commit": commit(),
            }
        )
    )
    return 0


def _scratch() -> Any:
    import contextlib
    import tempfile
    from pathlib import Path

    @contextlib.contextmanager
    def folder() -> Any:
        with tempfile.TemporaryDirectory() as name:
            yield Path(name)

    return folder()


if __name__ == "__main__":
    raise SystemExit(main())
