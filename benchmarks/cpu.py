"""Images per second of pretraining on this CPU: ours against a plain PyTorch trainer, turn by turn in one run.

Both see the same images, encoder (ResNet-18, 32×32 stem), batch, objective and optimiser. The plain trainer is what one would
write first: torchvision's transforms per image in DataLoader workers, float32, NCHW, two forwards, torchvision's model.

    python benchmarks/cpu.py --dataset folder:data/cifar10-jpeg [--batch-size 128] [--steps 4] [--rounds 5]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator

import torch
import torchvision
from torch import Tensor, nn
from torchvision import transforms

from trainer import TrialConfig
from trainer.augment import CIFAR_MEAN, CIFAR_STD
from trainer.data import load
from trainer.encoders import make_projector
from trainer.losses import make_objective
from trainer.pretrain import Pretrainer


class TwoViews(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """An image as two views through torchvision's transforms, as the protocol has them."""

    def __init__(self, images: Tensor) -> None:
        self.images = images
        self.transform = transforms.Compose([
            transforms.ToPILImage(),
            transforms.RandomResizedCrop(images.shape[-1]),
            transforms.RandomHorizontalFlip(),
            transforms.RandomApply([transforms.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
            transforms.RandomGrayscale(p=0.2),
            transforms.ToTensor(),
            transforms.Normalize(CIFAR_MEAN, CIFAR_STD),
        ])  # fmt: skip

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.transform(self.images[index]), self.transform(self.images[index])


def plain_trainer(images: Tensor, batch_size: int, tau: float, workers: int) -> Iterator[float]:
    """Train step by step; yields each step's loss."""
    encoder = torchvision.models.resnet18()
    encoder.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
    encoder.maxpool = nn.Identity()
    encoder.fc = nn.Identity()
    model = nn.Sequential(encoder, make_projector(512, 128))
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    objective = make_objective("infonce", tau)
    loader = torch.utils.data.DataLoader(TwoViews(images), batch_size, shuffle=True, drop_last=True, num_workers=workers)
    while True:
        for first, second in loader:
            views = [nn.functional.normalize(model(view), dim=1) for view in (first, second)]
            loss = objective(*views)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            yield float(loss.detach())


def our_trainer(images: Tensor, dataset: str, batch_size: int, tau: float) -> Iterator[float]:
    """The same with :class:`trainer.pretrain.Pretrainer`, step by step."""
    config = TrialConfig(dataset=dataset, encoder="resnet18", batch_size=batch_size, tau=tau, epochs=10_000, schedule="constant")
    trainer = Pretrainer(config, images, torch.device("cpu"))
    while True:
        for step, batch in enumerate(trainer.batches()):
            yield float(trainer.train_step(batch, step)[0])


def measure(step: Callable[[], float], steps: int) -> float:
    """Seconds a step."""
    began = time.perf_counter()
    for _ in range(steps):
        step()
    return (time.perf_counter() - began) / steps


def main(argv: list[str] | None = None) -> int:
    """Run the comparison and print it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dataset", default="folder:data/cifar10-jpeg", help="(default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=128, help="(default: %(default)s)")
    parser.add_argument("--steps", type=int, default=4, help="per round (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each (default: %(default)s)")
    arguments = parser.parse_args(argv)
    images = torch.from_numpy(load(arguments.dataset)["train_images"].numpy().copy())
    contenders = {
        "plain": plain_trainer(images, arguments.batch_size, 0.5, workers=os.cpu_count() or 1),
        "alphacl": our_trainer(images, arguments.dataset, arguments.batch_size, 0.5),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for name, steps in contenders.items():
        measure(lambda steps=steps: next(steps), 2)  # type: ignore[misc] - warm up: workers started, kernels chosen
        print(f"{name} is warm", flush=True)
    for _ in range(arguments.rounds):
        for name, steps in contenders.items():
            seconds[name].append(measure(lambda steps=steps: next(steps), arguments.steps))  # type: ignore[misc]
    ratios = [plain / ours for plain, ours in zip(seconds["plain"], seconds["alphacl"], strict=True)]
    summary = {
        "images_per_s": {name: round(arguments.batch_size / statistics.median(values), 1) for name, values in seconds.items()},
        "s_per_step": {name: [round(f(v), 3) for f in (min, statistics.median, max)] for name, v in seconds.items()},
        "ratio_plain_over_alphacl": [round(f(ratios), 2) for f in (min, statistics.median, max)],
        "n": arguments.rounds,
        "steps_per_round": arguments.steps,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "torch": torch.__version__,
    }
    print(json.dumps(summary, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
