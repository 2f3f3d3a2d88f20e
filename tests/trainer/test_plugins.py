"""A user's own constructor: by module name, by entry point, in a search space, and held to the contract."""

import os
import subprocess
import sys
from pathlib import Path

import optuna
import pytest

from search_spaces import Document, read_spec
from trainer.errors import UserError
from trainer.plugins import load_plugin

pytestmark = pytest.mark.slow

PLUGIN = '''
from torch import Tensor, softmax
from trainer.alphas import constructor
from trainer.pairs import Pairs

@constructor(beta="> 0")
def laplace(d: Pairs, tau: float, beta: float = 1.0) -> Tensor:
    """α_ij ∝ exp(−d_ij / τ)^β."""
    return softmax(-beta * d.inter.sqrt() / tau, dim=1)
'''
BROKEN = PLUGIN.replace("softmax(-beta", "-softmax(-beta").replace("laplace", "below_zero")  # α < 0
TESTS = Path(__file__).parent / "test_contract.py"


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """Write a module that can be imported, here and in a process of the environment that it returns."""
    monkeypatch.syspath_prepend(tmp_path)

    def put(text=PLUGIN, name="my_alphas"):
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
        return {**os.environ, "PYTHONPATH": str(tmp_path)}

    return put


def test_by_entry_point(plugin, tmp_path):
    env = plugin()
    info = tmp_path / "mine-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[alphacl.constructors]\nlaplace = my_alphas\nbroken = no_such_module\n")
    code = "from trainer.objectives import make_objective; print(make_objective('laplace(beta=2)', 0.5).name)"
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert done.stdout == "laplace(beta=2)\n"
    assert "cannot load the constructors of broken (no_such_module)" in done.stderr


def test_in_a_search(plugin):
    plugin()
    text = "plugins: [my_alphas]\nsearch: {trials: 1}\nspace:\n  objective:\n  - laplace: {beta: {float: [1, 2]}}"
    trial = optuna.create_study().ask()
    assert read_spec(Document(text, "x")).suggest(trial).objective.startswith("laplace(beta=1")
    assert "laplace.beta" in trial.params


@pytest.mark.parametrize(("name", "home"), [("entropy", "alphas"), ("infonce", "losses"), ("backprop", "combinations")])
def test_a_taken_name_is_refused(plugin, name, home):
    plugin(PLUGIN.replace("laplace", name))
    with pytest.raises(UserError, match=f"the objective {name!r} of my_alphas is already defined in trainer.{home}"):
        load_plugin("my_alphas")


@pytest.mark.parametrize("text", ["def", "1 / 0", "raise KeyError"])
def test_a_plugin_that_cannot_be_imported_is_one_line(plugin, text):
    plugin(text)
    with pytest.raises(UserError, match=r"^cannot import the plugin 'my_alphas'.*$"):
        load_plugin("my_alphas")


def test_a_plugin_beside_the_yaml_is_found(tmp_path, alphacl, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "beside.py").write_text(PLUGIN, encoding="utf-8")
    (tmp_path / "s.yaml").write_text("plugins: [beside]\nspace: {objective: laplace}\n", encoding="utf-8")
    assert "digits · laplace · tau 0.5" in alphacl("sweep", tmp_path / "s.yaml", "--dry-run")[1]


def test_the_contract_holds_a_plugin_to_account(plugin):
    env = {**plugin(PLUGIN + BROKEN), "ALPHACL_TEST_PLUGIN": "my_alphas"}
    chosen = [str(TESTS), "-k", "TestContract and (laplace or below_zero)"]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *chosen]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    assert done.returncode == 1, done.stdout
    assert "TestContract::test_alpha[below_zero]" in done.stdout
    assert failed
    assert all("below_zero]" in line for line in failed), "the sound one passes"


def test_a_plugin_that_raises_is_said_with_its_own_file_and_line(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "raises_on_import.py").write_text("import math\n\nmath.sqrt(-1)\n")
    (tmp_path / "no_python.py").write_text("x = 1\ny = = 2\n")
    for module, says in (
        ("raises_on_import", "ValueError: math domain error (raises_on_import.py:3"),
        ("no_python", "SyntaxError: invalid syntax (no_python.py, line 2) (no_python.py:2)"),
        ("not_there_at_all", "ModuleNotFoundError: No module named 'not_there_at_all'"),
    ):
        with pytest.raises(UserError) as caught:
            load_plugin(module)
        assert says in str(caught.value)
        assert "trainer/" not in str(caught.value)
