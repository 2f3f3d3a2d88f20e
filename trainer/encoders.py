"""Encoders: ResNets with the stem that suits the image size, and a small convnet; the projector of the protocol.

A ResNet's parameters bear torchvision's names, so that a full-width encoder's state dict loads into ``torchvision.models``.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from trainer.calls import parse_call
from trainer.registry import F, find, register

STEM_RULE = "one of auto, small, standard"


def encoder(**bounds: str) -> Callable[[F], F]:
    """Register an encoder: a function from (channels, side in pixels) to a module with ``feature_dim``, (N, C, H, W) → (N, F)."""
    return register("encoder", bounds, inputs=2)


class ResNet(nn.Module):
    """A ResNet without its classifier: images (N, C, H, W) → features (N, feature_dim).

    The ``small`` stem is a 3×3 convolution with stride 1 and no max-pool (32×32 images), ``standard`` torchvision's own.
    """

    def __init__(
        self, block: type[BasicBlock] | type[Bottleneck], layers: list[int], width: int, small: bool, channels: int
    ) -> None:
        super().__init__()
        kernel, stride, padding = (3, 1, 1) if small else (7, 2, 3)
        self.conv1 = nn.Conv2d(channels, width, kernel, stride, padding, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.Identity() if small else nn.MaxPool2d(3, stride=2, padding=1)
        inputs = width
        for index, count in enumerate(layers):
            outputs = width * 2**index
            blocks = []
            for place in range(count):
                stride = 2 if index > 0 and place == 0 else 1
                expanded = outputs * block.expansion
                shortcut = None
                if stride != 1 or inputs != expanded:
                    shortcut = nn.Sequential(nn.Conv2d(inputs, expanded, 1, stride, bias=False), nn.BatchNorm2d(expanded))
                # Bottleneck takes its inner width from base_width; planes of 64 × 2^i is what it is written for.
                blocks.append(block(inputs, outputs, stride, shortcut))
                inputs = expanded
            setattr(self, f"layer{index + 1}", nn.Sequential(*blocks))
        self.feature_dim = inputs
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for index in range(1, 5):
            x = getattr(self, f"layer{index}")(x)
        return x.mean(dim=(2, 3))


class ConvNet(nn.Module):
    """Three 3×3 convolutions with BatchNorm for images of about 8×8: (N, C, H, W) → (N, 4 · width)."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()

        def layer(inputs: int, outputs: int, stride: int) -> nn.Sequential:
            conv = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
            return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))

        self.layers = nn.Sequential(layer(channels, width, 1), layer(width, 2 * width, 2), layer(2 * width, 4 * width, 2))
        self.feature_dim = 4 * width

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.layers(x)
        return features.mean(dim=(2, 3))


@encoder(width=">= 1", stem=STEM_RULE)
def resnet18(channels: int, size: int, width: int = 64, stem: str = "auto") -> ResNet:
    """ResNet-18; ``width`` is its first stage's."""
    return ResNet(BasicBlock, [2, 2, 2, 2], width, _is_small(stem, size), channels)


@encoder(width=">= 1", stem=STEM_RULE)
def resnet50(channels: int, size: int, width: int = 64, stem: str = "auto") -> ResNet:
    """ResNet-50; ``width`` is its first stage's bottleneck."""
    return ResNet(Bottleneck, [3, 4, 6, 3], width, _is_small(stem, size), channels)


@encoder(width=">= 1")
def convnet(channels: int, size: int, width: int = 32) -> ConvNet:
    """A small convnet for digits."""
    return ConvNet(width, channels)


def _is_small(stem: str, size: int) -> bool:
    return size <= 64 if stem == "auto" else stem == "small"


def check_encoder(name: str) -> dict[str, object]:
    """The hyper-parameters that an encoder's call string gives, checked; ``auto`` has none.

    Raises:
        UserError: unknown encoder or hyper-parameter.
    """
    if name == "auto":
        return {}
    call = parse_call(name)
    return find("encoder", call.name, also=("auto",)).bind(call)


def make_encoder(name: str, channels: int, size: int) -> nn.Module:
    """The encoder that a call string names, for images of (channels, size, size); it has ``feature_dim``.

    ``auto`` is the convnet for images below 16 pixels, ResNet-18 for larger ones.
    """
    if name == "auto":
        name = "convnet" if size < 16 else "resnet18"
    module: nn.Module = find("encoder", parse_call(name).name).function(channels, size, **check_encoder(name))
    return module


def make_projector(inputs: int, outputs: int) -> nn.Sequential:
    """Linear, BatchNorm without affine, ReLU, Linear (the authors' code): features (N, inputs) → (N, outputs)."""
    norm = nn.BatchNorm1d(inputs, affine=False)
    return nn.Sequential(nn.Linear(inputs, inputs), norm, nn.ReLU(inplace=True), nn.Linear(inputs, outputs))


def count_parameters(module: nn.Module) -> int:
    """Trainable parameters."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)
