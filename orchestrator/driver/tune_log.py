"""Takes the place of Tune's own lines on the terminal: what a user has to know of them is said in the project's words."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator

STOPPING = "stopping; what runs goes on from its last checkpoint with 'alphacl resume'; Ctrl-C again ends at once"
_SIGNAL = "Stop signal received"  # how Tune begins the line that it logs when Ctrl-C is pressed
_QUIET = ("ray.tune.tune", "ray.tune.execution.tune_controller")


class _Filter(logging.Filter):
    """Lets no line through, and calls ``on_stop`` at the one that Tune logs when it was told to stop."""

    def __init__(self, on_stop: Callable[[], None]) -> None:
        super().__init__()
        self.on_stop = on_stop

    def filter(self, record: logging.LogRecord) -> bool:
        """Return False: the record is not shown."""
        if str(record.msg).startswith(_SIGNAL):
            self.on_stop()
        return False


@contextlib.contextmanager
def tune_is_quiet(tell: Callable[[str], None]) -> Iterator[None]:
    """Keep Tune's log lines and tracebacks off the terminal while the block runs; its first Ctrl-C is said by ``tell``.

    A trial's error is in the trial's folder, with its traceback in ``output.log``.
    """
    loggers = [logging.getLogger(name) for name in _QUIET]
    levels = [logger.level for logger in loggers]
    quiet = _Filter(lambda: tell(STOPPING))
    for logger in loggers:
        logger.setLevel(logging.WARNING)  # that Ctrl-C was pressed is a warning, and Ray's loggers stand at errors alone
        logger.addFilter(quiet)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.removeFilter(quiet)
            logger.setLevel(level)
