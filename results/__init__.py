"""Reads back what sweeps have recorded and turns it into tables, plots and reports, without Ray, MLflow or a GPU."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from results.best_configuration import best_of
    from results.from_python import load, load_sweep
    from results.tables.sweep import sweep_tables

__all__ = ["best_of", "load", "load_sweep", "sweep_tables"]

_HOMES = {
    "best_of": "results.best_configuration",
    "load": "results.from_python",
    "load_sweep": "results.from_python",
    "sweep_tables": "results.tables.sweep",
}


def __getattr__(name: str) -> Any:
    """Import a public name's module on first use, so that importing a part of this package stays cheap."""
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'results' has no attribute {name!r}")
