"""The saved views of a sweep's experiment in MLflow's "Views" menu: order of runs, columns, and the order of charts."""

from __future__ import annotations

import json
from typing import Any

from results.record.mlflow_names import BEST_VIEW
from trainer.metrics import PRIMARY, metric_of

LISTED = ["params.`objective`", "params.`tau`", "params.`seed`", "tags.`outcome`"]
# The sections of charts, by the first part of a metric's name; MLflow itself sorts them by name and opens them all.
SECTIONS = (
    *("val", "test", "train", "embedding", "feature", "alpha", "untrained", "own", "time", "best"),
    *("Model metrics", "System metrics"),  # MLflow's names for those without a first part, and for the machine's load
)


def experiment_tags(metric: str) -> dict[str, str]:
    """Return the experiment's tags: what it is, and the saved views of its runs.

    Args:
        metric: the metric that the sweep chooses by, by which the view "Best first" is sorted.
    """
    diagnostics = ["alpha/effective_negatives", "alpha/hardest_1pct", "embedding/uniformity", "feature/rank", metric]
    views = {
        BEST_VIEW: ("Best first", list(dict.fromkeys([metric, PRIMARY, "test/knn"])), ("val", "test")),
        "alpha": ("What α does", diagnostics, ("alpha", "embedding", "feature")),
    }
    tags = {"mlflow.experimentKind": "custom_model_development"}
    for key, (title, metrics, opened) in views.items():
        columns = [f"metrics.`{name}`" for name in metrics]
        ascending = metric_of(metrics[0]).direction == "minimize"
        state = {"orderByKey": columns[0], "orderByAsc": ascending, "selectedColumns": [*LISTED, *columns], **charts(opened)}
        view = {"name": title, "createdAt": 0, "updatedAt": 0, "state": json.dumps(state)}
        tags[f"mlflow.sharedViewState.{key}"] = json.dumps(view)
    return tags


def charts(opened: tuple[str, ...]) -> dict[str, Any]:
    """Return the part of a view that orders its sections of charts: those of ``opened`` first, the others after them and folded.

    MLflow fills the sections with a chart for every metric that the runs have, and draws those that are open.
    """
    names = [*opened, *(name for name in SECTIONS if name not in opened)]
    sections = [
        {"uuid": f"alphacl-{name}", "name": name, "display": name in opened, "isReordered": False, "deleted": False,
         "isGenerated": True}
        for name in names
    ]  # fmt: skip
    return {"compareRunCharts": [], "compareRunSections": sections, "isAccordionReordered": True}
