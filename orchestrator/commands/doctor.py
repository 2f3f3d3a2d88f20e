"""``alphacl doctor``: look at what a sweep needs on this machine, on one screen."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from filelock import FileLock

from orchestrator.commands.exit_codes import FAILED, OK
from orchestrator.tracking.addresses import database, default_uri
from results.options import add_storage
from results.record.reader import list_sweeps
from trainer import environment_variables
from trainer.errors import UserError, first_line

PACKAGES = ("torch", "torchvision", "ray", "optuna", "mlflow")
LEAST_FREE = 5e9  # bytes: a sweep's checkpoints and encoders, and decoded images


@dataclass(frozen=True)
class Finding:
    """A line of the doctor's screen.

    Args:
        about: what was looked at.
        text: what was found.
        is_bad: whether a sweep would fail for it.
    """

    about: str
    text: str
    is_bad: bool = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``alphacl doctor``."""
    parser.add_argument("--address", metavar="RAY", help="a Ray cluster to look at (default: $RAY_ADDRESS)")
    parser.add_argument("--tracking-uri", metavar="URI", help="an MLflow server or database (default: SQLite in the storage)")
    parser.add_argument(
        "--data-dir", metavar="DIR", help="downloads and decoded images (default: $ALPHACL_DATA, else ~/.cache/alphacl)"
    )
    add_storage(parser)


def doctor(arguments: argparse.Namespace) -> int:
    """Run ``alphacl doctor``, which prints a line per finding, and return the exit code: 1 where a sweep would fail."""
    data = Path(arguments.data_dir) if arguments.data_dir else environment_variables.data()
    looks: list[tuple[str, Callable[[], Iterator[Finding]]]] = [
        ("versions", _versions),
        ("processor", _processors),
        ("storage", lambda: _folder("storage", arguments.storage, links=True)),
        ("sweeps", lambda: _sweeps(arguments.storage)),
        ("data", lambda: _folder("data", data, links=False)),
        ("datasets", lambda: _datasets(data)),
        ("MLflow", lambda: _mlflow(arguments.storage, arguments.tracking_uri)),
        ("Ray", lambda: _ray(arguments.address or environment_variables.ray_address())),
    ]
    bad = 0
    for about, look in looks:
        try:
            findings = list(look())
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what was looked for
            findings = [Finding(about, first_line(error, 300), is_bad=True)]
        for finding in findings:
            bad += finding.is_bad
            print(f"{'✗' if finding.is_bad else '✓'} {finding.about:<10} {finding.text}", flush=True)
    print("nothing is in the way of a sweep" if not bad else f"{bad} of these would be in the way of a sweep")
    return FAILED if bad else OK


def _versions() -> Iterator[Finding]:
    from trainer.environment import commit

    yield Finding("alphacl", f"{version('alphacl')}, commit {commit() or 'unknown'}, Python {platform.python_version()}")
    found, missing = [], []
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            missing.append(package)
    text = ", ".join(found) + (f"; missing: {', '.join(missing)}" if missing else "")
    yield Finding("packages", text, is_bad=bool(missing))


def _processors() -> Iterator[Finding]:
    import psutil
    import torch

    from trainer.processor import processor

    memory = psutil.virtual_memory()
    cpu = f"{os.cpu_count()} × {processor()}, load {os.getloadavg()[0]:.1f}"
    yield Finding("processor", f"{cpu}, {memory.available / 1e9:.1f} of {memory.total / 1e9:.1f} GB memory free")
    if not torch.cuda.is_available():
        yield Finding("GPU", "none that PyTorch can use; trials run on the CPU")
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        yield Finding(f"GPU {index}", f"{torch.cuda.get_device_name(index)}, {free / 1e9:.1f} of {total / 1e9:.1f} GB free")


def _folder(about: str, folder: Path, links: bool) -> Iterator[Finding]:
    """Look whether a folder can be written, and with ``links`` whether its file system has hard links and locks."""
    there = next(p for p in (folder.resolve(), *folder.resolve().parents) if p.exists())
    free = shutil.disk_usage(there).free
    text = f"{folder}" + ("" if folder.exists() else " (made by the first sweep)") + f", {free / 1e9:.1f} GB free"
    if not os.access(there, os.W_OK):
        yield Finding(about, f"{text}; {there} cannot be written", is_bad=True)
        return
    if links:
        with tempfile.TemporaryDirectory(prefix=".doctor.", dir=there) as scratch:
            file = Path(scratch) / "file"
            file.write_bytes(b"")
            with FileLock(Path(scratch) / "lock", timeout=1):
                pass
            try:
                os.link(file, Path(scratch) / "link")
            except OSError:
                text += "; no hard links: two attempts that finish at once may replace each other's result"
    yield Finding(about, text + ("; that is little" if free < LEAST_FREE else ""))


def _sweeps(storage: Path) -> Iterator[Finding]:
    names = list_sweeps(storage)
    text = f"{len(names)}; 'alphacl status' lists them" if names else "none yet; 'alphacl spaces' lists what can be run"
    yield Finding("sweeps", text)


def _datasets(data: Path) -> Iterator[Finding]:
    cache = data / "cache"
    names = sorted(p.name for p in cache.iterdir() if p.is_dir() and not p.name.startswith(".")) if cache.is_dir() else []
    yield Finding("datasets", f"decoded: {', '.join(names) or 'none yet'}; digits needs no download")


def _mlflow(storage: Path, given: str | None) -> Iterator[Finding]:
    uri = given or environment_variables.tracking_uri() or default_uri(storage)
    if uri == default_uri(storage) and not database(storage).exists():
        yield Finding("MLflow", "the first sweep makes its database")
        return
    from orchestrator.tracking.store_errors import explain, quieten
    from results.record.store_address import ask_database, public

    quieten()
    from mlflow.tracking import MlflowClient

    try:
        ask_database(uri)
        count = len(MlflowClient(tracking_uri=uri).search_experiments())
    except Exception as error:  # noqa: BLE001 - MLflow lets SQLAlchemy's and requests' errors through
        yield Finding("MLflow", f"{public(uri)}: {explain(error)}", is_bad=True)
        return
    yield Finding("MLflow", f"{public(uri)}, {count} experiments")


def _ray(address: str | None) -> Iterator[Finding]:
    if address is None:
        socket.create_server(("127.0.0.1", 0)).close()  # Ray's processes talk over the loopback
        memory = shutil.disk_usage("/dev/shm").free if Path("/dev/shm").is_dir() else 0
        yield Finding("Ray", f"is started on this machine with each sweep; {memory / 1e9:.1f} GB of shared memory free")
        return
    from orchestrator.driver.join_cluster import prepare_to_join

    try:
        prepare_to_join(address)
    except UserError as error:
        yield Finding("Ray", str(error), is_bad=True)
        return
    import ray

    from orchestrator.driver.ray_cluster import ray_running

    with ray_running(address):
        nodes = [node for node in ray.nodes() if node["Alive"]]
        total = {key: sum(node["Resources"].get(key, 0) for node in nodes) for key in ("CPU", "GPU")}
    yield Finding("Ray", f"{address}: {len(nodes)} nodes, {total['CPU']:g} CPU, {total['GPU']:g} GPU")
