"""Images per second on this CPU: ours against a plain PyTorch trainer and lightly's SimCLR, turn by turn in one run.

All see the same images, encoder (ResNet-18, 32×32 stem), batch and optimiser (benchmarks/contenders.py). Augmentation is part of
a step. The cost of our evaluations at the default cadence of a 100-epoch run is measured once and added to our side alone.

    python benchmarks/cpu.py --dataset folder:data/cifar10-jpeg [--batch-size 128] [--steps 4] [--rounds 5]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable

import torch
from contenders import Steps, lightly, our_trainer, ours, plain, versions
from torch import Tensor

from trainer import TrialConfig, probe
from trainer.data import load, make_splits
from trainer.image_store import Rows
from trainer.pretrain import Pretrainer
from trainer.processor import processor

EPOCHS, PROBES = 100, 11  # of a run at the default cadence: the untrained encoder, and ten probes, the last reads the test set


def measure(made: Steps, steps: int) -> float:
    """Seconds a step."""
    began = time.perf_counter()
    for _ in range(steps):
        float(next(made))
    return (time.perf_counter() - began) / steps


def probe_seconds(trainer: Pretrainer, images: Rows, labels: Tensor, share: int) -> float:
    """Seconds of a probe of all images: embedding measured on one part of ``share``, the fits on as many random features."""
    part = torch.arange(len(images) // share)
    began = time.perf_counter()
    x = trainer.embed(images.take(part))
    embedding = (time.perf_counter() - began) * share
    x = x[torch.randint(len(x), (len(images),))] + 0.1 * torch.randn(len(images), x.shape[1])
    cut, classes = len(x) // 10, int(labels.max()) + 1
    val, train = probe.Features(x[:cut], labels[:cut]), probe.Features(x[cut:], labels[cut:])
    began = time.perf_counter()
    probe.choose_l2(train, val, classes)
    probe.knn(train, val, classes)
    trainer.encoder.train()
    return embedding + time.perf_counter() - began


def turns(contenders: dict[str, Callable[[], Steps]], steps: int, rounds: int) -> dict[str, list[float]]:
    """Seconds a step of each, round by round.

    Each turn begins anew and its first step, which starts workers and chooses kernels, is not counted: so none is charged for
    another's workers, nor fed by batches that its own have loaded during another's turn.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for round_ in range(rounds + 1):  # the first is a rehearsal
        for name, make in contenders.items():
            made = make()
            float(next(made))
            spent = measure(made, steps if round_ else 1)
            made.close()
            if round_:
                seconds[name].append(spent)
            print(f"round {round_}  {name:8} {spent:6.2f} s a step", flush=True)
    return seconds


def spread(values: list[float], digits: int = 3) -> list[float]:
    """Least, median, most."""
    return [round(f(values), digits) for f in (min, statistics.median, max)]


def main(argv: list[str] | None = None) -> int:
    """Run the comparison and print it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dataset", default="folder:data/cifar10-jpeg", help="(default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=128, help="(default: %(default)s)")
    parser.add_argument("--width", type=int, default=64, help="of the ResNet-18 (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=4, help="per round (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each (default: %(default)s)")
    parser.add_argument("--data-dir", help="decoded images (default: $ALPHACL_DATA or ~/.cache/alphacl)")
    arguments = parser.parse_args(argv)
    arrays = load(arguments.dataset, root=arguments.data_dir)
    images, labels = arrays["train_images"], arrays["train_labels"]
    splits = make_splits(arrays, TrialConfig().held_out)
    device, size, width = torch.device("cpu"), arguments.batch_size, arguments.width
    trainer = our_trainer(splits.pretrain, arguments.dataset, size, width, device, arguments.data_dir)
    contenders: dict[str, Callable[[], Steps]] = {
        "plain": lambda: plain(images, size, width, device),
        "alphacl": lambda: ours(trainer),
    }
    if versions()["lightly"]:
        contenders["lightly"] = lambda: lightly(images, size, width, device)
    else:
        print("lightly is not installed: skipped (pip install lightly==1.6.0)", flush=True)
    seconds = turns(contenders, arguments.steps, arguments.rounds)
    evaluation = PROBES * probe_seconds(trainer, Rows((images, None)), labels, share=max(1, len(images) // 1000))
    probing = evaluation / (EPOCHS * trainer.steps)  # per step
    ratios = {
        name: [theirs / (mine + probing) for theirs, mine in zip(seconds[name], seconds["alphacl"], strict=True)]
        for name in contenders
        if name != "alphacl"
    }
    summary = {
        "s_per_step": {name: spread(values) for name, values in seconds.items()},
        "images_per_s": {name: round(size / statistics.median(values), 1) for name, values in seconds.items()},
        "probe_share_of_100_epochs": round(probing / statistics.median(seconds["alphacl"]), 4),
        "ratio_over_alphacl_with_probes": {name: spread(values, 2) for name, values in ratios.items()},
        "chosen": list(trainer.numerics),
        "n": arguments.rounds,
        "steps_per_round": arguments.steps,
        "images": len(images),
        "machine": f"{processor()}, {os.cpu_count()} cores",
        "load_average": os.getloadavg(),
        **versions(),
    }
    print(json.dumps(summary, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
