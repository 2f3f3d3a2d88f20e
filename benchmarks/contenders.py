"""Trainers to compare with: what one would write first in PyTorch, lightly's SimCLR, and ours, each as a generator of steps.

All see the same images, encoder (ResNet-18, 32×32 stem), projector, batch, objective and optimiser, and the same random
transforms. The first two augment image by image in DataLoader workers and compute in float32.
"""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Generator
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torchvision import transforms

from trainer import TrialConfig
from trainer.numerics import choose
from trainer.objectives import make_objective
from trainer.pretrain import Pretrainer, build
from trainer.projectors import make_projector
from trainer.recipes import CIFAR_MEAN, CIFAR_STD

TAU, RATE = 0.5, 1e-3
Steps = Generator[Tensor, None, None]  # yields the loss of each step


def versions() -> dict[str, str | None]:
    """Of what is compared; lightly's is None where it is not installed."""
    try:
        lightly = importlib.metadata.version("lightly")
    except importlib.metadata.PackageNotFoundError:
        lightly = None
    return {"torch": torch.__version__, "torchvision": torchvision.__version__, "lightly": lightly}


class Pictures(torch.utils.data.Dataset[Any]):
    """uint8 images as PIL images through a transform."""

    def __init__(self, images: Tensor, transform: Any) -> None:
        self.images, self.transform = images, transform
        self.to_pil = transforms.ToPILImage()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Any:
        return self.transform(self.to_pil(self.images[index]))


class TwoViews:
    """torchvision's transforms twice, as the protocol has them."""

    def __init__(self, size: int) -> None:
        self.one = transforms.Compose([
            transforms.RandomResizedCrop(size),
            transforms.RandomHorizontalFlip(),
            transforms.RandomApply([transforms.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
            transforms.RandomGrayscale(p=0.2),
            transforms.ToTensor(),
            transforms.Normalize(CIFAR_MEAN, CIFAR_STD),
        ])  # fmt: skip

    def __call__(self, picture: Any) -> tuple[Tensor, Tensor]:
        return self.one(picture), self.one(picture)


class Torchvision(nn.Module):
    """torchvision's ResNet-18 with the stem for small images, and the projector of the protocol or another."""

    def __init__(self, width: int, projector: nn.Module | None = None) -> None:
        super().__init__()
        if width == 64:
            self.encoder: nn.Module = torchvision.models.resnet18()
            self.encoder.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
            self.encoder.maxpool = nn.Identity()
            self.encoder.fc = nn.Identity()
        else:  # torchvision has no narrow ResNet-18
            self.encoder, _ = build(TrialConfig(dataset="cifar10", encoder=f"resnet18(width={width})"), 3, 32)
        self.projector = projector or make_projector("mlp", 8 * width, 128)

    def forward(self, x: Tensor) -> Tensor:
        embeddings: Tensor = self.projector(self.encoder(x))
        return embeddings


def loader(images: Tensor, transform: Any, batch_size: int, workers: int) -> torch.utils.data.DataLoader[Any]:
    """A loader as tutorials have it."""
    return torch.utils.data.DataLoader(
        Pictures(images, transform),
        batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=workers > 0,
    )


def plain(
    images: Tensor, batch_size: int, width: int, device: torch.device, rate: float = RATE, model: Torchvision | None = None
) -> Steps:
    """A plain PyTorch trainer: two forwards, Adam; yields each step's loss on the device. ``model`` is trained if given."""
    model = (model or Torchvision(width)).to(device)
    batches = loader(images, TwoViews(images.shape[-1]), batch_size, workers(device))
    yield from _train(model, batches, make_objective("infonce", TAU), device, rate)


def lightly(images: Tensor, batch_size: int, width: int, device: torch.device, rate: float = RATE) -> Steps:
    """lightly's SimCLR: its transform, projection head and NT-Xent loss in the loop of its documentation.

    Raises:
        ImportError: lightly is not installed.
    """
    os.environ.setdefault("LIGHTLY_DID_VERSION_CHECK", "True")  # it asks a server for news otherwise
    from lightly.loss import NTXentLoss  # type: ignore[import-not-found]
    from lightly.models.modules import SimCLRProjectionHead  # type: ignore[import-not-found]
    from lightly.transforms import SimCLRTransform  # type: ignore[import-not-found]

    size = images.shape[-1]
    transform = SimCLRTransform(
        input_size=size, cj_strength=0.5, gaussian_blur=0.0, normalize={"mean": list(CIFAR_MEAN), "std": list(CIFAR_STD)}
    )
    model = Torchvision(width, SimCLRProjectionHead(8 * width, 8 * width, 128)).to(device)
    yield from _train(
        model, loader(images, transform, batch_size, workers(device)), NTXentLoss(TAU), device, rate, normalise=False
    )


def _train(model: nn.Module, batches: Any, objective: Any, device: torch.device, rate: float, normalise: bool = True) -> Steps:
    optimiser = torch.optim.Adam(model.parameters(), lr=rate)
    model.train()
    while True:
        for views in batches:
            z = [model(view.to(device, non_blocking=True)) for view in views[:2]]
            loss = objective(*(nn.functional.normalize(v, dim=1) for v in z) if normalise else z)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            yield loss.detach()


def workers(device: torch.device) -> int:
    """Loader processes: all cores, eight at most."""
    return min(8, os.cpu_count() or 1)


def ours(trainer: Pretrainer) -> Steps:
    """:class:`trainer.pretrain.Pretrainer`, step by step, epoch after epoch."""
    trainer.encoder.train()
    trainer.projector.train()
    while True:
        for step, (batch, parameters) in enumerate(zip(trainer.batches(), trainer.parameters(), strict=True)):
            yield trainer.train_step(batch, parameters, step)[0]


def our_trainer(
    images: Any, dataset: str, batch_size: int, width: int, device: torch.device, root: str | None = None, **settings: Any
) -> Pretrainer:
    """Ours with the settings of the others; numerics as a trial would choose them on this machine."""
    settings = {"epochs": 10_000, "schedule": "constant", "lr": RATE, **settings}
    config = TrialConfig(dataset=dataset, encoder=f"resnet18(width={width})", batch_size=batch_size, tau=TAU, **settings)
    encoder, _ = build(config, images.shape[1], images.shape[-1])
    numerics = choose(config, encoder, tuple(images.shape[1:]), device, root)
    return Pretrainer(config, images, device, numerics)
