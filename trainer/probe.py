"""Probes on frozen features: weighted kNN and a linear classifier. Accuracies are top-1, in percent.

Every probe is a function of (train features, train labels, features, labels), features (N, D) float32 and labels (N,) int64.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

L2_GRID = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)


class Features(NamedTuple):
    """Frozen features (N, D) of a split and their labels (N,)."""

    x: Tensor
    y: Tensor


class Linear(NamedTuple):
    """A fitted linear classifier on standardised features."""

    mean: Tensor
    std: Tensor
    weight: Tensor  # (D + 1, classes), the last row is the bias

    def scores(self, x: Tensor) -> Tensor:
        return _with_bias((x - self.mean) / self.std) @ self.weight


def knn(train: Features, test: Features, classes: int, k: int = 200, temperature: float = 0.1) -> float:
    """Weighted k-nearest-neighbour accuracy (Wu et al. 2018): cosine neighbours vote with weight exp(cos / temperature).

    k is at most a tenth of the training features, so that small sets keep a local vote.
    """
    k = max(1, min(k, len(train.x) // 10))
    bank, correct = F.normalize(train.x, dim=1), 0
    for x, y in zip(test.x.split(1024), test.y.split(1024), strict=True):
        near, index = (F.normalize(x, dim=1) @ bank.T).topk(k, dim=1)
        votes = torch.zeros(len(x), classes, device=x.device)
        votes.scatter_add_(1, train.y[index], ((near - 1) / temperature).exp())
        correct += int((votes.argmax(dim=1) == y).sum())
    return 100 * correct / len(test.x)


def fit_linear(train: Features, classes: int, l2: float, start: Linear | None = None, iterations: int = 300) -> Linear:
    """Softmax regression on standardised features, L-BFGS on mean cross-entropy + (l2/2)‖W‖² (bias unpenalised).

    ``start`` is a fit to begin from, for the same features. It stops where the gradient vanishes, which 300 iterations reach on
    features of the encoders here: fewer leave figures that depend on where they began.
    """
    std, mean = torch.std_mean(train.x, dim=0, correction=0)
    std = torch.where(std > 1e-6, std, torch.ones_like(std))
    x = _with_bias((train.x - mean) / std)
    weight = torch.zeros(x.shape[1], classes, device=x.device) if start is None else start.weight.clone()
    weight.requires_grad_()
    optimiser = torch.optim.LBFGS([weight], max_iter=iterations, tolerance_grad=1e-5, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = F.cross_entropy(x @ weight, train.y) + l2 / 2 * weight[:-1].square().sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimiser.step(closure)
    return Linear(mean, std, weight.detach())


def choose_l2(train: Features, val: Features, classes: int) -> tuple[float, float]:
    """The penalty with the best accuracy on the held-out features, and that accuracy; ties go to the larger penalty."""
    best, fitted = (L2_GRID[0], -1.0), None
    for l2 in L2_GRID:
        fitted = fit_linear(train, classes, l2, start=fitted)
        accuracy = linear_accuracy(fitted, val)
        if accuracy > best[1]:
            best = (l2, accuracy)
    return best


def linear_accuracy(fitted: Linear, test: Features) -> float:
    """Share of features that the classifier puts in their class."""
    return 100 * int((fitted.scores(test.x).argmax(dim=1) == test.y).sum()) / len(test.x)


def _with_bias(x: Tensor) -> Tensor:
    return torch.cat([x, torch.ones(len(x), 1, device=x.device)], dim=1)
