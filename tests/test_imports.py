"""Imports point left: trainer knows nobody, search_spaces the trainer, results neither Ray nor MLflow."""

import pkgutil
import subprocess
import sys

import pytest

import results
import search_spaces
import trainer

HEAVY = ("ray", "optuna", "mlflow")


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        (trainer, (*HEAVY, "search_spaces", "orchestrator", "results")),
        (search_spaces, (*HEAVY, "orchestrator", "results")),
        (results, (*HEAVY, "orchestrator")),
    ],
)
def test_every_module_imports_without_what_is_to_its_right(package, forbidden):
    names = [m.name for m in pkgutil.iter_modules(package.__path__, package.__name__ + ".") if not m.name.endswith("__main__")]
    assert names
    code = f"import sys, importlib\nfor n in {names!r}: importlib.import_module(n)\n"
    code += f"print([m for m in {forbidden!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_trial_runs_where_ray_optuna_and_mlflow_are_not_installed(data_root):
    code = (
        f"import sys\nfor n in {HEAVY!r}: sys.modules[n] = None\n"
        "from trainer.__main__ import main\n"
        "sys.exit(main('--dataset digits --objective direct(p=4) --tau 0.5 --epochs 1 --threads 1'.split()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert '"test/linear"' in done.stdout.splitlines()[-1]
