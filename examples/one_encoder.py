"""Pretrain one encoder with ``run_trial``, without Ray, Optuna or MLflow, and save its weights.

python examples/one_encoder.py encoder.pt [EPOCHS]
"""

import sys

import torch

from trainer import TrialConfig, run_trial

epochs = int(sys.argv[2]) if len(sys.argv) > 2 else 10
config = TrialConfig(dataset="digits", objective="direct(p=4)", tau=0.5, epochs=epochs)
for report in run_trial(config):
    print(f"epoch {report.epoch}: " + ", ".join(f"{k} {v:.2f}" for k, v in report.metrics.items() if "/linear" in k))

torch.save(report.state()["encoder"], sys.argv[1])  # a state dict; `python -m trainer --export` writes torchvision's names
print(f"test accuracy of a linear probe: {report.metrics['test/linear']:.2f} %, saved {sys.argv[1]}")
