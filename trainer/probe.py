"""Probes on frozen features: weighted kNN, a linear classifier, and the paper's own. Accuracies are top-1, in percent.

Every probe is fitted to the :class:`Features` of some images and judged on those of others. The linear probe is softmax
regression to its optimum; L-BFGS works on all penalties at once, in coordinates in which the features are white.

A new probe is a function here, a call in :mod:`trainer.all_probes`, and a line in :mod:`trainer.metrics`; or it is a plug-in's
function, see :mod:`trainer.extra_metrics`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from trainer.step import make_step

# Features are worked on in pieces: a copy of all, or all similarities at once, would be the most memory that a CPU trial takes.
PIECE, SIMILARITIES = 8192, 2**24
L2_GRID = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
CHOOSING, FITTING = 3e-3, 1e-5  # where L-BFGS stops: the largest entry of the gradient, in white coordinates
PAPER_EPOCHS, PAPER_BATCH, PAPER_LR, PAPER_WEIGHT_DECAY = 50, 128, 3e-4, 1e-3


class Features(NamedTuple):
    """Frozen features of a split, ``x`` (N, D) float32, and their labels, ``y`` (N,) int64."""

    x: Tensor
    y: Tensor


class Linear(NamedTuple):
    """A fitted linear classifier on features standardised by ``mean`` and ``std``, (D,) each; ``weight`` ends in the bias."""

    mean: Tensor
    std: Tensor
    weight: Tensor  # (D + 1, classes), the last row is the bias

    def scores(self, x: Tensor) -> Tensor:
        """Return the logits of features: (N, D) → (N, classes)."""
        return _with_bias((x - self.mean) / self.std) @ self.weight


def knn(train: Features, test: Features, classes: int, k: int = 200, temperature: float = 0.1) -> float:
    """Return the weighted k-nearest-neighbour accuracy in percent: cosine neighbours vote with weight exp(cos / temperature).

    Source: Wu et al. (2018).

    Args:
        train: features whose labels vote.
        test: features that are judged.
        classes: the number of classes.
        k: neighbours; at most a tenth of the training features count, so that small sets keep a local vote.
        temperature: the smaller, the more the nearest neighbours weigh.
    """
    k = max(1, min(k, len(train.x) // 10))
    bank, correct = F.normalize(train.x, dim=1), 0
    rows = max(1, min(1024, SIMILARITIES // len(bank)))
    for x, y in zip(test.x.split(rows), test.y.split(rows), strict=True):
        near, index = (F.normalize(x, dim=1) @ bank.T).topk(k, dim=1)
        votes = torch.zeros(len(x), classes, device=x.device)
        votes.scatter_add_(1, train.y[index], ((near - 1) / temperature).exp())
        correct += int((votes.argmax(dim=1) == y).sum())
    return 100 * correct / len(test.x)


def standardiser(train: Features) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each feature, (D,) each; a constant feature's deviation counts as 1."""
    std, mean = torch.std_mean(train.x, dim=0, correction=0)
    return mean, torch.where(std > 1e-6, std, torch.ones_like(std))


def fit_linear(
    train: Features, classes: int, penalties: Sequence[float], tolerance: float = FITTING, iterations: int = 300
) -> list[Linear]:
    """Fit softmax regression on standardised features for each penalty: mean cross-entropy + (penalty/2)‖W‖², bias unpenalised.

    L-BFGS works on all of them together, each in the coordinates W = U (Λ/4 + penalty)^(−½) V with UΛUᵀ the features' covariance:
    there the Hessian is near the identity, so that tens of iterations reach an optimum that hundreds miss otherwise.

    Args:
        train: features and labels to fit.
        classes: the number of classes.
        penalties: L2 penalties; the classifiers are returned in their order.
        tolerance: the largest entry of the gradient, in these coordinates, at which L-BFGS stops.
        iterations: the most iterations of L-BFGS.
    """
    mean, std = standardiser(train)
    n, many = len(train.x), len(penalties)
    covariance = torch.zeros(train.x.shape[1], train.x.shape[1], device=train.x.device)
    for piece in train.x.split(PIECE):
        standardised = (piece - mean) / std
        covariance += standardised.T @ standardised / n
    spectrum, basis = torch.linalg.eigh(covariance)
    l2 = torch.tensor(penalties, device=basis.device)[:, None]
    scale = (spectrum.clamp_min(0) / 4 + l2).rsqrt()
    scale = torch.cat([scale, torch.full_like(l2, 2.0)], dim=1)[..., None]  # (penalties, D + 1, 1), the bias last
    shrink = l2[..., None] * scale.square()
    shrink[:, -1] = 0
    x = torch.ones(n, train.x.shape[1] + 1, device=train.x.device)
    for here, piece in zip(x.split(PIECE), train.x.split(PIECE), strict=True):
        here[:, :-1] = ((piece - mean) / std) @ basis
    truth = F.one_hot(train.y, classes).to(x.dtype)[:, None]
    v = torch.zeros(many, x.shape[1], classes, device=x.device)

    def closure() -> Tensor:
        logits = x @ (scale * v).transpose(0, 1).flatten(1)
        log_p = logits.view(n, many, classes).log_softmax(dim=2)
        slope = (x.T @ (log_p.exp() - truth).flatten(1)).view(-1, many, classes).transpose(0, 1)
        v.grad = scale * slope / n + shrink * v
        return (shrink * v.square()).sum() / 2 - (log_p * truth).sum() / n

    torch.optim.LBFGS(
        [v], max_iter=iterations, history_size=20, tolerance_grad=tolerance, tolerance_change=1e-9, line_search_fn="strong_wolfe"
    ).step(closure)
    weight = scale * v
    weight = torch.cat([basis @ weight[:, :-1], weight[:, -1:]], dim=1)
    return [Linear(mean, std, w) for w in weight]


def choose_l2(train: Features, val: Features, classes: int) -> tuple[float, float]:
    """Return the penalty with the best accuracy on the held-out features, and that accuracy in percent.

    Ties go to the larger penalty. The fits stop early (``CHOOSING``); what is reported of the test set comes from
    :func:`fit_linear` at its own tolerance.
    """
    accuracies = [linear_accuracy(fitted, val) for fitted in fit_linear(train, classes, L2_GRID, CHOOSING)]
    best = max(accuracies)
    return L2_GRID[accuracies.index(best)], best


def paper_accuracy(train: Features, test: Features, classes: int, epochs: int = PAPER_EPOCHS) -> float:
    """Return the *maximum* test accuracy in percent over the epochs of the paper's probe, an optimistic reading.

    The probe is softmax regression by Adam on features standardised on train: learning rate 3e-4, weight decay 1e-3, batch 128,
    50 epochs. The images are shuffled, weights and order by a fixed seed.
    """
    mean, std = standardiser(train)
    generator = torch.Generator().manual_seed(0)
    x, judged = (train.x - mean) / std, (test.x - mean) / std
    bound = x.shape[1] ** -0.5  # as nn.Linear draws its weights
    weight, bias = (bound * (2 * torch.rand(shape, generator=generator) - 1) for shape in ((x.shape[1], classes), (classes,)))
    parameters = [weight.to(x.device).requires_grad_(), bias.to(x.device).requires_grad_()]
    on_gpu = x.device.type == "cuda"
    optimiser = torch.optim.Adam(parameters, lr=PAPER_LR, weight_decay=PAPER_WEIGHT_DECAY, fused=True, capturable=on_gpu)

    def step(index: Tensor) -> tuple[Tensor]:
        with torch.enable_grad():
            loss = F.cross_entropy(torch.addmm(parameters[1], x[index], parameters[0]), train.y[index])
            gradients = torch.autograd.grad(loss, parameters)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        optimiser.step()
        return (loss.detach(),)

    full_step = make_step(step, "graph" if on_gpu else "eager", x.device)  # tens of thousands of small steps
    best = torch.zeros((), dtype=torch.int64, device=x.device)
    for _ in range(epochs):
        for index in torch.randperm(len(x), generator=generator).to(x.device).split(PAPER_BATCH):
            (full_step if len(index) == PAPER_BATCH else step)(index)
        scores = torch.addmm(parameters[1], judged, parameters[0]).detach()
        best = torch.maximum(best, (scores.argmax(dim=1) == test.y).sum())
    return 100 * int(best) / len(test.x)


def linear_accuracy(fitted: Linear, test: Features) -> float:
    """Return the percentage of features that the classifier puts in their class."""
    return 100 * int((fitted.scores(test.x).argmax(dim=1) == test.y).sum()) / len(test.x)


def _with_bias(x: Tensor) -> Tensor:
    return torch.cat([x, torch.ones(len(x), 1, device=x.device)], dim=1)
