"""What Tune tells about its trials, passed on to the board and the recorder."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler

from orchestrator.driver.board import Board, Line
from orchestrator.driver.keep_encoders import BestEncoders
from orchestrator.suggest.early_stopping import CONTINUE, FamilyHalving
from results.record.patience import patiently
from results.record.sweep_writer import SweepFolder


class Listener(FIFOScheduler):
    """Tune's events → the board and to ``mark``, by digest; an error record for a trial whose worker could not write one.

    It listens as Tune's scheduler, first come, first served, and leaves to ``halving`` what to stop. A callback would be told
    the same, but for its sake Tune imports MLflow, to count callbacks by kind; and Tune's own scheduler looks for the next trial
    among all that ever were. That a trial has ended Tune tells its searcher, which tells :meth:`ended`.
    """

    def __init__(
        self,
        folder: SweepFolder,
        board: Board,
        mark: Callable[[Iterable[str]], None],
        encoders: BestEncoders,
        halving: FamilyHalving | None = None,
    ) -> None:
        super().__init__()
        self.folder, self.board, self.mark, self.encoders, self.halving = folder, board, mark, encoders, halving
        self.waiting: dict[str, Trial] = {}  # by digest, in the order in which they came
        self.trials: dict[str, Trial] = {}  # that have not ended

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its scheduler into a state that is never restored

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        digest = trial.config["digest"]
        self.waiting[digest] = self.trials[digest] = trial

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """The first that waits. Tune asks before each of its events, and so shows here what it has started."""
        for digest, trial in list(self.waiting.items()):
            if trial.status != Trial.PENDING:
                del self.waiting[digest]
                if trial.status == Trial.RUNNING:
                    self._line(digest).status = "running"
        return next(iter(self.waiting.values()), None)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        digest = trial.config["digest"]
        if "storage" in result:  # the worker waits for it, or has it again
            self.board.tell(result["storage"])
            return CONTINUE
        decision = self.halving.on_trial_result(tune_controller, trial, result) if self.halving else CONTINUE
        line = self._line(digest)
        line.note(result)
        if "test/linear" in result:
            line.last = f"test/linear {result['test/linear']:.2f}"
        self.mark([digest])
        return decision

    def ended(self, digest: str, error: bool) -> None:
        """A trial has ended for good, with an error that no retry has mended or without."""
        trial = self.trials.pop(digest)
        record = self.folder.read(digest)
        if error and record.result is None:
            patiently(lambda: self.folder.trial(digest).fail("failed", last_lines(trial)), self.board.tell)
            record = self.folder.read(digest)
        line = self._line(digest)
        line.status = "waiting" if record.status == "started" else record.status
        if record.error is not None:
            line.last = str(record.error["message"])
        self.encoders.add(record)
        self.mark([digest])

    def _line(self, digest: str) -> Line:
        """A trial's line on the board; one that a search has just proposed is not on it yet."""
        return self.board.lines.get(digest) or self.board.enter(self.folder.read(digest))


def last_lines(trial: Trial, count: int = 8) -> str:
    """The end of a failed trial's error."""
    text = ""
    with contextlib.suppress(OSError):
        text = Path(trial.error_file).read_text(encoding="utf-8") if trial.error_file else ""
    lines = [line for line in text.splitlines() if line.strip()]
    return "\n".join(lines[-count:]) or "the worker died without an error message"
