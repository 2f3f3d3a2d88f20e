"""The load of the driver's machine while a sweep runs, kept in the sweep folder so that MLflow can be rebuilt from it.

STORAGE/NAME/system.jsonl holds a line ``{"machine": {…}}`` per start of a driver and a line ``{"at": …, "metrics": {…}}`` every
ten seconds. The values are those of MLflow's own system monitor (psutil; GPUs where pynvml is installed), which by itself would
stop for good when the server is away once.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import platform
import threading
import time
from pathlib import Path
from typing import Any

import psutil
from mlflow.system_metrics.metrics.base_metrics_monitor import BaseMetricsMonitor
from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor
from mlflow.system_metrics.metrics.rocm_monitor import ROCMMonitor
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from orchestrator.tracking.experiment_store import Known, MetricRow, Wanted
from results.record.layout import SYSTEM
from results.record.mlflow_names import LOAD_KEY, SYSTEM_PREFIX
from trainer.errors import UserError
from trainer.files import open_regular
from trainer.processor import processor

SAMPLE_EVERY_S = 10.0
MOST_LINE = 1 << 20  # bytes


class LoadRecorder:
    """A thread that writes the machine's load into a sweep folder until it is stopped; a full disk only loses samples.

    Args:
        folder: the sweep folder.
        every: seconds between samples.
    """

    def __init__(self, folder: Path, every: float = SAMPLE_EVERY_S) -> None:
        self.path, self.every = folder / SYSTEM, every
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="system-metrics", daemon=True)

    def start(self) -> None:
        """Start the thread; its first line describes the machine."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread and wait until it has ended."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        monitors = make_monitors()
        self._write({"machine": describe_machine()})
        while not self._stop.wait(self.every):
            metrics: dict[str, float] = {}
            for monitor in monitors:
                monitor.collect_metrics()
                metrics |= monitor.aggregate_metrics()
                monitor.clear_metrics()
            self._write({"at": round(time.time(), 3), "metrics": metrics})

    def _write(self, line: dict[str, Any]) -> None:
        with contextlib.suppress(OSError), open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def make_monitors() -> list[BaseMetricsMonitor]:
    """Return MLflow's monitors of processor, memory, disk and network, and of GPUs where these and their library are there."""
    monitors: list[BaseMetricsMonitor] = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
    for gpus in (GPUMonitor, ROCMMonitor):
        with contextlib.suppress(Exception):
            return [*monitors, gpus()]
    return monitors


def describe_machine() -> dict[str, Any]:
    """Return this machine's host name, system, processor and memory in GB."""
    return {
        "host": platform.node(),
        "system": platform.platform(terse=True),
        "processor": f"{os.cpu_count()} × {processor()}",
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
    }


def machines(folder: Path) -> list[dict[str, Any]]:
    """Return the machines that drove a sweep, as :func:`describe_machine` gives them, in order and each once."""
    starts = [line["machine"] for line in _lines(folder, 0) if isinstance(line.get("machine"), dict)]
    return [machine for index, machine in enumerate(starts) if machine not in starts[:index]]


def samples(folder: Path, after: int = -1) -> list[MetricRow]:
    """Return the samples in a sweep folder from line ``after`` + 1 on; a sample's step is the number of its line, from 0."""
    rows = []
    for step, line in enumerate(_lines(folder, after + 1), start=after + 1):
        with contextlib.suppress(KeyError, TypeError, ValueError, AttributeError, OverflowError):
            metrics = {f"{SYSTEM_PREFIX}{k}": float(v) for k, v in line["metrics"].items()}
            rows.append(MetricRow(step, round(line["at"] * 1000), metrics))
    return rows


def wanted_load(folder: Path, known: Known | None, parent: str, status: str) -> Wanted | None:
    """Return the state that the run of the driver's machine is to have, beside the trials; None while there is no sample.

    Args:
        folder: the sweep folder.
        known: the run, as MLflow holds it.
        parent: the parent run's id.
        status: the run's, in MLflow's words.
    """
    rows = samples(folder, known.logged[0] if known else -1)
    if known is None and not rows:
        return None
    start = known.start if known else rows[0].at
    end = None if status == "RUNNING" else max(start, rows[-1].at if rows else known.logged[1] if known else 0)
    tags = {MLFLOW_PARENT_RUN_ID: parent}
    return Wanted(LOAD_KEY, "load of the driver's machine", status, start, end, tags, {}, rows, tail=True)


def _lines(folder: Path, start: int) -> list[dict[str, Any]]:
    """Return the lines of ``system.jsonl`` from ``start`` on; a line that was cut short, or is being written, is empty."""
    lines = []
    with contextlib.suppress(OSError, UserError), open_regular(folder / SYSTEM) as file:
        for number in itertools.count():
            text = file.readline(MOST_LINE)
            if not text:
                break
            if number < start:
                continue
            try:
                line = json.loads(text)
            except (ValueError, RecursionError):
                line = {}
            lines.append(line if isinstance(line, dict) else {})
    return lines
