"""Records a trial from a worker that does not see the storage: everything is sent to the driver's node, which writes it.

Everything goes to the actor of :mod:`orchestrator.driver.head_records`. A training step waits for none of it: rows and
checkpoints are handed over by threads, a checkpoint after the row of its epoch, at most one checkpoint of a trial at a time; only
the result is waited for.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import io
import os
import queue
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray

from results.record import schema
from results.record.checkpoint_policy import CheckpointPolicy
from results.record.patience import patiently
from results.record.status import Status
from results.record.sweep_writer import DRIVER
from results.record.trial_writer import row_of
from trainer.files import load_checkpoint, portable

if TYPE_CHECKING:
    from trainer import Report

MOST_PRINTED = 1 << 20  # bytes of a log that go with one report
SETTLE_S = 1.0  # for which a report waits to be on the head's disk, so that the driver finds it there when it hears of it


@dataclass(frozen=True)
class Head:
    """The driver's node, for workers that do not see the sweep folder.

    Args:
        records: the name of the actor that writes there (:mod:`orchestrator.driver.head_records`).
        run: what this run of the driver has written into ``driver.json``.
    """

    records: str
    run: dict[str, Any]


class HeadWriter:
    """The trial's folder on the driver's node, with the methods of :class:`results.record.trial_writer.TrialWriter`.

    Args:
        actor: the handle of the actor of :mod:`orchestrator.driver.head_records`.
        digest: the trial's.
        tell: is given a message while the head's storage is waited for, and an empty one when it is there again.
        policy: when checkpoints are saved; the usual one when not given. Handing one over counts as the cost of saving it.
    """

    def __init__(
        self, actor: Any, digest: str, tell: Callable[[str], None] = lambda line: None, policy: CheckpointPolicy | None = None
    ) -> None:
        self.actor, self.digest, self.tell = actor, digest, tell
        self.policy = policy or CheckpointPolicy()
        self.attempt: Path | None = None  # its folder's name
        self._rows, self._files = Lane("rows"), Lane("files")
        self._row: Future[None] | None = None
        self._checkpoint: Future[None] | None = None
        self._message = self._told = ""
        self._log = tempfile.NamedTemporaryFile(prefix="alphacl-", suffix=".log")  # noqa: SIM115 - closed by close()
        self._printed = 0

    def _ask(self, method: str, *arguments: Any) -> Any:
        """Return what the actor answers; its errors are raised as on the head, a head that is away is one that may pass."""
        try:
            return ray.get(getattr(self.actor, method).remote(self.digest, *arguments))
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except (ray.exceptions.RayActorError, ray.exceptions.ActorUnavailableError) as error:
            reason = (str(error).strip().splitlines() or [""])[0][:100]
            raise OSError(errno.EHOSTUNREACH, f"the driver's node does not answer: {reason}") from None

    def entry(self) -> dict[str, Any] | None:
        """Return what ``config.json`` holds; None where the trial is not entered."""
        entry: dict[str, Any] | None = patiently(lambda: self._ask("read", "entry"), self.tell)
        return entry

    def result(self) -> dict[str, Any] | None:
        """Return the final record; None before the trial has finished."""
        result: dict[str, Any] | None = patiently(lambda: self._ask("read", "result"), self.tell)
        return result

    def was_stopped(self) -> bool:
        """Tell whether the trial was stopped early."""
        return bool(patiently(lambda: self._ask("read", "was_stopped"), self.tell))

    def begin(self) -> dict[str, Any] | None:
        """Open a new attempt and return the newest checkpoint of the earlier ones; None where there is none."""
        attempt, earlier = self._ask("open_attempt")
        self.attempt = Path(attempt)
        for source in earlier:
            content = self._ask("checkpoint", source)
            state = self._load(content) if content is not None else None
            if state is not None:
                self._ask("take_over", attempt, source, state["epoch"])
                return state
        return None

    @property
    def output(self) -> Path:
        """Return the file of this node for what the worker prints; it is handed over with the reports."""
        return Path(self._log.name)

    @property
    def _name(self) -> str:
        assert self.attempt is not None
        return self.attempt.name

    def _news(self) -> tuple[int, bytes]:
        """Return what was printed since this was asked last, and where in the log that begins."""
        offset = self._printed
        content = os.pread(self._log.fileno(), MOST_PRINTED, offset)
        self._printed += len(content)
        return offset, content

    def _load(self, content: bytes) -> dict[str, Any] | None:
        with tempfile.NamedTemporaryFile(prefix="alphacl-") as file:
            file.write(content)
            file.flush()
            return load_checkpoint(Path(file.name), self.tell)

    def add(self, report: Report) -> None:
        """Hand a report over, a checkpoint when one is due, and on the last report the result, which is waited for.

        Raises:
            Superseded: if a newer attempt has begun, or another one has finished.
            OSError: if the head's storage was away for longer than is waited for.
        """
        self._check()
        row, printed = row_of(report), self._news()
        keeps_up = self._row is None or self._row.done()
        self._row = self._rows.put(lambda: patiently(lambda: self._ask("append", self._name, row, printed), self._note))
        if report.final:
            self._finish(report)
        elif (self._checkpoint is None or self._checkpoint.done()) and self.policy.is_due():
            self._save(report, self._row)
        if keeps_up and not report.final:
            wait([self._row], SETTLE_S)
            self._check()

    def _save(self, report: Report, row: Future[None]) -> None:
        began, content = time.monotonic(), _bytes_of(report.state())

        def hand_over() -> None:
            row.result()
            patiently(lambda: self._ask("save", self._name, [ray.put(content)]), self._note)
            self.policy.saved(time.monotonic() - began)

        self._checkpoint = self._files.put(hand_over)

    def _finish(self, report: Report) -> None:
        for work in filter(None, (self._row, self._checkpoint)):
            while not work.done():
                wait([work], SETTLE_S)
                self._pass_on()
        self._check()
        content = _bytes_of(portable(report.state()["encoder"]))
        patiently(lambda: self._ask("finish", self._name, [ray.put(content)], report.record), self.tell)

    def fail(self, kind: Status, message: str, **place: str | int) -> None:
        """Record why the attempt ended without a result, as :meth:`results.record.trial_writer.TrialWriter.fail` does."""
        if self._row is not None:
            wait([self._row], SETTLE_S)
        if self.attempt is not None:
            self._ask("print", self._name, self._news())
        self._ask("fail", self.attempt and self.attempt.name, kind.value, message, place)

    def earlier_error(self) -> dict[str, Any] | None:
        """Return what ended the attempt before this one; None where none failed just before."""
        error: dict[str, Any] | None = self._ask("earlier_error", self._name)
        return error

    def close(self) -> None:
        """End the threads as soon as they have handed over what they have; nobody waits for that."""
        if self.attempt is not None:
            while (printed := self._news())[1]:
                self._rows.put(functools.partial(patiently, functools.partial(self._ask, "print", self._name, printed)))
        self._log.close()
        for lane in (self._rows, self._files):
            lane.close()

    def _note(self, message: str) -> None:
        self._message = message  # Tune hears of it by the training thread alone

    def _pass_on(self) -> None:
        if self._message != self._told:
            self._told = self._message
            self.tell(self._told)

    def _check(self) -> None:
        """Raise what handing over has raised; pass a message on."""
        self._pass_on()
        for work in (self._row, self._checkpoint):
            if work is not None and work.done() and (error := work.exception()) is not None:
                raise error


class Lane:
    """Does one piece of work after the other in a thread of its own, which does not keep its process alive."""

    def __init__(self, name: str) -> None:
        self._work: queue.SimpleQueue[tuple[Future[None], Callable[[], None]] | None] = queue.SimpleQueue()
        threading.Thread(target=self._run, name=f"head {name}", daemon=True).start()

    def put(self, function: Callable[[], None]) -> Future[None]:
        """Have a piece of work done after those before it; what it raises, the returned future holds."""
        future: Future[None] = Future()
        self._work.put((future, function))
        return future

    def close(self) -> None:
        """End the thread after what it was given."""
        self._work.put(None)

    def _run(self) -> None:
        while (item := self._work.get()) is not None:
            future, function = item
            try:
                future.set_result(function())
            except BaseException as error:  # noqa: BLE001 - the training thread raises it
                future.set_exception(error)


def _bytes_of(state: dict[str, Any]) -> bytes:
    """Return what ``save_checkpoint`` would write into a file."""
    import torch

    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def sees(trials: Path, run: dict[str, Any]) -> bool:
    """Tell whether this node sees the sweep folder of this very run of the driver, and may write there.

    Args:
        trials: the folder that holds the trials' folders.
        run: what the driver has written into ``driver.json``.
    """
    with contextlib.suppress(ValueError, OSError):  # a copy of a folder that somebody left there may hold anything
        return schema.read(trials.parent / DRIVER, schema.DRIVER_FILE) == run and os.access(trials, os.W_OK)
    return False
