"""The pictures of the evidence, drawn from records."""

import re
from pathlib import Path

import pytest

from results.draw_by_family import main

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_picture_per_dataset_is_drawn_from_records_alone(tmp_path, capsys):
    assert main(["--sweep", f"{ROOT}/results/evidence/paper_small/", "--out", str(tmp_path / "study")]) == 0
    drawn = sorted(file.name for file in tmp_path.iterdir())
    assert drawn == ["study_cifar10-jpeg.png", "study_cifar100-jpeg.png"]
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in drawn)


def test_a_sweep_of_one_family_has_nothing_to_draw(sweep, figures, tmp_path, capsys):
    storage = sweep([({"seed": 0}, figures(50.0))])
    assert main(["--sweep", "s", "--storage", str(storage), "--out", str(tmp_path / "x")]) == 2
    assert "has no dataset with two families" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.png"))


def test_every_picture_of_the_evidence_is_there():
    page = ROOT / "results" / "evidence" / "README.md"
    named = re.findall(r"\]\((\S+\.png)\)", page.read_text(encoding="utf-8"))
    assert sorted(named) == sorted(file.name for file in page.parent.glob("*.png"))
    assert named
