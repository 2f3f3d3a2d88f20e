"""What happens when a trial starts, reports and ends: the board, MLflow's process and the kept encoders are updated."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

from ray.tune.experiment import Trial

from orchestrator.driver.board import Board
from orchestrator.driver.keep_encoders import EncoderKeeper
from orchestrator.driver.retries import last_lines
from results.record.patience import patiently
from results.record.status import Status
from results.record.sweep_writer import SweepWriter
from trainer.metrics import PRIMARY


class TrialEvents:
    """Passes Tune's events on by the trial's digest, and writes the error record that a worker could not write.

    Args:
        folder: the sweep.
        board: what the live view shows.
        mark: is given the digests of trials that have news, for MLflow.
        encoders: removes the files of encoders that are not among the best.
    """

    def __init__(self, folder: SweepWriter, board: Board, mark: Callable[[Iterable[str]], None], encoders: EncoderKeeper) -> None:
        self.folder, self.board, self.mark, self.encoders = folder, board, mark, encoders
        self._trials: dict[str, Trial] = {}  # by digest, those that have not ended
        self._through_head: set[str] = set()
        folder.mirror.tell = board.tell

    def added(self, trial: Trial) -> None:
        """Take in a trial that waits for resources; one that was running has lost its worker, and is shown as waiting."""
        digest = trial.config["digest"]
        self._trials[digest] = trial
        if digest in self.board.lines and self.board.lines[digest].status == Status.RUNNING:
            self.board.set_status(digest, Status.WAITING)

    def started(self, digest: str) -> None:
        """Show a trial as running."""
        self._enter(digest)
        self.board.set_status(digest, Status.RUNNING)

    def waits_for_storage(self, message: str) -> None:
        """Show that a worker waits for its storage; an empty message says that it has it again."""
        self.board.tell(message)

    def goes_through_head(self, host: str) -> None:
        """Say, once for every node, that it does not see the storage, so that this machine records what its workers do."""
        if host not in self._through_head:
            self._through_head.add(host)
            self.board.say(
                f"node {host} records its trials through this machine: it does not see {self.folder.path.parent} as it is here"
            )

    def reported(self, digest: str, report: dict[str, Any]) -> None:
        """Show a report, and have MLflow's process read it."""
        self._enter(digest)
        self.board.report(digest, report)
        if PRIMARY in report:
            self.board.lines[digest].last = f"{PRIMARY} {report[PRIMARY]:.2f}"
        self.mark([digest])
        self.folder.mirror.mark([digest])

    def stop(self, digest: str, report: dict[str, Any]) -> bool:
        """Record that a trial is stopped after this report because somebody has asked for it.

        Returns whether it is: one that has just finished is not.
        """
        if "epoch" not in report or self.folder.read(digest).status.is_over:
            return False
        metric = self.board.metric
        stop = functools.partial(self.folder.trial(digest).stop, int(report["epoch"]), metric, report.get(metric), by="user")
        patiently(stop, self.board.tell)
        return True

    def failed(self, trial: Trial) -> None:
        """Record that a trial's retries are used up, where no worker was left to say why."""
        digest = trial.config["digest"]
        record = self.folder.read(digest)
        if record.result is None and record.error is None:
            patiently(lambda: self.folder.trial(digest).fail(Status.FAILED, last_lines(trial)), self.board.tell)

    def ended(self, digest: str, error: bool) -> None:
        """Take in that a trial has ended for good, with an error that Tune has not run it again for or without."""
        trial = self._trials.pop(digest)
        if error:
            self.failed(trial)
        record = self.folder.read(digest)
        self._enter(digest)
        status = Status.WAITING if record.status == Status.STARTED else record.status
        self.board.set_status(digest, status, str(record.error["message"]) if record.error is not None else None)
        self.encoders.add(record)
        self.folder.mirror.settle(digest)
        self.mark([digest])

    def _enter(self, digest: str) -> None:
        """Put a trial on the board that is not on it yet, as one that a search has just proposed."""
        if digest not in self.board.lines:
            self.board.enter(self.folder.read(digest))
