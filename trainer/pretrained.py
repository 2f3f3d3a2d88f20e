"""Encoders that exist already: reading one to probe it, and writing one that torchvision loads."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from trainer.config import TrialConfig
from trainer.errors import UserError
from trainer.files import read_torch, save_checkpoint

WRAPPERS = ("encoder", "state_dict", "model", "model_state_dict")  # keys under which others keep a state dict
PREFIXES = ("module.", "encoder.", "backbone.")


class Pretrained:
    """The weights of an encoder, read from a file.

    The file is this project's ``encoder.pt`` or ``checkpoint.pt``, or a state dict under torchvision's names, with or without a
    classifier ``fc``, which is left out.

    Raises:
        UserError: if the file cannot be read, or holds no state dict.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        try:
            loaded = read_torch(file)
            self.sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
        except OSError as error:
            raise UserError(f"cannot read the encoder {file}: {error.strerror or error}") from None
        except ValueError as error:
            raise UserError(f"cannot read the encoder {file}: {error}") from None
        self.weights = _state_dict(loaded, file)

    def load_into(self, encoder: nn.Module, name: str, size: int) -> None:
        """Load the weights into an encoder; ``name`` and ``size``, its call string and the images' side, are for error messages.

        Raises:
            UserError: if the weights are another architecture's, or not all finite.
        """
        expected = encoder.state_dict()
        hint = f"it does not suit encoder={name} for images of {size}×{size}"
        for key, tensor in expected.items():
            if key not in self.weights:
                if key.endswith("num_batches_tracked"):
                    self.weights[key] = tensor.clone()
                    continue
                raise UserError(f"the encoder {self.file} has no {key}; {hint}")
            found = self.weights[key]
            if found.shape != tensor.shape:
                shapes = [" × ".join(map(str, t.shape)) or "a number" for t in (found, tensor)]
                stem = "; the stem differs, see stem= and width= of --encoder" if key == "conv1.weight" else ""
                raise UserError(f"the encoder {self.file} has {key} of {shapes[0]}, expected {shapes[1]}{stem}; {hint}")
            if not found.isfinite().all():
                raise UserError(f"the encoder {self.file} holds numbers that are not finite, in {key}")
        if extra := self.weights.keys() - expected.keys():
            raise UserError(f"the encoder {self.file} also has {min(extra)}; {hint}")
        encoder.load_state_dict(self.weights)

    def digest(self, config: TrialConfig) -> str:
        """Return a digest that names the probe of these weights under this configuration.

        It is never that of a trial which pretrains its own encoder.
        """
        return hashlib.sha256(f"{config.digest} {self.sha256}".encode()).hexdigest()[:16]

    def describe(self) -> dict[str, str]:
        """Return the file's name and its SHA-256, for the trial's record."""
        return {"file": self.file.name, "sha256": self.sha256}


def _state_dict(loaded: Any, file: Path) -> dict[str, Tensor]:
    for key in WRAPPERS:
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
            break
    if not isinstance(loaded, dict) or not loaded or not all(isinstance(v, Tensor) for v in loaded.values()):
        raise UserError(f"{file} holds no encoder; expected a state dict, or a checkpoint of this program")
    for prefix in PREFIXES:
        if all(key.startswith(prefix) for key in loaded):
            loaded = {key.removeprefix(prefix): tensor for key, tensor in loaded.items()}
    return {key: tensor for key, tensor in loaded.items() if not key.startswith("fc.")}


def export(encoder: nn.Module | dict[str, Tensor], file: Path) -> str:
    """Write an encoder's weights under torchvision's names, float32 on the CPU; return a line on how to load them.

    Raises:
        OSError: if the file can't be written.
    """
    state = encoder.state_dict() if isinstance(encoder, nn.Module) else encoder
    plain = {key: tensor.detach().cpu().contiguous() for key, tensor in state.items()}
    save_checkpoint(file, plain)
    stem = plain.get("conv1.weight")
    if stem is None or "layer4.0.conv1.weight" not in plain:
        return f"{file}: not an encoder of torchvision's; load it with trainer.encoders"
    name = "resnet50" if "layer1.0.conv3.weight" in plain else "resnet34" if "layer1.2.conv1.weight" in plain else "resnet18"
    lines = [f"model = torchvision.models.{name}()", "model.fc = torch.nn.Identity()"]
    width, channels, kernel, _ = stem.shape
    if kernel == 3:
        lines.append(f"model.conv1 = torch.nn.Conv2d({channels}, {width}, 3, 1, 1, bias=False)")
        lines.append("model.maxpool = torch.nn.Identity()")
    elif channels != 3:
        lines.append(f"model.conv1 = torch.nn.Conv2d({channels}, {width}, 7, 2, 3, bias=False)")
    if width != 64:
        return f"{file}: of width {width}, which torchvision's {name} (64) has not; load it with trainer.encoders"
    lines.append(f"model.load_state_dict(torch.load({str(file)!r}))")
    return f"{file}: " + "; ".join(lines)
