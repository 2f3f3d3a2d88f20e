"""``submit.py``: what it hands to ``alphacl``, and what it refuses; with a real Ray, whether it waits and looks at the nodes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.submit import build_parser, check_nodes, command_line, find_file, use_token, wait_for_nodes
from results.record.layout import SPACE as SPACE_FILE
from results.record.layout import SWEEP as SWEEP_FILE
from search_spaces import load_spec
from trainer import UserError

SCRIPT = Path(__file__).parents[2] / "orchestrator" / "submit.py"
TEXT = "trial: {dataset: digits, images: 200, epochs: 1}\nspace: {seed: [0, 1]}\n"


def words(*argv: object) -> list[str]:
    arguments, others = build_parser().parse_known_args([str(word) for word in argv])
    return command_line(arguments, others)


@pytest.fixture
def launched(tmp_path, write):
    """A sweep 'space' in storage, as launched with --set epochs=2."""
    folder = tmp_path / "runs" / "space"
    folder.mkdir(parents=True)
    (folder / SWEEP_FILE).write_text("{}")
    (folder / SPACE_FILE).write_text(load_spec(write(TEXT), ("epochs=2",)).document.text)
    return tmp_path / "runs"


def test_a_new_sweep_is_launched_with_all_that_was_given(tmp_path, write, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    file = write(TEXT)
    given = words(file, "--storage", tmp_path / "runs", "--set", "epochs=2", "--tracking-uri", "http://m:5000", "--nodes", 3)
    assert given == ["sweep", str(file), "--name", "space", "--set", "epochs=2", "--storage", str(tmp_path / "runs"),
                     "--address", "auto", "--tracking-uri", "http://m:5000"]  # fmt: skip
    monkeypatch.setenv("ALPHACL_STORAGE", "/mnt/runs")
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert words("quickstart")[-4:] == ["--storage", "/mnt/runs", "--address", "10.0.0.1:6379"]


def test_a_sweep_that_is_there_is_gone_on_with(launched, write):
    given = words(
        write(TEXT),
        "--storage",
        launched,
        "--set",
        "epochs=2",
        "--tracking-uri",
        "x",
        "--study-storage",
        "y",
        "--data-dir",
        "/data",
    )
    assert given[:4] == ["resume", "space", "--trust-plugins", "--trust-paths"]  # it is the user's own search space
    assert given[-6:] == ["--tracking-uri", "x", "--study-storage", "y", "--data-dir", "/data"]


@pytest.mark.parametrize("changed", [(), ("--set", "epochs=3")])
def test_another_space_under_the_same_name_is_refused(launched, write, changed):
    with pytest.raises(UserError, match=r"'space' in .* was launched from another search space"):
        words(write(TEXT), "--storage", launched, *changed)
    assert words(write(TEXT), "--storage", launched, *changed, "--name", "other")[0] == "sweep"


def test_no_storage_is_refused(monkeypatch):
    monkeypatch.delenv("ALPHACL_STORAGE", raising=False)
    with pytest.raises(UserError, match="give --storage PLACE, or set ALPHACL_STORAGE"):
        words("quickstart")


def test_a_file_counts_from_the_project_on_the_head(tmp_path, monkeypatch):
    project = tmp_path / "alphacl"
    project.mkdir()
    (project / "mine.yaml").write_text(TEXT)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_file("mine.yaml") == project / "mine.yaml"
    with pytest.raises(UserError, match=r"no file nosuch\.yaml"):
        find_file("nosuch.yaml")


def test_the_token_is_used_where_there_is_one(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    use_token()
    assert "RAY_AUTH_MODE" not in os.environ
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray/auth_token").write_text("ab")
    use_token()
    assert os.environ.pop("RAY_AUTH_MODE") == "token"
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    use_token()
    assert os.environ["RAY_AUTH_MODE"] == "disabled"


@pytest.mark.slow
def test_it_works_alone_in_another_folder(tmp_path):
    """As ray submit leaves it: copied, beside nothing."""
    shutil.copy(SCRIPT, tmp_path)
    command = [sys.executable, "submit.py", "quikstart", "--storage", "runs"]
    environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parents[1])}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "submit.py: error: no search space 'quikstart'; did you mean 'quickstart'?\n"
    plan = subprocess.run([*command[:2], "quickstart", *command[3:], "--dry-run"], cwd=tmp_path, env=environment,
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert plan.returncode == 0, plan.stderr
    assert f"sweep folder {tmp_path}/runs/quickstart" in plan.stdout


@pytest.mark.ray
def test_it_waits_for_nodes_and_says_what_is_missing(ray_here, write, capsys):
    spec = load_spec(write(TEXT))
    wait_for_nodes(spec, 1, 5)
    with pytest.raises(UserError, match=r"1 of 2 nodes have joined, and one can hold a trial \(1 CPU\)"):
        wait_for_nodes(spec, 2, 0)
    with pytest.raises(UserError, match=r"none can hold a trial \(1 CPU and 1 GPU\)"):
        wait_for_nodes(load_spec(write(TEXT + "resources: {gpu: 1}\n")), 1, 1)
    assert capsys.readouterr().out == "waiting for 1 nodes, one of them with 1 CPU and 1 GPU; 1 are here\n"


@pytest.mark.ray
def test_it_looks_at_the_storage_from_every_node(ray_here, tmp_path, capsys):
    check_nodes(tmp_path / "runs")
    assert capsys.readouterr().out == f"1 nodes share {tmp_path}/runs\n"
    assert not list((tmp_path / "runs").iterdir())
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write to the storage"):
        check_nodes(tmp_path / "file" / "runs")
