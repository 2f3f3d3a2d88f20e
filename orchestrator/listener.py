"""What Tune tells about its trials, passed on to the board and the recorder."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.experiment import Trial

from orchestrator.encoders import BestEncoders
from orchestrator.folder import SweepFolder
from orchestrator.patience import patiently
from orchestrator.progress import Board, Line
from results.records import TrialRecord


class Listener(tune.Callback):
    """Tune's events → the board and to ``mark``, by digest; an error record for a trial whose worker could not write one."""

    def __init__(self, folder: SweepFolder, board: Board, mark: Callable[[Iterable[str]], None], encoders: BestEncoders) -> None:
        self.folder, self.board, self.mark, self.encoders = folder, board, mark, encoders

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its callbacks into a state that is never restored

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        digest = trial.config["digest"]
        self._line(self.folder.read(digest)).status = "running"

    def on_trial_result(self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any) -> None:
        digest = trial.config["digest"]
        if "storage" in result:  # the worker waits for it, or has it again
            self.board.tell(result["storage"])
            return
        line = self.board.lines[digest]
        line.note(result)
        if "test/linear" in result:
            line.last = f"test/linear {result['test/linear']:.2f}"
        self.mark([digest])

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._ended(trial.config["digest"])

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        digest = trial.config["digest"]
        if self.folder.read(digest).result is None:
            patiently(lambda: self.folder.trial(digest).fail("failed", last_lines(trial)), self.board.tell)
        self._ended(digest)

    def _line(self, record: TrialRecord) -> Line:
        """A trial's line on the board; one whose worker never came up has none before it ends."""
        return self.board.lines.get(record.digest) or self.board.enter(record)

    def _ended(self, digest: str) -> None:
        record = self.folder.read(digest)
        line = self._line(record)
        line.status = "waiting" if record.status == "started" else record.status
        if record.error is not None:
            line.last = str(record.error["message"])
        self.encoders.add(record)
        self.mark([digest])


def last_lines(trial: Trial, count: int = 8) -> str:
    """The end of a failed trial's error."""
    text = ""
    with contextlib.suppress(OSError):
        text = Path(trial.error_file).read_text(encoding="utf-8") if trial.error_file else ""
    lines = [line for line in text.splitlines() if line.strip()]
    return "\n".join(lines[-count:]) or "the worker died without an error message"
