"""Encoders: ResNets with the stem that suits the image size, a small convnet, and any of timm's.

A ResNet's parameters bear torchvision's names, so that a full-width encoder's state dict loads into ``torchvision.models``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from trainer.components import check_network, make
from trainer.errors import UserError, did_you_mean, first_line
from trainer.registry import F, register

if TYPE_CHECKING:  # torchvision's models take as long to import as PyTorch itself; a convnet does without them
    from torchvision.models.resnet import BasicBlock, Bottleneck

WIDTH_RULE = ">= 1 and <= 65536"
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


@encoder(width=WIDTH_RULE, stem=STEM_RULE)
def resnet18(channels: int, size: int, width: int = 64, stem: str = "auto") -> ResNet:
    """ResNet-18; ``width`` is its first stage's."""
    from torchvision.models.resnet import BasicBlock

    return ResNet(BasicBlock, [2, 2, 2, 2], width, _is_small(stem, size), channels)


@encoder(width=WIDTH_RULE, stem=STEM_RULE)
def resnet34(channels: int, size: int, width: int = 64, stem: str = "auto") -> ResNet:
    """ResNet-34; ``width`` is its first stage's."""
    from torchvision.models.resnet import BasicBlock

    return ResNet(BasicBlock, [3, 4, 6, 3], width, _is_small(stem, size), channels)


@encoder(width=WIDTH_RULE, stem=STEM_RULE)
def resnet50(channels: int, size: int, width: int = 64, stem: str = "auto") -> ResNet:
    """ResNet-50; ``width`` is its first stage's bottleneck."""
    from torchvision.models.resnet import Bottleneck

    return ResNet(Bottleneck, [3, 4, 6, 3], width, _is_small(stem, size), channels)


@encoder(width=WIDTH_RULE)
def convnet(channels: int, size: int, width: int = 32) -> ConvNet:
    """A small convnet for digits."""
    return ConvNet(width, channels)


class TimmEncoder(nn.Module):
    """An encoder of timm's, without its classifier and untrained: images (N, C, S, S) → features (N, feature_dim)."""

    def __init__(self, model: nn.Module, feature_dim: int) -> None:
        super().__init__()
        self.model, self.feature_dim = model, feature_dim

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.model(x)
        return features


@register("encoder", {}, inputs=2, positional=("model",))
def timm(channels: int, size: int, model: str) -> TimmEncoder:
    """Any encoder of the package timm by its name there, ``timm('convnext_atto')``, untrained, for images of this size.

    Raises:
        UserError: if timm is not installed, has no such model, or the model does not take images of this size.
    """
    try:
        import timm as package
    except ImportError:
        raise UserError("the encoder timm needs the package timm: pip install 'alphacl[timm]'") from None
    if model not in package.list_models():
        near = did_you_mean(model, package.list_models())
        raise UserError(f"timm has no model {model!r}{near if 'did you mean' in near else '; timm.list_models() names all'}")
    settings: dict[str, Any] = {"pretrained": False, "num_classes": 0, "in_chans": channels}
    try:
        try:
            made = package.create_model(model, img_size=size, **settings)  # vision transformers are built for one size
        except TypeError:
            made = package.create_model(model, **settings)
        made.eval()
        with torch.no_grad():
            shape = made(torch.zeros(1, channels, size, size)).shape
        made.train()
        if len(shape) != 2:
            raise ValueError(f"its features are of shape {tuple(shape)} for one image, not (1, F)")
    except Exception as error:  # noqa: BLE001 - another package's models raise anything
        raise UserError(f"timm's {model} does not take images of {size}×{size}: {first_line(error, 150)}") from None
    return TimmEncoder(made, shape[1])


def _is_small(stem: str, size: int) -> bool:
    return size <= 64 if stem == "auto" else stem == "small"


def check_features(module: nn.Module, name: str, channels: int, size: int) -> None:
    """Refuse an encoder of a plug-in whose output is not (N, feature_dim); those of this module are known to be right.

    Args:
        module: the encoder.
        name: its call string.
        channels: the images' channels.
        size: the images' side in pixels.

    Raises:
        UserError: if the encoder has no ``feature_dim``, cannot be run, or gives another shape.
    """
    if type(module).__module__ == __name__:
        return
    width = getattr(module, "feature_dim", None)
    if not isinstance(width, int) or isinstance(width, bool):
        raise UserError(f"the encoder {name} has no feature_dim; expected a whole number, the width of its features")
    check_network(module, f"the encoder {name}", torch.zeros(2, channels, size, size), width, ("images", "features"))


def make_encoder(name: str, channels: int, size: int) -> nn.Module:
    """The encoder that a call string names, for images of (channels, size, size); it has ``feature_dim``.

    ``auto`` is the convnet for images below 16 pixels, ResNet-18 for larger ones.
    """
    if name == "auto":
        name = "convnet" if size < 16 else "resnet18"
    module: nn.Module = make("encoder", name, channels, size)
    return module


def count_parameters(module: nn.Module) -> int:
    """Trainable parameters."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)
