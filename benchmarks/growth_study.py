"""The journal of an Optuna study that knows the worth of all its trials, made by hand for ``growth.py``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import FloatDistribution
from optuna.storages.journal import BaseJournalBackend, JournalStorage

KNOWN = {"tau": FloatDistribution(0.02, 2, log=True), "lr": FloatDistribution(0.0003, 0.01, log=True)}


class Lines(BaseJournalBackend):
    """A journal that is kept in memory until it is written whole."""

    def __init__(self) -> None:
        self.logs: list[dict[str, Any]] = []

    def read_logs(self, log_number_from: int) -> list[dict[str, Any]]:
        """Return the entries from a number on."""
        return self.logs[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Add entries."""
        self.logs += logs


def write_study(file: Path, name: str, told: list[tuple[dict[str, Any], float, str]]) -> None:
    """Write the journal of a study.

    Args:
        file: the journal.
        name: the study's name.
        told: of every suggestion its settings, its value and the digest of its trial.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    lines = Lines()
    study = optuna.create_study(storage=JournalStorage(lines), study_name=name, direction="maximize")
    for settings, value, digest in told:
        params = {key: settings[key] for key in KNOWN if settings[key] is not None}
        held, attributes = {key: KNOWN[key] for key in params}, {"digests": [digest]}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=held, value=value, user_attrs=attributes))
    file.write_text("".join(json.dumps(log, separators=(",", ":")) + "\n" for log in lines.logs), encoding="utf-8")
