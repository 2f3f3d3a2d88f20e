import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from results.record.sweep_writer import SweepWriter
from search_spaces import load_spec
from trainer.files import checksum, write_json
from trainer.image_sources import MIXED

COMMANDS = (
    "sweep", "resume", "status", "stop", "retry", "log", "table", "best", "trials", "report", "sensitivity", "compare",
    "import", "track", "remove", "rename", "ui", "doctor", "spaces",
)  # fmt: skip


OLD = Path(__file__).parents[1] / "data" / "made_by_853551f"


def test_help_is_there_for_every_command(capsys):
    from orchestrator.cli import build_parser, main

    text = build_parser().format_help()
    assert all(command in text for command in COMMANDS)
    for command in COMMANDS:
        with pytest.raises(SystemExit) as left:
            main([command, "--help"])
        assert left.value.code == 0
        assert capsys.readouterr().out.startswith(f"usage: alphacl {command}")


@pytest.mark.slow
def test_what_only_reads_the_folder_starts_fast():
    """``--help``, ``status`` and ``table`` load neither PyTorch nor Ray nor MLflow; also as ``python -m orchestrator``."""
    words = "'--help'", "'status', '--storage', '/nowhere'", "'table', 'x', '--storage', '/nowhere'"
    for word in words:
        code = (
            f"import sys\nsys.argv = ['x', {word}]\ntry: import orchestrator.__main__\nexcept SystemExit: pass\n"
            "print([m for m in ('torch', 'ray', 'mlflow', 'optuna') if m in sys.modules])"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "[]", word


@pytest.mark.slow
@pytest.mark.parametrize("command", ["status", "table", "report --out x.html", "sensitivity --out x.png", "export records"])
def test_what_reads_a_finished_sweep_does_without_pytorch(tmp_path, command):
    """Its results carry checksums, so that no configuration has to be built to believe them."""
    shutil.copytree(OLD / "grid", tmp_path / "grid")
    for file in tmp_path.glob("grid/trials/*/result.json"):
        record = json.loads(file.read_text())
        write_json(file, {**record, "checksum": checksum(record)})
    first, *others = command.split()
    argv = [first, "grid", *others, "--storage", "."]
    code = f"import sys\nfrom orchestrator.cli import main\nassert main({argv!r}) == 0\n"
    code += "print([m for m in ('torch', 'ray', 'mlflow', 'optuna', 'matplotlib.pyplot', 'scipy.stats') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "[]"


def test_spaces(alphacl):
    code, out, _ = alphacl("spaces")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == sorted(line.split()[0] for line in out.splitlines())
    assert "quickstart" in out
    listed = json.loads(alphacl("spaces", "--json")[1])
    assert {"name", "trials", "description"} == set(listed[0])


@pytest.mark.slow
def test_a_dry_run_prints_the_plan_and_leaves_nothing(alphacl, tmp_path):
    code, out, _ = alphacl("sweep", "quickstart", "--dry-run", "--storage", tmp_path / "runs")
    assert code == 0
    assert "14 trials" in out
    assert "digits · direct(p=4) · tau 0.5 · seeds 0, 1" in out
    assert "280 epochs in all" in out
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("metric", "towards"), [("val/linear", "maximising"), ("feature/alpha_req_gap", "minimising")])
def test_a_dry_run_says_which_way_a_search_goes(alphacl, write, metric, towards):
    space = "trial: {dataset: digits, images: 128, epochs: 1, batch_size: 64}\nspace: {tau: {float: [0.1, 1.0]}}\n"
    code, out, err = alphacl("sweep", write(f"{space}search: {{trials: 4, metric: {metric}}}\n"), "--dry-run")
    assert code == 0, err
    assert f"suggested by Optuna (tpe, seed 0), {towards} {metric}\n" in out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["sweep", "quickstrat"], "no search space 'quickstrat'; did you mean 'quickstart'?"),
        (["sweep", "quickstart", "--name", "a/b"], "--name: expected letters"),
        (["sweep", "quickstart", "--storage", "/proc/no"], "cannot write the sweep folder /proc/no/quickstart"),
        (["sweep", "quickstart", "--set", "dataset=folder:/nowhere"], "--set dataset=folder:/nowhere: no folder /nowhere"),
        (["sweep", "quickstart", "--set", "batch_size=9999"], "--set batch_size=9999: expected batch_size <= "),
        (["sweep", "quickstart", "--dry-run", "--set", "batch_size=9999"], "--set batch_size=9999: expected batch_size <= "),
        (["sweep", "quickstart", "--address", "127.0.0.1:1"], "--address 127.0.0.1:1: nobody answers there"),
        pytest.param(
            ["sweep", "quickstart", "--tracking-uri", "sqlite:////proc/nowhere/m.db"],
            "cannot open the tracking store",
            marks=pytest.mark.slow,
        ),
        (["sweep", "quickstart", "--set", "resources.gpu=1"], "a trial wants gpu: 1, and the largest node has 0"),
        (["swep", "quickstart"], "alphacl: error: argument COMMAND: invalid choice: 'swep' (choose from"),
        (["sweep"], "alphacl sweep: error: the following arguments are required: NAME_OR_FILE.yaml"),
        (["sweep", "quickstart", "--trails", "3"], "alphacl sweep: error: unknown option '--trails'; did you mean '--trials'?"),
        (["table", "none", "--fromat=tex"], "alphacl table: error: unknown option '--fromat'; did you mean '--format'?"),
        (["status", "a", "b"], "alphacl status: error: unexpected 'b'"),
        (["ui", "--port", "x"], "alphacl ui: error: argument --port: invalid int value: 'x'"),
        (["resume", "none"], "no sweep 'none'"),
        (["status", "none"], "no sweep 'none'"),
        (["table", "none"], "no sweep 'none'"),
        (["ui"], "no sweeps recorded in"),
        (["ui", "--tracking-uri", "sqlite:///x", "--port", "99999"], "--port: expected a port"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(alphacl, words, says, tmp_path, data_root, request):
    needs_ray = any(w in words for w in ("--tracking-uri", "resources.gpu=1")) and words[0] == "sweep"
    if needs_ray:
        request.getfixturevalue("ray_here")
    storage = [] if "--storage" in words else ["--storage", tmp_path / "runs"]
    code, out, err = alphacl(*words, *storage)
    assert code == 2
    assert says in err
    assert "trials" not in out, "no plan of what cannot be run"
    assert len(err.splitlines()) == 1
    assert not list((tmp_path / "runs").glob("*/sweep.json")), "the name is free again"


def test_an_unreadable_image_is_said_with_the_line_of_the_yaml(alphacl, write, tmp_path, image_tree, data_root):
    import shutil

    tree = tmp_path / "tree"
    shutil.copytree(image_tree, tree)
    (tree / "train" / "digit0" / "000.png").write_bytes(b"no image")
    file = write(f"trial:\n  epochs: 1\nspace:\n  dataset:\n    - digits\n    - folder:{tree}\n")
    code, _, err = alphacl("sweep", file, "--storage", tmp_path / "runs")
    assert code == 2
    assert f"{file}:6: cannot read the image {tree}/train/digit0/000.png" in err


@pytest.mark.slow
@pytest.mark.parametrize(("setting", "warns"), [("shuffle: [true, false]", True), ("seed: [0]", False)])
@pytest.mark.parametrize("order", ["", MIXED])
def test_an_unshuffled_image_folder_is_warned_of_once(alphacl, write, tmp_path, image_tree, data_root, setting, warns, order):
    file = write(f"trial: {{epochs: 1, dataset: 'folder:{image_tree}{order}'}}\nspace:\n  {setting}\n  batch_size: [16, 32]\n")
    code, _, err = alphacl("sweep", file, "--dry-run", "--storage", tmp_path / "runs")
    assert code == 0, err
    assert err.count("warning: shuffle: false reads an image folder class by class") == (warns and not order)


def test_a_sweep_has_one_driver(alphacl, tmp_path, data_root, write):
    spec = load_spec(write("trial: {epochs: 1}\n"))
    folder = SweepWriter.create(tmp_path / "runs", "x", spec, {"tracking_uri": "sqlite:///x"})
    with folder.driving():
        code, _, err = alphacl("resume", "x", "--storage", tmp_path / "runs")
        assert code == 2
        assert "is being run by another process" in err
        assert json.loads(alphacl("status", "x", "--storage", tmp_path / "runs", "--json")[1])["state"] == "running"
    assert json.loads(alphacl("status", "x", "--storage", tmp_path / "runs", "--json")[1])["state"] == "interrupted"


def test_a_damaged_record_is_said_before_anything_runs(alphacl, tmp_path, data_root, write):
    folder = SweepWriter.create(tmp_path / "runs", "x", load_spec(write("trial: {epochs: 1}\n")), {})
    (trial,) = folder.record.trials()
    (trial.folder / "result.json").write_text('{"digest": "')
    code, _, err = alphacl("resume", "x", "--storage", tmp_path / "runs")
    assert code == 2
    assert "result.json is damaged" in err
    assert len(err.splitlines()) == 1
    assert not list(trial.folder.glob("attempt-*"))


def test_a_foreign_folder_is_left_alone(alphacl, tmp_path, write):
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    (tmp_path / "runs" / "mine" / "thesis.tex").write_text("precious")
    code, _, err = alphacl("sweep", "quickstart", "--name", "mine", "--storage", tmp_path / "runs")
    assert code == 2
    assert "is there and is no sweep" in err
    assert (tmp_path / "runs" / "mine" / "thesis.tex").read_text() == "precious"


def test_status_of_all_sweeps(alphacl, tmp_path, write):
    assert "no sweeps in" in alphacl("status", "--storage", tmp_path / "runs")[1]
    SweepWriter.create(tmp_path / "runs", "x", load_spec(write("space: {seed: [0, 1]}\n")), {})
    assert alphacl("status", "--storage", tmp_path / "runs")[1] == "x: interrupted; 2 trials: 2 waiting\n"


@pytest.mark.ray
def test_a_launch_that_fails_leaves_nothing_behind(alphacl, tmp_path, empty_store, data_root, ray_here, monkeypatch):
    """Also where it fails after MLflow's process has entered the sweep."""
    import mlflow

    from orchestrator.driver import run_sweep as runner

    storage = tmp_path / "runs"
    storage.mkdir()
    shutil.copy(empty_store, storage / "mlflow.db")
    client = mlflow.MlflowClient(f"sqlite:///{storage / 'mlflow.db'}")
    check, seen = runner.check_resources, []

    def check_late(spec):
        deadline = time.monotonic() + 120
        while not seen and time.monotonic() < deadline:
            seen.extend(e.name for e in client.search_experiments() if e.name == "quickstart")
            time.sleep(0.2)
        check(spec)

    monkeypatch.setattr(runner, "check_resources", check_late)
    code, _, err = alphacl("sweep", "quickstart", "--set", "resources.gpu=1", "--storage", storage)
    assert (code, seen) == (2, ["quickstart"])
    assert "a trial wants gpu: 1" in err
    assert [e.name for e in client.search_experiments(view_type=mlflow.entities.ViewType.ALL)] == ["Default"]
    assert {p.name for p in storage.iterdir()} <= {"mlflow.db", "mlartifacts"}


def test_the_status_of_a_large_sweep_fits_a_screen(alphacl, tmp_path, write):
    spec = load_spec(
        write("trial: {dataset: digits}\nspace: {lr: [0.001, 0.002, 0.003], tau: [0.1, 0.2, 0.3], seed: [0, 1, 2, 3]}\n")
    )
    folder = SweepWriter.create(tmp_path / "runs", "large", spec, {})
    broken = folder.record.trials()[-1]
    folder.trial(broken.digest).fail("failed", "out of memory")
    code, out, _ = alphacl("status", "large", "--storage", tmp_path / "runs")
    lines = out.splitlines()
    assert (code, len(lines)) == (0, 4)
    assert lines[0] == "large: interrupted; 36 trials: 1 failed, 35 waiting"
    assert broken.digest[:8] in lines[2]
    assert lines[3] == "  and 35 more trials; --all lists them"
    _, out, _ = alphacl("status", "large", "--storage", tmp_path / "runs", "--all")
    assert len(out.splitlines()) == 2 + 36
    _, out, _ = alphacl("status", "large", "--storage", tmp_path / "runs", "--json")
    assert len(json.loads(out)["trials"]) == 36
