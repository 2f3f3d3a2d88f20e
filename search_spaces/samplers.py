"""The samplers that a search may name: the one table that the YAML reader, the study and the driver read."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """One of Optuna's samplers. The fields that the driver reads have no default, so that a new entry cannot leave one out.

    Args:
        optuna_class: its name in ``optuna.samplers``.
        learns: whether its suggestions depend on earlier trials; if not, trials may be asked for far ahead of free resources.
        needs_range: whether it moves only in ranges that all objectives share.
        history: how many of the trials that have ended last it is shown, beside the best; None for all.
        options: what it is made with besides the seed.
    """

    optuna_class: str
    learns: bool
    needs_range: bool
    history: int | None
    options: dict[str, Any] = field(default_factory=dict)

    def make(self, seed: int) -> Any:
        """Return the Optuna sampler with this seed."""
        return getattr(importlib.import_module("optuna.samplers"), self.optuna_class)(seed=seed, **self.options)


SAMPLERS = {
    "tpe": Sampler(optuna_class="TPESampler", learns=True, needs_range=False, history=2000),
    "random": Sampler(optuna_class="RandomSampler", learns=False, needs_range=False, history=None),
    "cmaes": Sampler(
        optuna_class="CmaEsSampler", learns=True, needs_range=True, history=None, options={"warn_independent_sampling": False}
    ),
    "gp": Sampler(optuna_class="GPSampler", learns=True, needs_range=False, history=200),
}
