"""Runs every probe of a trial on the features of its encoder: those of :mod:`trainer.probe`, and those of plug-ins."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from trainer import probe
from trainer.config import TrialConfig
from trainer.extra_metrics import own_probes
from trainer.metrics import projector_name
from trainer.pretrain import Pretrainer
from trainer.probe import Features


def probe_all(trainer: Pretrainer, features: Mapping[str, Features], classes: int) -> dict[str, float]:
    """Return the accuracies of all probes in percent, by metric: on held-out images, and on test images where they are given.

    Where the configuration asks for it, the projector's output is probed, too.

    Args:
        trainer: holds the configuration and the projector.
        features: the encoder's features of ``train`` and ``val``, and of ``test`` where that is to be read.
        classes: the number of classes.

    Raises:
        UserError: if a plug-in's probe fails.
    """
    figures = _accuracies(trainer.config, classes, **features)
    if trainer.config.probe_projector:
        projected = {split: Features(trainer.project(f.x), f.y) for split, f in features.items()}
        figures |= {projector_name(name): value for name, value in _accuracies(trainer.config, classes, **projected).items()}
    return figures


def _accuracies(
    config: TrialConfig, classes: int, train: Features, val: Features, test: Features | None = None
) -> dict[str, float]:
    """Return the accuracies by metric. The penalty is chosen on the held-out images, and used once for the test images."""
    l2, accuracy = probe.choose_l2(train, val, classes)
    figures = {"val/linear": accuracy, "val/knn": probe.knn(train, val, classes, config.knn_k)}
    figures |= {f"val/{name}": value for name, value in own_probes(train, val, classes).items()}
    if test is not None:
        both = Features(torch.cat([train.x, val.x]), torch.cat([train.y, val.y]))
        [fitted] = probe.fit_linear(both, classes, [l2])
        figures["test/linear"] = probe.linear_accuracy(fitted, test)
        figures["test/knn"] = probe.knn(both, test, classes, config.knn_k)
        figures |= {f"test/{name}": value for name, value in own_probes(both, test, classes).items()}
        if config.probe == "paper":
            figures["test/linear_paper"] = probe.paper_accuracy(both, test, classes)
    return figures
