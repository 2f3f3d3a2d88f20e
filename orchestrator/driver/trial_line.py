"""One trial as the board shows it: how it stands, its last epoch and its newest score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from results.record.naming import label_of, without_seed
from results.record.reader import TrialRecord
from results.record.status import Status
from trainer.metrics import SELECTION


@dataclass
class TrialLine:
    """One trial on the board: how it stands, its last epoch and its newest score.

    Args:
        label: the trial's name for the user.
        epochs: how many it is planned for.
        metric: the metric that the sweep chooses by.
        status: how the trial stands.
        epoch: the last one that it reported.
        value: the newest value of the metric since training began.
        last: its last figure, or why it failed.
        family: the objective's family.
        configuration: a text that its seeds have in common, and no other trial.
        name: the configuration's name for the user.
        confirms: whether it confirms a search's winner with a fresh seed.
        seconds: spent on its epochs; of a trial that had finished when the driver began, all that its training took.
    """

    label: str
    epochs: int
    metric: str = SELECTION
    status: Status = Status.WAITING
    epoch: int = 0
    value: float | None = None
    last: str = ""
    family: str = ""
    configuration: str = ""
    name: str = ""
    confirms: bool = False
    seconds: float = 0.0

    @classmethod
    def of(cls, trial: TrialRecord, metric: str) -> TrialLine:
        """Return the line of a trial, made from the trial's folder."""
        if trial.status == Status.DAMAGED:
            return cls(trial.digest, 0, metric, Status.DAMAGED, last=trial.problem)
        confirms = trial.role == "confirm"
        line = cls(trial.label + (" · confirms" if confirms else ""), int(trial.config["epochs"]), metric, family=trial.family)
        line.configuration, line.name, line.confirms = without_seed(trial.config), label_of(trial.config), confirms
        summary = trial.summary or {}
        if trial.is_sealed and metric in trial.metrics and "seconds" in summary:  # its history is the bulk of a sweep's files
            line.epoch, line.value, line.seconds = line.epochs, trial.metrics[metric], float(summary["seconds"])
        else:
            for row in trial.reports:
                line.note(row)
        line.status = Status.WAITING if trial.status == Status.STARTED else trial.status
        if trial.error is not None:
            line.last = str(trial.error["message"])
        return line

    def note(self, row: dict[str, Any]) -> None:
        """Enter a report into the line; the value of the untrained encoder, at epoch 0, is no value of the trial."""
        self.epoch = int(row.get("epoch", self.epoch))
        self.seconds += float(row.get("time/epoch_s") or 0.0) + float(row.get("time/probe_s") or 0.0)
        value = row.get(self.metric)
        if value is not None and (self.epoch > 0 or self.epochs == 0):
            self.value = value

    @property
    def value_text(self) -> str:
        """Return the newest value as text."""
        return "–" if self.value is None else f"{self.value:.2f}"
