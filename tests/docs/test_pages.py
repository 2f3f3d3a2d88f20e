"""The pages are true of the program: links lead somewhere, examples on them can be read, generated tables are complete."""

import ast
import importlib.util
import re
from pathlib import Path

import pytest

from orchestrator.cli import build_parser
from search_spaces import load_spec
from trainer.environment_variables import VARIABLES
from trainer.metrics import METRICS

ROOT = Path(__file__).parents[2]
PAGES = [
    *ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*.md"), *ROOT.glob("benchmarks/*.md"),
    *ROOT.glob("trainer/*.md"), *ROOT.glob("results/**/*.md"), *ROOT.glob("orchestrator/**/*.md"),
]  # fmt: skip


@pytest.fixture(scope="module")
def generated():
    """The module that makes the site's tables."""
    spec = importlib.util.spec_from_file_location("generated", ROOT / "docs" / "generated.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def fenced(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_files_lead_somewhere(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link and not link.startswith("#")]
    assert [link for link in links if not (page.parent / link.partition("#")[0]).exists()] == []


def test_the_readme_is_short_and_keeps_its_two_commands():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 120
    assert "make sweep" in text
    assert "make test" in text


def test_the_readmes_search_space_is_one_and_its_python_imports(tmp_path):
    (yaml,) = fenced(ROOT / "README.md", "yaml")
    file = tmp_path / "readme.yaml"
    file.write_text(yaml, encoding="utf-8")
    assert load_spec(file, ("dataset=digits",)).search.per_family
    for python in fenced(ROOT / "README.md", "python"):
        for node in ast.walk(ast.parse(python)):
            if isinstance(node, ast.ImportFrom):
                module = importlib.import_module(node.module)
                assert all(hasattr(module, alias.name) for alias in node.names)
            elif (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id in ("orchestrator", "results")
            ):
                assert node.attr in importlib.import_module(node.value.id).__all__


def test_every_command_on_a_page_exists():
    actions = build_parser()._subparsers._group_actions[0]
    known = set(actions.choices)
    used = {name for page in PAGES for name in re.findall(r"(?:^\$ |`)alphacl ([a-z]+)", page.read_text("utf-8"), re.MULTILINE)}
    assert len(used) > 8
    assert used <= known


def test_generated_tables_have_every_metric_variable_and_setting(generated):
    assert all(f"`{name}`" in generated.metrics() for name in METRICS)
    rows = dict(line.strip("| ").split("` | ", 1) for line in generated.environment_variables().splitlines()[2:])
    assert {name.strip("`"): text for name, text in rows.items()} == VARIABLES
    assert "| `tau` | `0.5` |" in generated.trial_settings()
    assert "| `quickstart` | 14 |" in generated.search_spaces()


def test_pages_use_what_is_generated():
    text = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs").glob("*.md"))
    for name in ("metrics", "environment_variables", "trial_settings", "search_spaces"):
        assert "{{ " + name + " }}" in text


@pytest.mark.parametrize("page", ["durability.md", "security.md"])
def test_promises_name_tests_that_are_there(page):
    file, missing = "", []
    for path, name in re.findall(r"`(tests/[\w/]+\.py)?(?:::(test_\w+))?`", (ROOT / "docs" / page).read_text(encoding="utf-8")):
        file = path or file
        if not (ROOT / file).is_file() or (name and f"def {name}(" not in (ROOT / file).read_text(encoding="utf-8")):
            missing.append(f"{file}::{name}")
    assert missing == []
