"""The Ray cluster that trials run on: started on this machine or joined, checked for room, and watched while a sweep runs."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator

import ray

from search_spaces import SweepSpec
from trainer import environment_variables
from trainer.errors import UserError, first_line

OBJECT_STORE_BYTES = 100_000_000  # trials exchange figures, not tensors


@contextlib.contextmanager
def ray_running(address: str | None) -> Iterator[None]:
    """Keep Ray connected while the block runs: joined at an address, else started on this machine and stopped again.

    Args:
        address: of a cluster to join; $RAY_ADDRESS when not given, and without either Ray is started on this machine.

    Raises:
        UserError: if no cluster answers at the address, or Ray can't be started.
    """
    address = address or environment_variables.ray_address()
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}
    if ray.is_initialized():  # a caller's own, as in the tests
        yield
        return
    try:
        if address:
            ray.init(address=address, **quiet)
        else:
            ray.init(address="local", include_dashboard=False, object_store_memory=OBJECT_STORE_BYTES, **quiet)
    except (ConnectionError, ValueError, RuntimeError) as error:
        where = f"join Ray at {address} (if it asks for a token, RAY_AUTH_TOKEN must hold it)" if address else "start Ray"
        raise UserError(f"cannot {where}: {first_line(error)}") from None
    try:
        yield
    finally:
        ray.shutdown()


class Watch:
    """Interrupts the driver, while its ``with`` block runs, when no node of Ray has been alive for ``GRACE_S`` seconds.

    Tune would wait for ever for a node that does not come back. ``died`` says afterwards whether that has happened.
    """

    EVERY_S, GRACE_S = 3.0, 12.0

    def __init__(self) -> None:
        self.died = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, name="watch", daemon=True)

    def _look(self) -> None:
        seen = time.monotonic()
        while not self._stop.wait(self.EVERY_S):
            with contextlib.suppress(Exception):  # a head that does not answer is no node either
                if any(node["Alive"] for node in ray.nodes()):
                    seen = time.monotonic()
            if time.monotonic() - seen > self.GRACE_S:
                self.died = True
                os.kill(os.getpid(), signal.SIGINT)  # Tune's gentle end
                if not self._stop.wait(self.EVERY_S):
                    os.kill(os.getpid(), signal.SIGINT)  # which needs the node as well
                return

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()


def check_resources(spec: SweepSpec) -> None:
    """Refuse a sweep whose trials no node of the cluster could ever hold.

    Raises:
        SpaceError: naming the resource, and what the largest node has of it.
    """
    totals = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    for name, key, wanted in (("cpu", "CPU", spec.resources.cpu), ("gpu", "GPU", spec.resources.gpu)):
        most = max((t.get(key, 0) for t in totals), default=0)
        if wanted > most:
            raise spec.document.error(("resources", name), f"a trial wants {name}: {wanted:g}, and the largest node has {most:g}")
