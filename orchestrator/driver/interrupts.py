"""Has a running sweep end gently at Ctrl-C and SIGTERM.

At the first, Tune ends its trials, and MLflow is written; a second one ends the sweep at once
(:func:`orchestrator.driver.run_sweep.run_sweep`), also while it is wound up (:func:`orchestrator.commands.run.run`). What has
been asked for from another terminal, by ``alphacl stop``, is in :mod:`orchestrator.driver.incoming_requests`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def ends_gently() -> Iterator[None]:
    """Treat SIGTERM as Ctrl-C while the block runs, for batch schedulers, Kubernetes and ``ray job stop`` end jobs by it.

    A shell's script has the programs that it starts in the background (``alphacl sweep … &``) ignore SIGINT. The driver listens
    to it nevertheless while the block runs: the watch over Ray and the lease on a bucket end the driver by it.

    Outside the main thread, where no signal handler can be set, nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    if before[signal.SIGINT] == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda number, frame: os.kill(os.getpid(), signal.SIGINT))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
