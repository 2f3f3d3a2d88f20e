"""The examples run as they stand: scripts as programs, search spaces to a finished trial of everything that they name."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from search_spaces import load_spec
from trainer import run_trial

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
GRID = ROOT / "tests" / "data" / "made_by_853551f" / "grid"


def run(script, *arguments, cwd=ROOT):
    command = [sys.executable, str(EXAMPLES / script), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_list_of_examples_names_every_file():
    text = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    missing = [f.name for f in EXAMPLES.iterdir() if f.suffix in (".py", ".yaml") and f.name not in text]
    assert missing == []


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.yaml")), ids=lambda file: file.stem)
def test_every_objective_and_encoder_of_a_space_trains(file, tmp_path, monkeypatch, data_root):
    monkeypatch.syspath_prepend(EXAMPLES)
    importlib.invalidate_caches()
    overrides = ["epochs=1", "seed=0", "images=300"]
    if file.stem == "own_images":
        run("make_image_folder.py", tmp_path / "digits-folder")
        overrides.append(f"dataset=folder:{tmp_path / 'digits-folder'}")
    leaves = load_spec(file, tuple(overrides)).leaves()
    tried = {(leaf.objective, leaf.encoder): leaf for leaf in leaves}
    assert len(tried) >= 2
    for config in tried.values():
        *_, last = run_trial(config, data_root=data_root)
        assert last.final
        assert 0 < last.metrics["test/linear"] <= 100


def test_one_encoder_is_saved(tmp_path, data_root):
    import torch

    assert "test accuracy of a linear probe" in run("one_encoder.py", tmp_path / "encoder.pt", 1)
    assert all(isinstance(v, torch.Tensor) for v in torch.load(tmp_path / "encoder.pt", weights_only=True).values())


def test_an_objective_in_a_training_loop_of_ones_own_learns():
    lines = run("own_training_loop.py", 3).splitlines()
    losses = [float(line.split("loss")[1].split()[0]) for line in lines]
    assert len(losses) == 3
    assert losses[-1] < losses[0]


def test_the_analysis_shows_the_figures_of_the_table():
    text = run("analysis.py", GRID)
    assert "grid: 15 finished trials, chosen by val/linear" in text
    assert "best val/linear alpha_of(triplet), test/linear 65.82" in text
