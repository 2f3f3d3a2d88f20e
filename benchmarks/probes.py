"""What evaluation costs beside pretraining, and how far the two linear probes agree.

    python benchmarks/probes.py --dataset digits --epochs 20 --seeds 3
    python benchmarks/probes.py --dataset folder:data/cifar10-jpeg --images 2000 --encoder 'resnet18(width=8)' --epochs 10

Whole trials at the default cadence with ``probe: paper``. Cost is the processor time of all evaluations (the untrained
encoder's too, the paper's probe left out) over that of all epochs; agreement is ``test/linear`` − ``test/linear_paper``, which
reads the test set to choose its epoch.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from typing import Any

import torch

from trainer import TrialConfig, probe, run_trial
from trainer.pretrain import Pretrainer
from trainer.trial import _Trial


def timed(owner: Any, name: str) -> list[float]:
    """Let a function add the processor time of its calls to the list that is returned; other work does not count."""
    function, clock = getattr(owner, name), [0.0]

    def wrapped(*given: Any, **named: Any) -> Any:
        began = time.process_time()
        try:
            return function(*given, **named)
        finally:
            clock[0] += time.process_time() - began

    setattr(owner, name, wrapped)
    return clock


def main(argv: list[str] | None = None) -> int:
    """Run the trials and print both as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dataset", default="digits", help="(default: %(default)s)")
    parser.add_argument("--encoder", default="auto", help="(default: %(default)s)")
    parser.add_argument("--images", type=int)
    parser.add_argument("--epochs", type=int, default=20, help="(default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="(default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="(default: %(default)s)")
    parser.add_argument("--data-dir", help="decoded images (default: $ALPHACL_DATA or ~/.cache/alphacl)")
    arguments = parser.parse_args(argv)
    spent = {
        name: timed(owner, name) for owner, name in ((_Trial, "probes"), (Pretrainer, "train_epoch"), (probe, "paper_accuracy"))
    }
    rows = []
    for seed in range(arguments.seeds):
        config = TrialConfig(
            dataset=arguments.dataset,
            encoder=arguments.encoder,
            images=arguments.images,
            epochs=arguments.epochs,
            seed=seed,
            probe="paper",
        )
        for clock in spent.values():
            clock[:] = [0.0]
        *_, report = run_trial(config, threads=arguments.threads, data_root=arguments.data_dir)
        evaluation, training = spent["probes"][0] - spent["paper_accuracy"][0], spent["train_epoch"][0]
        m = report.record["metrics"] if report.record else {}
        rows.append({
            "evaluation_over_training": round(evaluation / training, 3),
            "training_s": round(training, 2), "exact": round(m["test/linear"], 2), "paper": round(m["test/linear_paper"], 2),
            "untrained exact": round(m["untrained/linear"], 2), "untrained paper": round(m["untrained/linear_paper"], 2),
        })  # fmt: skip
        print(rows[-1], flush=True)
    gaps = [row["exact"] - row["paper"] for row in rows]
    share = statistics.median(row["evaluation_over_training"] for row in rows)
    summary = {
        "evaluation_over_training": share,
        "exact_minus_paper": [round(g, 2) for g in gaps],
        "n": len(rows),
        "torch": torch.__version__,
    }
    print(json.dumps(summary))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
