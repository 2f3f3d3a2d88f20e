"""Makes the tables of the site that are read off the program: metrics, settings, environment variables, search spaces."""

from __future__ import annotations

from search_spaces import iter_spaces
from trainer.config import describe_fields
from trainer.environment_variables import VARIABLES
from trainer.metrics import METRICS, SELECTION, Metric


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _table(*rows: tuple[str, ...]) -> str:
    head, *body = rows
    return "\n".join([_row(*head), _row(*["---"] * len(head)), *(_row(*cells) for cells in body)])


def metrics() -> str:
    """Return a Markdown table of every metric: what it is, its unit and direction, and where it is used."""
    better = {True: "higher", False: "lower", None: ""}
    rows = [
        (f"`{m.name}`", m.text + (f" ({m.unit})" if m.unit else ""), better[m.higher_is_better], _used(m))
        for m in METRICS.values()
    ]
    return _table(("metric", "what it is", "better", "used in"), *rows)


def _used(metric: Metric) -> str:
    """Return where a metric is used besides MLflow and the record."""
    search = "search, the default" if metric.name == SELECTION else "search"
    return ", ".join(["tables"] * metric.is_column + [search] * metric.is_searchable)


def environment_variables() -> str:
    """Return a Markdown table of every environment variable that the program reads."""
    return _table(("variable", "what it says"), *((f"`{name}`", text) for name, text in VARIABLES.items()))


def trial_settings() -> str:
    """Return a Markdown table of every setting of a trial with its default, under the name that YAML uses."""
    rows = []
    for name, default, text in describe_fields():
        shown = "–" if default in (None, ()) else f"`{str(default).lower() if isinstance(default, bool) else default}`"
        rows.append((f"`{name}`", shown, text))
    return _table(("setting", "default", "what it is"), *rows)


def search_spaces() -> str:
    """Return a Markdown table of the search spaces that come with the program: name, trials, description."""
    rows = ((f"`{name}`", str(spec.trials), spec.description) for name, spec in iter_spaces())
    return _table(("space", "trials", "what it is"), *rows)
