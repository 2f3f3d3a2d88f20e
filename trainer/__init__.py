"""The trainer: it pretrains one encoder with an α-CL objective and probes it. It knows nothing of Ray, Optuna or MLflow."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from trainer.errors import ConfigError, TrialDiverged, UserError

if TYPE_CHECKING:
    from trainer.config import TrialConfig
    from trainer.trial import Report, run_trial

__all__ = ["ConfigError", "Report", "TrialConfig", "TrialDiverged", "UserError", "run_trial"]

_HOMES = {"TrialConfig": "trainer.config", "Report": "trainer.trial", "run_trial": "trainer.trial"}


def __getattr__(name: str) -> Any:
    """Import a public name's module on first use, so that commands such as ``alphacl status`` do without PyTorch."""
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'trainer' has no attribute {name!r}")
