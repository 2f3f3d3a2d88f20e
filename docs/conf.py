"""Sphinx's settings for the site that ``make docs`` builds.

The sources are the repository itself, so that a link between two Markdown files means the same here and where the repository is
browsed. Every warning is an error (``-W``): a link to a page, heading or file that is not there ends the build. Nothing is
fetched from the network, neither when the site is built nor when it is read.
"""

import os
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]
os.environ["COLUMNS"] = "100"  # of argparse's usage lines

import generated  # noqa: E402 - found by the path above

project = "alphacl"
author = "the alphacl contributors"
copyright = "the alphacl contributors, MIT licence"
root_doc = "docs/index"
include_patterns = [
    "docs/*.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "trainer/OBJECTIVES.md",
    "orchestrator/clusters/README.md",
    "results/evidence/README.md",
    "benchmarks/README.md",
]
exclude_patterns = [".*", "build", "runs", "data", "tests", "**/__pycache__"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_argparse_cli"]
myst_enable_extensions = ["substitution", "deflist"]
myst_heading_anchors = 3
myst_substitutions = {
    "metrics": generated.metrics(),
    "environment_variables": generated.environment_variables(),
    "trial_settings": generated.trial_settings(),
    "search_spaces": generated.search_spaces(),
}
smartquotes = False  # they would make one dash of --option's two
suppress_warnings = ["misc.highlighting_failure"]  # examples have ellipses that are no YAML

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = "alphacl"
html_copy_source = False
html_show_sphinx = False
templates_path = ["templates"]
html_static_path = ["static"]
html_css_files = ["wide.css"]
html_additional_pages = {"index": "to_index.html"}


def setup(app: Any) -> None:
    """Connect what runs before napoleon, which would take a property's text up to a colon for its type."""

    def without_colon(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
        if what == "property" and lines:
            lines[0] = lines[0].replace(": ", "; ", 1)

    app.connect("autodoc-process-docstring", without_colon, priority=400)
