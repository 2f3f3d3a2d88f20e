"""The public recipe of search_spaces/simclr_cifar10.yaml in our trainer, against a plain PyTorch loop of it, over several seeds.

    python benchmarks/recipe.py --dataset folder:data/cifar10-jpeg --images 2000 --width 8 --epochs 8 --seeds 5

The plain loop is written with PyTorch and torchvision alone: their transforms image by image, their SGD and cosine per epoch,
cross entropy for InfoNCE. That is ours over τ: the rate and weight decay of the YAML make up for it. Both start from encoders of
the same seed and are probed alike. Printed are both losses and accuracies after every epoch, their difference, and the
largest difference in units of its standard error over seeds.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics

import torch
from contenders import Pictures, versions
from curves import Curve, accuracy, our_curve
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import transforms

from search_spaces import find_space, load_spec
from trainer import TrialConfig
from trainer.data import Splits, load, make_splits
from trainer.pretrain import Pretrainer

CPU = torch.device("cpu")


class Views:
    """Two views of an image by the recipe's transforms, in [0, 1]."""

    def __init__(self, size: int) -> None:
        jitter = transforms.RandomApply([transforms.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8)
        flip, grey = transforms.RandomHorizontalFlip(), transforms.RandomGrayscale(p=0.1)
        crop = transforms.RandomResizedCrop(size, scale=(0.2, 1.0))
        self.one = transforms.Compose([crop, flip, jitter, grey, transforms.ToTensor()])

    def __call__(self, picture: object) -> tuple[Tensor, Tensor]:
        return self.one(picture), self.one(picture)


def info_nce(first: Tensor, second: Tensor, tau: float) -> Tensor:
    """InfoNCE of two views' projections (N, D), as cross entropy over 2N − 1 others."""
    z = F.normalize(torch.cat([first, second]), dim=1)
    logits = (z @ z.T / tau).fill_diagonal_(float("-inf"))
    return F.cross_entropy(logits, torch.arange(len(z)).roll(len(first)))


def plain_curve(judge: Pretrainer, splits: Splits, config: TrialConfig) -> Curve:
    """The plain loop from the encoder that ``judge`` holds, and judged by it."""
    encoder = judge.encoder
    torch.manual_seed(config.seed)
    width = int(encoder.feature_dim)
    projector = nn.Sequential(nn.Linear(width, 1024), nn.ReLU(), nn.Linear(1024, 128))
    rate = 0.03 * config.batch_size / 256
    optimiser = torch.optim.SGD([*encoder.parameters(), *projector.parameters()], lr=rate, momentum=0.9, weight_decay=5e-4)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=config.epochs)
    images = splits.pretrain.whole()
    pictures = Pictures(images, Views(images.shape[-1]))
    batches = torch.utils.data.DataLoader(pictures, config.batch_size, shuffle=True, drop_last=True)
    found: Curve = [(float("nan"), accuracy(judge, splits))]
    for _ in range(config.epochs):
        losses = []
        encoder.train()
        for views in batches:
            first, second = (projector(encoder(view)) for view in views[:2])
            loss = info_nce(first, second, 0.5)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(float(loss.detach()))
        scheduler.step()
        found.append((statistics.fmean(losses), accuracy(judge, splits)))
    return found


def main() -> int:
    """Train both over all seeds and print their curves as a table, and all as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dataset", default="folder:data/cifar10-jpeg")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    recipe = load_spec(find_space("simclr_cifar10")).leaves()[0]
    small = {"dataset": arguments.dataset, "images": arguments.images, "encoder": f"resnet18(width={arguments.width})"}
    more = {"epochs": arguments.epochs, "batch_size": arguments.batch_size, "precision": "float32"}
    config = dataclasses.replace(recipe, **small, **more)
    splits = make_splits(load(config.dataset), config.held_out, config.images, config.pretrain_on_held_out)

    def make(seed: int) -> Pretrainer:
        return Pretrainer(dataclasses.replace(config, seed=seed), splits.pretrain, CPU)

    ours, theirs = [], []
    for seed in range(arguments.seeds):
        ours.append(our_curve(make, splits, seed, config.epochs))
        theirs.append(plain_curve(make(seed), splits, dataclasses.replace(config, seed=seed)))
    worst = 0.0
    print("| epoch | loss, ours | loss, plain | accuracy, ours | accuracy, plain | difference ± standard error |")
    print("|---:|---:|---:|---:|---:|---:|")
    for epoch in range(config.epochs + 1):
        loss = [statistics.fmean(curve[epoch][0] for curve in curves) for curves in (ours, theirs)]
        points = [[curve[epoch][1] for curve in curves] for curves in (ours, theirs)]
        means = [statistics.fmean(p) for p in points]
        error = (sum(statistics.variance(p) for p in points) / arguments.seeds) ** 0.5
        worst = max(worst, abs(means[0] - means[1]) / error if epoch else 0.0)
        loss[0] /= 0.5  # ours is τ times the cross entropy
        cells = [
            f"{loss[0]:.4f}",
            f"{loss[1]:.4f}",
            f"{means[0]:.2f}",
            f"{means[1]:.2f}",
            f"{means[0] - means[1]:+.2f} ± {error:.2f}",
        ]
        print(f"| {epoch} | {' | '.join(cells)} |")
    print(f"largest difference of accuracies: {worst:.1f} standard errors, of {config.epochs} epochs")
    print(json.dumps({"ours": ours, "plain": theirs, "config": config.to_dict(), "versions": versions()}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
