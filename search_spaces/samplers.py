"""The samplers that a search may name: the one table that the YAML reader, the study and the driver read."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Sampler:
    """One of Optuna's samplers.

    Args:
        optuna_class: its name in ``optuna.samplers``.
        options: what it is made with besides the seed.
        learns: whether its suggestions depend on earlier trials; if not, trials may be asked for far ahead of free resources.
        needs_range: whether it moves only in ranges that all objectives share.
        history: how many of the trials that have ended last it is shown, beside the best; all when not given.
    """

    optuna_class: str
    options: dict[str, Any] = field(default_factory=dict)
    learns: bool = True
    needs_range: bool = False
    history: int | None = None

    def make(self, seed: int) -> Any:
        """Return the Optuna sampler with this seed."""
        return getattr(importlib.import_module("optuna.samplers"), self.optuna_class)(seed=seed, **self.options)


SAMPLERS = {
    "tpe": Sampler("TPESampler", history=2000),
    "random": Sampler("RandomSampler", learns=False),
    "cmaes": Sampler("CmaEsSampler", {"warn_independent_sampling": False}, needs_range=True),
    "gp": Sampler("GPSampler", history=200),
}
