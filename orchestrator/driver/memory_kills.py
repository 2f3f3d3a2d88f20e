"""Has Tune retry a trial whose worker Ray's memory monitor has killed. By itself Tune would end the whole sweep."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from ray.air.execution._internal.actor_manager import RayActorManager
from ray.exceptions import OutOfMemoryError, RayActorError

from trainer.errors import first_line


@contextlib.contextmanager
def memory_kills_are_deaths() -> Iterator[None]:
    """Have Tune treat a worker that was killed because memory ran short as one that died, while the block runs.

    The trial is then run again from its last checkpoint, as often as its retries allow, and the others go on. Ray raises
    ``OutOfMemoryError`` for it, which Tune's manager of actors (2.60) does not know: it raises ``RuntimeError`` in the driver.
    """
    original = RayActorManager._actor_task_failed

    def failed(manager: RayActorManager, tracked_actor_task: Any, exception: Exception) -> None:
        known = RayActorError(error_msg=first_line(exception, 300)) if isinstance(exception, OutOfMemoryError) else exception
        original(manager, tracked_actor_task=tracked_actor_task, exception=known)

    RayActorManager._actor_task_failed = failed
    try:
        yield
    finally:
        RayActorManager._actor_task_failed = original
