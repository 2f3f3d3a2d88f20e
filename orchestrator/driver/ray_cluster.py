"""The Ray cluster that trials run on: started on this machine or joined, checked for room, and watched while a sweep runs."""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import secrets
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import ray
from ray._private import ray_constants

from search_spaces import SweepSpec
from trainer import environment_variables
from trainer.errors import UserError, first_line
from trainer.terminal import complain

LEAST_DESCRIPTORS = 64  # with which a sweep of one trial at a time has run; with 32 Ray does not start
OBJECT_STORE_BYTES = 100_000_000  # trials exchange figures, not tensors


@contextlib.contextmanager
def ray_running(address: str | None) -> Iterator[None]:
    """Keep Ray connected while the block runs: joined at an address, else started on this machine and stopped again.

    A Ray that is started here listens on the loopback alone.

    Args:
        address: of a cluster to join; $RAY_ADDRESS when not given, and without either Ray is started on this machine.

    Raises:
        UserError: if no cluster answers at the address, or Ray can't be started, as with too few file descriptors.
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
            _check_descriptors()
            keep_token_private()
            with on_loopback():
                ray.init(address="local", include_dashboard=False, object_store_memory=OBJECT_STORE_BYTES, **quiet)
    except UserError:
        raise
    except Exception as error:  # noqa: BLE001 - Ray raises a bare Exception where its processes take too long to start
        ray.shutdown()  # what has started of it
        where = f"join Ray at {address} (if it asks for a token, RAY_AUTH_TOKEN must hold it)" if address else "start Ray"
        raise UserError(f"cannot {where}: {first_line(error)}") from None
    try:
        yield
    finally:
        ray.shutdown()


def _check_descriptors() -> None:
    """Raise UserError where Ray's processes may have too few file descriptors: Ray would wait for minutes before it fails."""
    most = max(resource.getrlimit(resource.RLIMIT_NOFILE))
    if 0 < most < LEAST_DESCRIPTORS:
        raise UserError(
            f"cannot start Ray: a process may have {most} open files here, and Ray needs {LEAST_DESCRIPTORS} at least;"
            " see 'ulimit -n'"
        )


@contextlib.contextmanager
def on_loopback() -> Iterator[None]:
    """Have a Ray that is started in the block take 127.0.0.1 for its node's address, so that no process of it listens elsewhere.

    Ray does so by itself on macOS and Windows. Elsewhere it reads RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 for it, once, when it is
    imported. The constant that Ray read is changed here, and not the variable: a ``ray start`` that this process may run later
    would inherit the variable, and refuse to join other machines.
    """
    before, ray_constants.ENABLE_RAY_CLUSTER = ray_constants.ENABLE_RAY_CLUSTER, False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def keep_token_private() -> None:
    """Make the token that a Ray of this user asks for, where there is none yet; let nobody else read it.

    Ray would make ``~/.ray/auth_token`` as the umask says: mostly for every user of the machine to read, who could then run code
    as this one. Without a home folder that can be written, the token lasts as long as this process. One that the user gives in
    another way is left alone.
    """
    if "RAY_AUTH_TOKEN" in os.environ or "RAY_AUTH_TOKEN_PATH" in os.environ:
        return
    token = secrets.token_hex(32)
    try:
        file = Path.home() / ".ray" / "auth_token"
        file.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError), tempfile.NamedTemporaryFile("w", dir=file.parent) as draft:  # mode 600
            draft.write(token)
            draft.flush()
            os.link(draft.name, file)
        if file.stat().st_mode & 0o077:
            file.chmod(0o600)
    except (OSError, RuntimeError):
        os.environ["RAY_AUTH_TOKEN"] = token


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
    """Refuse a sweep whose trials no node of the cluster could ever hold; say so where the YAML leaves the cluster's GPUs idle.

    Raises:
        SpaceError: naming the resource, and what the largest node has of it.
    """
    totals = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    for name, key, wanted in (("cpu", "CPU", spec.resources.cpu), ("gpu", "GPU", spec.resources.gpu)):
        most = max((t.get(key, 0) for t in totals), default=0)
        if wanted > most:
            raise spec.document.error(("resources", name), f"a trial wants {name}: {wanted:g}, and the largest node has {most:g}")
    gpus = sum(t.get("GPU", 0) for t in totals)
    if gpus and "gpu" not in (spec.document.data.get("resources") or {}):
        complain(
            f"alphacl: trials compute on the CPU, and {gpus:g} GPU{'s' * (gpus > 1)} stay idle;"
            " 'resources: {gpu: 1}' in the YAML gives each trial a GPU, 'resources: {gpu: 0}' says that none is wanted"
        )
