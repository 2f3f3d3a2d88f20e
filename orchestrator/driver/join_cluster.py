"""The check before a Ray cluster is joined and Ray is imported: whether a head answers, and whether it asks for a token."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

from trainer import environment_variables
from trainer.errors import UserError


def prepare_to_join(address: str | None) -> None:
    """Check that a Ray head answers at an address, and turn token authentication on where the head asks for it.

    Ray reads RAY_AUTH_MODE when it is imported, never turns it on by itself when it joins, and would try a dead address for
    minutes. A head started by ``ray start`` asks for a token as soon as its user has one.

    Args:
        address: ``HOST:PORT`` of the head; $RAY_ADDRESS when not given. Others, such as ``auto``, are left to Ray.

    Raises:
        UserError: if nothing answers within five seconds.
    """
    address = address or environment_variables.ray_address() or ""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "://" in address:  # 'auto', or a client address that Ray resolves itself
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except (OSError, OverflowError) as error:
        raise UserError(f"--address {address}: nobody answers there ({error}); expected a Ray head's HOST:PORT") from None
    if "RAY_AUTH_MODE" not in os.environ and _asks_for_token(address):
        os.environ["RAY_AUTH_MODE"] = "token"


def _asks_for_token(address: str) -> bool:
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled"}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode != 0 and "AuthenticationError" in done.stderr
