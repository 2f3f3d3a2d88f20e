"""A worker that was killed for want of memory ends its attempt, not the sweep."""

from types import SimpleNamespace

import pytest
from ray.air.execution._internal.actor_manager import RayActorManager
from ray.exceptions import OutOfMemoryError, RayActorError

from orchestrator.driver.memory_kills import memory_kills_are_deaths
from orchestrator.driver.retries import last_lines


def test_a_worker_killed_for_want_of_memory_is_one_that_died_and_nothing_else_changes():
    told = []
    actor = SimpleNamespace(actor_id="1", _on_error=lambda actor, error: told.append(error))
    task = SimpleNamespace(_tracked_actor=actor, _on_error=lambda actor, error: told.append(error))
    manager = SimpleNamespace(_failed_actor_ids=set(), _cleanup_actor=lambda tracked_actor: None)
    killed = OutOfMemoryError("2 workers were killed: 22.3 GB used of 23.6 GB\nConsidered workers: [\n…")
    with memory_kills_are_deaths():
        RayActorManager._actor_task_failed(manager, tracked_actor_task=task, exception=killed)
        with pytest.raises(RuntimeError, match="unexpected exception: odd"):
            RayActorManager._actor_task_failed(manager, tracked_actor_task=task, exception=ValueError("odd"))
    assert [type(error) for error in told] == [RayActorError, RayActorError]
    assert str(told[0]) == "2 workers were killed: 22.3 GB used of 23.6 GB"
    assert manager._failed_actor_ids == {"1"}
    with pytest.raises(RuntimeError, match="unexpected exception: 2 workers"):  # what Tune does by itself
        RayActorManager._actor_task_failed(manager, tracked_actor_task=task, exception=killed)


def test_what_is_said_of_it_is_how_much_memory_there_was_and_what_helps(tmp_path):
    said = "2 worker(s) were killed due to the node running low on memory. Memory on the node (IP: 192.0.2.2, ID: 7985d9) was "
    file = tmp_path / "error.txt"
    file.write_text(f"Failure # 1 (occurred at now)\n{said}22.32GB used / 23.59GB limit (0.9)\nTop users:\nRefer to the manual\n")
    text = last_lines(SimpleNamespace(error_file=str(file)))
    assert text.startswith(
        "Ray killed the worker because memory ran short on its node (22.32GB used / 23.59GB); with a larger 'cpu'"
    )
    assert "\n" not in text
