"""A trained encoder as a module that needs PyTorch alone, and as an MLflow model.

The module takes uint8 images (N, C, H, W), normalises them as in training, and returns the encoder's features (N, D). It is saved
as an exported program (``torch.export``), so loading it runs no code of ours and unpickles nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from mlflow.models import Model, ModelSignature
from mlflow.pytorch import save_model
from mlflow.types import Schema, TensorSpec
from torch import Tensor, nn

from results.record.reader import TrialRecord
from trainer.augment import to_float
from trainer.components import needs_no_memory
from trainer.encoders import make_encoder
from trainer.errors import UserError, first_line
from trainer.image_sources import SHAPES
from trainer.recipes import Recipe, recipe_for


class ImagesToFeatures(nn.Module):
    """An encoder with its preprocessing: uint8 images (N, C, H, W) → features (N, D).

    Args:
        encoder: takes normalised images.
        recipe: says how images are normalised.
    """

    def __init__(self, encoder: nn.Module, recipe: Recipe) -> None:
        super().__init__()
        self.encoder, self.recipe = encoder, recipe

    def forward(self, images: Tensor) -> Tensor:
        """Return the features (N, D) of uint8 images (N, C, H, W)."""
        features: Tensor = self.encoder(to_float(images, self.recipe))
        return features


def load_encoder(trial: TrialRecord) -> tuple[ImagesToFeatures, Tensor]:
    """Return a finished trial's encoder with its preprocessing, in eval mode, and an example batch of two images.

    Raises:
        UserError: if the file can't be read or is not that of the trial's encoder.
    """
    config = trial.config
    try:
        read: dict[str, Any] = torch.load(str(trial.encoder), map_location="cpu", weights_only=True)
        state = {name: value.contiguous() for name, value in read.items()}  # torch.export warns of weights in channels_last
        first = next(value for value in state.values() if value.ndim == 4)
        channels = first.shape[1]
        # A folder's images may have any size: the kernel of the stem shows what it was made for.
        _, usual_size = SHAPES.get(str(config["dataset"]), (channels, None))
        size = config.get("image_size") or usual_size or (32 if first.shape[-1] == 3 else 96)
        encoder = _encoder(str(config["encoder"]), channels, size, state)
    except Exception as error:  # noqa: BLE001 - a damaged file raises anything
        raise UserError(f"{trial.encoder}: cannot read the encoder: {first_line(error, 200)}") from None
    recipe = recipe_for(str(config["augmentation"]), str(config["dataset"]), size)
    return ImagesToFeatures(encoder, recipe).eval(), torch.zeros(2, channels, size, size, dtype=torch.uint8)


def _encoder(text: str, channels: int, size: int, state: dict[str, Any]) -> nn.Module:
    """Return the encoder with these weights; one of ours takes no memory of its own: somebody may have named one of any width."""
    if not needs_no_memory("encoder", text):
        encoder = make_encoder(text, channels, size)
        encoder.load_state_dict(state)
        return encoder
    with torch.device("meta"):
        encoder = make_encoder(text, channels, size)
    encoder.load_state_dict(state, assign=True)
    return encoder


def save_encoder(module: ImagesToFeatures, example: Tensor, path: Path, model: Model | None = None) -> None:
    """Save an encoder as an MLflow model.

    Its requirements and signature are written by us, because MLflow would take seconds to infer them.

    Args:
        module: the encoder with its preprocessing.
        example: a batch of images, uint8 (N, C, H, W).
        path: the folder to write.
        model: the MLflow model's ids and place, where it is logged to a run.
    """
    with torch.no_grad():
        width = module(example).shape[1]
    inputs = Schema([TensorSpec(np.dtype(np.uint8), (-1, *example.shape[1:]), "images")])
    outputs = Schema([TensorSpec(np.dtype(np.float32), (-1, width), "features")])
    save_model(
        module,
        str(path),
        mlflow_model=model,
        signature=ModelSignature(inputs, outputs),
        input_example=example,
        pip_requirements=[f"torch=={torch.__version__.partition('+')[0]}"],
        serialization_format="pt2",
    )
