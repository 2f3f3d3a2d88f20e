"""A user's own constructor: by module name, by entry point, in a search space, and held to the contract."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

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
BROKEN = PLUGIN.replace("softmax(-beta", "-softmax(-beta")  # α < 0
TESTS = Path(__file__).parent / "test_contract.py"


@pytest.fixture
def plugin(tmp_path):
    def put(text=PLUGIN, name="my_alphas"):
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
        return {**os.environ, "PYTHONPATH": str(tmp_path)}

    return put


def python(env, code):
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)


def test_by_entry_point(plugin, tmp_path):
    env = plugin()
    info = tmp_path / "mine-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[alphacl.constructors]\nlaplace = my_alphas\nbroken = no_such_module\n")
    done = python(env, "from trainer.objectives import make_objective; print(make_objective('laplace(beta=2)', 0.5).name)")
    assert done.stdout == "laplace(beta=2)\n"
    assert "cannot load the constructors of broken (no_such_module)" in done.stderr


def test_in_a_search(plugin):
    code = (
        "import optuna\nfrom search_spaces import Document, read_spec\n"
        "text = 'plugins: [my_alphas]\\nsearch: {trials: 1}\\nspace:\\n  objective:\\n  - laplace: {beta: {float: [1, 2]}}'\n"
        "spec = read_spec(Document(text, 'x'))\n"
        "trial = optuna.create_study().ask()\nconfig = spec.suggest(trial)\nprint(config.objective, sorted(trial.params))"
    )  # fmt: skip
    done = python(plugin(), code)
    assert done.stdout.startswith("laplace(beta=1"), done.stderr
    assert "laplace.beta" in done.stdout


@pytest.mark.parametrize(("name", "home"), [("entropy", "alphas"), ("infonce", "losses"), ("backprop", "objectives")])
def test_a_taken_name_is_refused(plugin, name, home):
    done = python(plugin(PLUGIN.replace("laplace", name)), "from trainer.plugins import load_plugin; load_plugin('my_alphas')")
    assert f"the objective {name!r} of my_alphas is already defined in trainer.{home}" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("text", ["def", "1 / 0", "raise KeyError"])
def test_a_plugin_that_cannot_be_imported_is_one_line(plugin, text):
    done = python(plugin(text), "from trainer.plugins import load_plugin; load_plugin('my_alphas')")
    assert done.stderr.splitlines()[-1].startswith("trainer.errors.UserError: cannot import the plugin 'my_alphas'")


def test_a_plugin_beside_the_yaml_is_found(tmp_path):
    (tmp_path / "beside.py").write_text(PLUGIN, encoding="utf-8")
    (tmp_path / "s.yaml").write_text("plugins: [beside]\nspace: {objective: laplace}\n", encoding="utf-8")
    code = f"from orchestrator.cli import main; main(['sweep', {str(tmp_path / 's.yaml')!r}, '--dry-run'])"
    assert "digits · laplace · tau 0.5" in python(dict(os.environ), code).stdout


@pytest.mark.parametrize(("text", "passes"), [(PLUGIN, True), (BROKEN, False)])
def test_the_contract_holds_a_plugin_to_account(plugin, text, passes):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(TESTS), "-k", "TestContract and laplace"]
    done = subprocess.run(
        command, env={**plugin(text), "ALPHACL_TEST_PLUGIN": "my_alphas"}, capture_output=True, text=True, check=False
    )
    assert (done.returncode == 0) is passes, done.stdout
    assert passes or "TestContract::test_alpha[laplace]" in done.stdout


def test_a_plugin_that_raises_is_said_with_its_own_file_and_line(tmp_path, monkeypatch):
    from trainer.errors import UserError
    from trainer.plugins import load_plugin

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
