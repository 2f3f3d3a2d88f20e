"""The best encoders of a sweep as MLflow models: ``mlflow.pytorch.load_model`` gives a module that needs PyTorch alone.

A model takes uint8 images (N, C, H, W), normalises them as in training, and gives the encoder's features (N, D). It is saved
as an exported program (``torch.export``), so loading it runs no code of ours and unpickles nothing.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mlflow.entities import LoggedModelOutput, LoggedModelStatus
from mlflow.models import Model, ModelSignature
from mlflow.pytorch import save_model
from mlflow.tracking import MlflowClient
from mlflow.types import Schema, TensorSpec
from torch import Tensor, nn

from orchestrator.mlflow_store import KEY_TAG, Store, pages
from results.records import TrialRecord
from trainer.augment import Recipe, recipe_for, to_float
from trainer.encoders import make_encoder
from trainer.errors import UserError
from trainer.sources import SHAPES

KEEP = 3  # encoders of a sweep; a ResNet-18's is 45 MB
RANK_TAG = "best encoder"


class ImagesToFeatures(nn.Module):
    """uint8 images (N, C, H, W) → features (N, D)."""

    def __init__(self, encoder: nn.Module, recipe: Recipe) -> None:
        super().__init__()
        self.encoder, self.recipe = encoder, recipe

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.encoder(to_float(images, self.recipe))
        return features


def best_trials(trials: list[TrialRecord], metric: str, keep: int = KEEP) -> list[TrialRecord]:
    """The finished trials with the best final ``metric`` whose encoder was kept, best first."""
    having = [t for t in trials if t.status == "finished" and t.encoder is not None]
    figures = {t.digest: ((t.result or {}).get("metrics") or {}).get(metric) for t in having}
    ranked = [t for t in having if isinstance(figures[t.digest], (int, float))]
    return sorted(ranked, key=lambda t: (-figures[t.digest], t.place))[:keep]  # type: ignore[operator]


def load_encoder(trial: TrialRecord) -> tuple[ImagesToFeatures, Tensor]:
    """A finished trial's encoder with its preprocessing, in eval mode, and an example batch of two images.

    Raises:
        UserError: the file can't be read or is not that of the trial's encoder.
    """
    config = trial.config
    try:
        state: dict[str, Any] = torch.load(str(trial.encoder), map_location="cpu", weights_only=True)
        first = next(value for value in state.values() if value.ndim == 4)
        channels = first.shape[1]
        # A folder's images may have any size: what the stem was made for is told by its kernel.
        _, known = SHAPES.get(str(config["dataset"]), (channels, None))
        size = config.get("image_size") or known or (32 if first.shape[-1] == 3 else 96)
        encoder = make_encoder(str(config["encoder"]), channels, size)
        encoder.load_state_dict(state)
    except Exception as error:  # noqa: BLE001 - a damaged file raises anything
        raise UserError(f"{trial.encoder}: cannot read the encoder: {str(error).splitlines()[0][:200]}") from None
    recipe = recipe_for(str(config["augmentation"]), str(config["dataset"]), size)
    return ImagesToFeatures(encoder, recipe).eval(), torch.zeros(2, channels, size, size, dtype=torch.uint8)


def save_encoder(module: ImagesToFeatures, example: Tensor, path: Path, model: Model | None = None) -> None:
    """Save an encoder as an MLflow model; requirements and signature are given, for finding them out costs seconds."""
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


def log_best(store: Store, trials: list[TrialRecord], metric: str, keep: int = KEEP) -> list[str]:
    """Log the best encoders on their runs, and take out those that no longer are among the best; returns what went wrong.

    A model is ``encoder`` of its run, ``runs:/RUN/encoder``.
    """
    best = {t.digest: t for t in best_trials(trials, metric, keep) if t.digest in store.runs}
    problems, there = [], set()
    for model in list(pages(store.client.search_logged_models, [store.experiment])):
        key = model.tags.get(KEY_TAG)
        whole = key in best and model.source_run_id == store.runs[key].run_id and model.status == LoggedModelStatus.READY
        if key is not None and (not whole or key in there):
            store.client.delete_logged_model(model.model_id)
        elif key is not None:
            there.add(key)
    for key, trial in best.items():
        try:
            if key not in there:
                _log(store.client, store.experiment, store.runs[key].run_id, trial)
        except UserError as error:
            problems.append(str(error))
    ranks = {key: f"{rank} of {len(best)} by {metric}" for rank, key in enumerate(best, start=1)}
    for key, known in store.runs.items():
        if known.tags.get(RANK_TAG) == ranks.get(key):
            continue
        if key in ranks:
            store.client.set_tag(known.run_id, RANK_TAG, ranks[key])
            known.tags[RANK_TAG] = ranks[key]
        else:
            store.client.delete_tag(known.run_id, RANK_TAG)
            del known.tags[RANK_TAG]
    return problems


def _log(client: MlflowClient, experiment: str, run: str, trial: TrialRecord) -> None:
    module, example = load_encoder(trial)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "model"
        tags = {KEY_TAG: trial.digest, "objective": trial.label}
        made = client.create_logged_model(experiment, "encoder", run, tags, model_type="encoder")
        facts = {"artifact_path": made.artifact_location, "model_uuid": made.model_id, "model_id": made.model_id, "run_id": run}
        save_encoder(module, example, path, Model(**facts))
        client.log_model_artifacts(made.model_id, str(path))
        client.log_outputs(run, [LoggedModelOutput(made.model_id, step=int(trial.config["epochs"]))])
        client.finalize_logged_model(made.model_id, LoggedModelStatus.READY)
