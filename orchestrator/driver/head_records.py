"""The driver's side of recording through the head: an actor that writes trials' folders for workers without the storage.

A node that does not see the sweep folder has its workers hand everything to this actor, which lives on the driver's node and does
there what a worker with the folder does itself (:class:`results.record.trial_writer.TrialWriter`): attempts, first to finish
wins, a checkpoint before older ones go. The actor keeps nothing between two calls, so that one that was killed goes on, and a
worker may ask for the same thing again.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.driver.head_writer import Head
from results.record.layout import CHECKPOINT
from results.record.patience import noticing
from results.record.status import Status
from results.record.sweep_writer import SweepWriter
from results.record.trial_writer import Superseded, TrialWriter
from trainer import environment_variables
from trainer.files import replacing

Printed = tuple[int, bytes]  # a piece of an attempt's log: where in the file it begins, and what it is
AT_ONCE = {"rows": 8, "files": 2}  # calls that are served at once: of a few bytes, and of checkpoints and encoders


class HeadRecords:
    """Writes trials' folders on the driver's disk; an actor with a thread per call that is under way, see ``AT_ONCE``.

    Files travel as a list that holds the reference of their bytes: so Ray brings the bytes here when their turn has come, and
    the head never holds more than two of them, however many workers have one to hand over.

    Args:
        trials: the folder that holds the trials' folders.
    """

    def __init__(self, trials: str) -> None:
        self.trials = Path(trials)

    def _writer(self, digest: str, attempt: str | None = None) -> TrialWriter:
        writer = TrialWriter(self.trials / digest)
        writer.attempt = writer.folder / attempt if attempt else None
        return writer

    @ray.method(concurrency_group="rows")
    def read(self, digest: str, method: str) -> Any:
        """Return what a method of the trial's writer says that only reads: ``entry``, ``result`` or ``was_stopped``."""
        return getattr(self._writer(digest), method)()

    @ray.method(concurrency_group="rows")
    def open_attempt(self, digest: str) -> tuple[str, list[str]]:
        """Open an attempt at the trial and return its name, and the names of the earlier ones, newest first."""
        writer = self._writer(digest)
        earlier = writer.open_attempt()
        assert writer.attempt is not None
        return writer.attempt.name, earlier

    @ray.method(concurrency_group="files")
    def checkpoint(self, digest: str, attempt: str) -> bytes | None:
        """Return the checkpoint of an attempt, None where it has none."""
        try:
            return (self.trials / digest / attempt / CHECKPOINT).read_bytes()
        except FileNotFoundError:
            return None

    @ray.method(concurrency_group="rows")
    def take_over(self, digest: str, attempt: str, source: str, epoch: int) -> None:
        """Take an earlier attempt's reports over, up to an epoch."""
        self._writer(digest, attempt).take_over(source, epoch)

    @ray.method(concurrency_group="rows")
    def append(self, digest: str, attempt: str, row: dict[str, Any], printed: Printed) -> None:
        """Append a report, and what was printed since the last. Raises Superseded if the attempt no longer counts."""
        writer = self._writer(digest, attempt)
        with noticing(writer.folder.parent):
            writer.check_counts()
            _print(writer, printed)
            writer.append(row)

    @ray.method(concurrency_group="rows")
    def print(self, digest: str, attempt: str, printed: Printed) -> None:
        """Add to the attempt's log."""
        _print(self._writer(digest, attempt), printed)

    @ray.method(concurrency_group="rows")
    def earlier_error(self, digest: str, attempt: str) -> dict[str, Any] | None:
        """Return what ended the attempt before this one; None where none failed just before."""
        return self._writer(digest, attempt).earlier_error()

    @ray.method(concurrency_group="files")
    def save(self, digest: str, attempt: str, content: list[ray.ObjectRef]) -> None:
        """Save a checkpoint. Raises Superseded if the attempt no longer counts, or the trial was stopped."""
        writer = self._writer(digest, attempt)
        with noticing(writer.folder.parent):
            writer.check_counts()
            if writer.was_stopped():  # it was under way when the pruner decided
                raise Superseded(f"{writer.folder} was stopped early")
            writer.save(_writing(content))

    @ray.method(concurrency_group="files")
    def finish(self, digest: str, attempt: str, encoder: list[ray.ObjectRef], record: dict[str, Any]) -> None:
        """Write the encoder and the result. Raises Superseded if another attempt has finished before."""
        writer = self._writer(digest, attempt)
        with noticing(writer.folder.parent):
            writer.finish(_writing(encoder), record)

    @ray.method(concurrency_group="rows")
    def fail(self, digest: str, attempt: str | None, kind: str, message: str, place: dict[str, str | int]) -> None:
        """Record why the attempt ended without a result."""
        self._writer(digest, attempt).fail(Status(kind), message, **place)


def _print(writer: TrialWriter, printed: Printed) -> None:
    """Write a piece of the attempt's log at its place, so that one that comes twice is there once."""
    offset, content = printed
    if content:
        file = os.open(writer.output, os.O_WRONLY | os.O_CREAT, 0o644)
        try:
            os.pwrite(file, content, offset)
        finally:
            os.close(file)


def _writing(content: list[ray.ObjectRef]) -> Callable[[Path], None]:
    """Return what writes the referenced bytes into the file that it is given."""

    def write(path: Path) -> None:
        with replacing(path) as file:
            file.write(ray.get(content[0]))

    return write


@contextlib.contextmanager
def serving_records(trials: Path) -> Iterator[str]:
    """Keep the actor on this node while the block runs; yield the name by which workers find it.

    Args:
        trials: the folder that holds the trials' folders.
    """
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    name = f"alphacl-records-{uuid.uuid4().hex}"
    options: dict[str, Any] = {"num_cpus": 0, "max_restarts": -1, "scheduling_strategy": here}
    actor = ray.remote(concurrency_groups=AT_ONCE)(HeadRecords).options(name=name, **options).remote(str(trials))
    try:
        yield name
    finally:
        with contextlib.suppress(Exception):  # Ray may have died meanwhile
            ray.kill(actor)


@contextlib.contextmanager
def head_for_others(folder: SweepWriter, address: str | None) -> Iterator[Head | None]:
    """Keep the actor that records for nodes without the storage, while the block runs, where there can be such nodes.

    Args:
        folder: the sweep folder.
        address: of the Ray cluster that was joined; nodes may join it later. Without one this machine is alone.
    """
    joined = address or environment_variables.ray_address() or environment_variables.through_head()
    if not joined and sum(node["Alive"] for node in ray.nodes()) == 1:
        yield None
        return
    with serving_records(folder.trials) as name:
        yield Head(name, folder.driver())
