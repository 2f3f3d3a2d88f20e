"""Imports point one way and run in no circle: trainer knows nobody, search_spaces the trainer, results neither Ray nor MLflow."""

import ast
import functools
import importlib.util
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import orchestrator
import results
import search_spaces
import trainer

HEAVY = ("ray", "optuna", "mlflow")
PACKAGES = (trainer, search_spaces, results, orchestrator)


def modules_of(package):
    """Every module of a package, those of its sub-packages among them."""
    walked = pkgutil.walk_packages(package.__path__, package.__name__ + ".")
    return [package.__name__, *(m.name for m in walked if not m.name.endswith("__main__"))]


@functools.cache
def graph():
    """Module → the project's modules that it imports anywhere: at its top, in a function, for type checkers."""
    known = {name for package in PACKAGES for name in modules_of(package)}
    found = {}
    for name in known:
        spec = importlib.util.find_spec(name)
        found[name] = set()
        for node in ast.walk(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
                names = names[1:] if any(n in known for n in names[1:]) else names[:1]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            found[name] |= {n for n in names if n in known and n != name}
    return found


def circle(edges):
    """A circle in a graph as a list of its nodes; empty where there is none."""
    done, path = set(), []

    def visit(node):
        if node in path:
            return [*path[path.index(node) :], node]
        if node in done:
            return []
        path.append(node)
        for after in sorted(edges[node]):
            if found := visit(after):
                return found
        done.add(path.pop())
        return []

    return next((found for node in sorted(edges) if (found := visit(node))), [])


def test_a_circle_is_found_where_there_is_one():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_no_module_imports_itself_by_way_of_others():
    assert len(graph()) > 80
    assert circle(graph()) == []


@pytest.mark.parametrize(
    ("package", "allowed"),
    [
        ("trainer", ("trainer",)),
        ("search_spaces", ("trainer", "search_spaces")),
        ("results", ("trainer", "results")),
        ("orchestrator", ("trainer", "search_spaces", "results", "orchestrator")),
    ],
)
def test_imports_point_one_way(package, allowed):
    wrong = {
        (name, other)
        for name, others in graph().items()
        if name.partition(".")[0] == package
        for other in others
        if other.partition(".")[0] not in allowed
    }
    assert wrong == set()


def test_the_theory_uses_the_trainer_alone():
    names = {name for name in graph() if name.startswith("results.theory")}
    others = {other for name in names for other in graph()[name]} - names
    assert {other.partition(".")[0] for other in others} <= {"trainer"}


def test_what_is_durable_knows_no_table():
    for name, others in graph().items():
        if name.startswith("results.record"):
            assert not {o for o in others if not o.startswith(("results.record", "trainer"))}, name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        (trainer, (*HEAVY, "search_spaces", "orchestrator", "results")),
        (search_spaces, (*HEAVY, "orchestrator", "results")),
        (results, (*HEAVY, "orchestrator")),
    ],
)
def test_every_module_imports_without_what_is_to_its_right(package, forbidden):
    names = modules_of(package)
    code = f"import sys, importlib\nfor n in {names!r}: importlib.import_module(n)\n"
    code += f"print([m for m in {forbidden!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_importing_sets_no_environment_variable():
    names = [name for package in PACKAGES for name in modules_of(package)]
    code = f"import os, importlib\nbefore = dict(os.environ)\nfor n in {names!r}: importlib.import_module(n)\n"
    code += "print([k for k in os.environ if k.startswith(('ALPHACL', 'TUNE', 'MLFLOW')) and k not in before])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_our_environment_variables_are_read_in_one_place():
    from trainer.environment_variables import VARIABLES

    root = Path(trainer.__file__).parents[1]
    for package in PACKAGES:
        for file in Path(package.__file__).parent.rglob("*.py"):
            text = file.read_text(encoding="utf-8")
            if file.name != "environment_variables.py":
                read = [name for name in VARIABLES if f'environ.get("{name}' in text or f'environ["{name}' in text]
                assert not read, f"{file.relative_to(root)} reads {read}"


@pytest.mark.slow
def test_a_trial_runs_where_ray_optuna_and_mlflow_are_not_installed(data_root):
    code = (
        f"import sys\nfor n in {HEAVY!r}: sys.modules[n] = None\n"
        "from trainer.__main__ import main\n"
        "sys.exit(main('--dataset digits --objective direct(p=4) --tau 0.5 --epochs 1 --threads 1'.split()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert '"test/linear"' in done.stdout.splitlines()[-1]


@pytest.mark.slow
def test_what_is_checked_before_a_launch_does_not_import_pytorchs_compiler(data_root):
    """Importing the compiler takes a second of the processor's time, and a driver never needs it."""
    code = (
        "import sys\nfrom trainer import TrialConfig\nfrom trainer.trial import check_trial\n"
        f"check_trial(TrialConfig.from_dict({{'dataset': 'digits'}}), {str(data_root)!r})\n"
        "print('torch' in sys.modules, 'torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True False"
