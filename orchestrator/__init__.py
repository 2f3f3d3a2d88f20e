"""The sweep orchestrator: Ray Tune, Optuna and MLflow around :mod:`trainer`, and the command line ``alphacl``."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.from_python import run

__all__ = ["run"]


def __getattr__(name: str) -> Any:
    """Import a public name's module on first use, so that importing a part of this package stays cheap."""
    if name == "run":
        return importlib.import_module("orchestrator.from_python").run
    raise AttributeError(f"module 'orchestrator' has no attribute {name!r}")
