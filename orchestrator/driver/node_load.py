"""The load of a worker's machine, which goes with the reports of its trial: processor, memory, and the trial's GPUs.

There is no recorder beside the trial, so that no node runs one more process and nothing more travels: a report that comes ten
seconds after the last one with such values carries new ones, under the names of MLflow's own monitor.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Iterator

import psutil

from results.record.mlflow_names import SYSTEM_PREFIX

EVERY_S = 10.0  # between two reports that carry the load
GPU_EVERY_S = 1.0  # between two looks at a GPU, whose driver knows no longer a time than the last second
MB = 1e6


class NodeLoad:
    """Measures this machine's load from one report to the next.

    Args:
        every: seconds between two reports that carry the load.
    """

    def __init__(self, every: float | None = None) -> None:
        self.every = EVERY_S if every is None else every
        self._gpus: defaultdict[str, list[float]] = defaultdict(list)  # by metric
        self._at, self._over = time.monotonic(), threading.Event()
        psutil.cpu_percent()  # the next call tells of the time since this one

    def since_last(self) -> dict[str, float]:
        """Return the load since this was last returned, by metric; empty where that is too short a time ago.

        The processor's utilisation and the GPUs' values are means over that time, in percent and MB; memory is as it is now; the
        load average is the system's, of the last minute.
        """
        if time.monotonic() - self._at < self.every:
            return {}
        self._at = time.monotonic()
        memory = psutil.virtual_memory()
        load = {
            "cpu_utilization_percentage": psutil.cpu_percent(),
            "load_average_1min": os.getloadavg()[0],
            "system_memory_usage_megabytes": round(memory.used / MB, 1),
            "system_memory_usage_percentage": memory.percent,
        }
        gpus, self._gpus = self._gpus, defaultdict(list)
        load |= {name: round(statistics.fmean(values), 2) for name, values in gpus.items()}
        return {f"{SYSTEM_PREFIX}{name}": value for name, value in load.items()}

    @contextlib.contextmanager
    def watching_gpus(self) -> Iterator[None]:
        """Look at the GPUs that this process may use, from a thread of its own, while the block runs."""
        threading.Thread(target=self._watch, name="gpu load", daemon=True).start()
        try:
            yield
        finally:
            self._over.set()

    def _watch(self) -> None:
        import torch

        while not self._over.wait(GPU_EVERY_S):
            for number in range(torch.cuda.device_count()):
                samples = self._gpus
                with contextlib.suppress(Exception):  # NVIDIA's library, or its Python package, is not there
                    free, total = torch.cuda.mem_get_info(number)
                    samples[f"gpu_{number}_memory_usage_megabytes"].append((total - free) / MB)
                    samples[f"gpu_{number}_utilization_percentage"].append(torch.cuda.utilization(number))
