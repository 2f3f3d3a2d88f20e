"""A sweep as a pandas frame, a row per trial or per epoch: ``results.load("runs/NAME").frame()``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from results.record.mlflow_names import SYSTEM_PREFIX
from results.record.outside_records import GivenSweep
from results.record.reader import SweepRecord, TrialRecord
from results.tables.build import readable
from trainer.errors import UserError

if TYPE_CHECKING:
    import pandas

PER = ("trial", "epoch")


class LoadedSweep(GivenSweep):
    """A sweep read by :func:`results.from_python.load_sweep`; ``trials()`` returns its trials."""

    def frame(self, per: str = "trial") -> pandas.DataFrame:
        """Return the sweep's trials as a frame.

        Args:
            per: ``trial`` for a row per trial with its final metrics, ``epoch`` for a row per epoch with that epoch's.

        Raises:
            UserError: if ``per`` is neither.
        """
        return frame(self, per)


def frame(sweep: SweepRecord, per: str = "trial") -> pandas.DataFrame:
    """Return a sweep's trials as a frame: what identifies the trial, all its settings, then metrics.

    Columns are ``digest``, ``label``, ``family``, ``role``, ``status``, the settings of the configuration by their names,
    ``epoch``, and metrics by theirs (accuracies in percent, times in seconds). A row per trial has besides ``seconds``, the
    ``device`` and the ``error`` of one that failed; a row per epoch has ``at``, in seconds since 1970, and every ten seconds the
    load of its machine, under ``system/``. Trials that cannot be read are left out.

    Args:
        sweep: the sweep.
        per: ``trial`` or ``epoch``.

    Raises:
        UserError: if ``per`` is neither.
    """
    import pandas

    if per not in PER:
        raise UserError(f"expected a row per {' or '.join(PER)}, got {per!r}")
    trials = readable(sweep.trials())
    rows = [_trial_row(t) for t in trials] if per == "trial" else [row for t in trials for row in _epoch_rows(t)]
    return pandas.DataFrame(rows)


def _who(trial: TrialRecord) -> dict[str, Any]:
    settings = {k: ",".join(map(str, v)) if isinstance(v, list) else v for k, v in trial.config.items()}
    who = {"digest": trial.digest, "label": trial.label, "family": trial.family, "role": trial.role, "status": str(trial.status)}
    return {**who, **settings}


def _trial_row(trial: TrialRecord) -> dict[str, Any]:
    reports = trial.reports
    last: dict[str, Any] = {}
    for row in reports:  # of a trial that has not finished, the last value of each metric
        last |= {k: v for k, v in row.items() if k not in ("epoch", "at") and not k.startswith(SYSTEM_PREFIX)}
    result = trial.summary or {}
    error = str((trial.error or {}).get("message", "")) if trial.status.has_failed else None
    facts = {"epoch": int(reports[-1]["epoch"]) if reports else None, "seconds": result.get("seconds")}
    return {**_who(trial), **facts, "device": trial.environment.get("device"), "error": error, **(trial.metrics or last)}


def _epoch_rows(trial: TrialRecord) -> list[dict[str, Any]]:
    return [{**_who(trial), **row} for row in trial.reports]
