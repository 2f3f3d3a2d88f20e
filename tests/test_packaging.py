"""What is installed is what is here: setup.cfg names every package and every data file."""

import configparser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOP = ("trainer", "search_spaces", "orchestrator", "results")


def test_every_package_is_listed_and_every_listed_one_is_there():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    listed = setup["options"]["packages"].split()
    found = [file.parent.relative_to(ROOT) for top in TOP for file in (ROOT / top).rglob("__init__.py")]
    assert sorted(listed) == sorted(".".join(path.parts) for path in found)


def test_every_file_that_the_program_reads_is_package_data():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    data = {package: patterns.replace(",", " ").split() for package, patterns in setup["options.package_data"].items()}
    for top in TOP:
        for file in (ROOT / top).rglob("*"):
            if file.suffix in (".yaml", ".html") and ROOT / "results/evidence" not in file.parents:  # records, as users name them
                package = next(p for p in file.parents if (p / "__init__.py").exists())
                patterns = data.get(".".join(package.relative_to(ROOT).parts), [])
                assert any(file.relative_to(package).match(pattern) for pattern in patterns), file


@pytest.mark.xdist_group("seen")
def test_pytest_xdist_sees_groups_of_tests(request):
    """pytest-xdist 3.8 forgets groups in silence with pytest 9.2: every process would start a Ray and a PostgreSQL of its own."""
    if not getattr(request.config.option, "loadgroup", False):
        pytest.skip("not run with --dist loadgroup")
    assert request.node.nodeid.endswith("@seen")
