"""Tells a worker that its node is about to be taken away, so that it saves a checkpoint after every epoch until then.

Ray says so to a whole cluster once somebody has announced it: the cloud's autoscaler, ``ray drain-node``, or
``python -m orchestrator.leave`` on the node. A signal comes too late for that: at SIGTERM Ray's raylet ends at once, and its
workers end with it, within milliseconds. What the driver does at Ctrl-C and SIGTERM is in
:mod:`orchestrator.driver.interrupts`.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Collection

import ray
from ray._private.state import state

EVERY_S = 3.0


class Leaving:
    """Asks Ray from a thread of its own whether this node is to leave the cluster; a head that does not answer holds up nobody.

    Args:
        node: the node's id.
        draining: returns the ids of the nodes that are to leave.
    """

    def __init__(self, node: str, draining: Callable[[], Collection[str] | None] = state.get_draining_nodes) -> None:
        self.node, self.draining = node, draining
        self._noticed = threading.Event()
        threading.Thread(target=self._look, name="leaving", daemon=True).start()

    def __call__(self) -> bool:
        """Tell whether the node is to leave, as far as this process has heard."""
        return self._noticed.is_set()

    def _look(self) -> None:
        over = threading.Event()
        while not over.wait(EVERY_S):
            with contextlib.suppress(Exception):  # whatever Ray raises while the head is away
                if self.node in (self.draining() or ()):
                    self._noticed.set()
                else:
                    self._noticed.clear()


@functools.cache
def this_node_leaves() -> Callable[[], bool]:
    """Return what tells whether this process's node is to leave: one for the process, whose worker runs many trials."""
    return Leaving(ray.get_runtime_context().get_node_id()) if ray.is_initialized() else lambda: False
