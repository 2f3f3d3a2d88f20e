"""Ports for the servers that tests start."""

import random
import socket

# Below the ports that Linux gives to connections and to who asks for any, and above those of Ray's workers: whoever starts
# beside a test does not take a port between the choice and the server's start.
FIRST, LAST = 20000, 32000


def free_port():
    """Return a port of the loopback on which nothing listens."""
    for port in random.SystemRandom().sample(range(FIRST, LAST), 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError(f"no free port among a hundred from {FIRST} to {LAST}")
