"""NVIDIA's Multi-Process Service (MPS): kernels of trials that share a GPU run side by side; without it the trials take turns.

MPS is a daemon per machine. Programs find it through a folder of pipes, which they read from the environment before they first
use the GPU. https://docs.nvidia.com/deploy/mps describes the daemon and its commands.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import filelock
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

if TYPE_CHECKING:  # a worker imports this module while it starts
    from search_spaces import SweepSpec

CONTROL = "nvidia-cuda-mps-control"
PIPES, LOGS = "CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"
ANSWER_S = 20.0  # the daemon answers at once; a hanging driver must not hang the trial
LEAVE_S, NODE_S = 10.0, 60.0


def folder() -> Path:
    """Return this user's folder for a daemon of alphacl's own: its pipes, its logs, and the lock held while it starts or stops.

    Raises:
        OSError: if somebody else has made a folder of that name.
    """
    path = Path(tempfile.gettempdir()) / f"alphacl-mps-{os.getuid()}"
    path.mkdir(mode=0o700, exist_ok=True)
    if path.is_symlink() or path.stat().st_uid != os.getuid():
        raise PermissionError(f"{path} is not this user's")
    return path


def join_mps() -> str:
    """Make this process a client of the machine's MPS daemon, which is started where none runs.

    A daemon that the machine's owner has started is taken as it is. The process must not have used a GPU before.

    Returns:
        Why the process does without MPS, or an empty string where it is a client.
    """
    if shutil.which(CONTROL) is None:
        return f"{CONTROL} is not installed"
    try:
        if _ask("get_server_list") is not None:
            return ""
        own = _own_daemon(folder())
        with filelock.FileLock(folder() / "lock", timeout=ANSWER_S):
            if _ask("get_server_list", own) is None:
                _start(own)
    except (OSError, subprocess.SubprocessError, filelock.Timeout) as error:
        return f"it does not start: {error}"
    os.environ |= own
    return ""


def stop_idle_mps() -> bool:
    """Stop the daemon of alphacl's own on this machine, unless it keeps having clients; tell whether it was stopped."""
    if shutil.which(CONTROL) is None:
        return False
    own = _own_daemon(folder())
    deadline = time.monotonic() + LEAVE_S  # workers that have just ended are clients for a moment
    while True:
        with filelock.FileLock(folder() / "lock", timeout=ANSWER_S):
            servers = _ask("get_server_list", own)
            if servers is None:
                return False
            if not any((_ask(f"get_client_list {server}", own) or "").split() for server in servers.split()):
                return _ask("quit", own) is not None
        if time.monotonic() > deadline:
            return False
        time.sleep(0.5)


@contextlib.contextmanager
def sharing_gpus(spec: SweepSpec) -> Iterator[list[str]]:
    """Run MPS on every node of Ray that has a GPU while the block runs, where the sweep's trials share GPUs and want it.

    Yields:
        Lines for the user: where MPS runs and where not, and why; empty where trials share no GPU.
    """
    if not (0 < spec.resources.gpu < 1 and spec.resources.mps):
        yield []
        return
    yield _tell(_on_gpu_nodes(join_mps))
    with contextlib.suppress(Exception):  # a node that is gone takes its daemon with it
        _on_gpu_nodes(stop_idle_mps)


def _tell(reasons: dict[str, object]) -> list[str]:
    """Return a line for all nodes with MPS, and one for each reason why others have none."""
    nodes_by_reason: dict[str, list[str]] = {}
    for node, reason in reasons.items():
        nodes_by_reason.setdefault(str(reason), []).append(node)
    with_mps = nodes_by_reason.pop("", [])
    lines = [f"MPS runs on {', '.join(with_mps)}: trials that share a GPU compute side by side"] if with_mps else []
    return lines + [
        f"no MPS on {', '.join(nodes)} ({why}): trials there take turns on a GPU" for why, nodes in nodes_by_reason.items()
    ]


def _on_gpu_nodes(function: object) -> dict[str, object]:
    """Call a function on each node of Ray that has a GPU; return what it returned, or its error, by the node's address."""
    task = ray.remote(num_cpus=0, max_retries=0)(function)
    begun = {
        node["NodeManagerAddress"]: task.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote()
        for node in ray.nodes()
        if node["Alive"] and node["Resources"].get("GPU")
    }
    found: dict[str, object] = {}
    for address, answer in begun.items():
        try:
            found[address] = ray.get(answer, timeout=NODE_S)
        except ray.exceptions.RayError as error:
            found[address] = f"{type(error).__name__} on that node"
    return found


def _own_daemon(path: Path) -> dict[str, str]:
    """Return the environment variables that name the daemon which has its pipes and logs in ``path``."""
    return {PIPES: str(path / "pipes"), LOGS: str(path / "logs")}


def _ask(command: str, daemon: dict[str, str] | None = None) -> str | None:
    """Send a command to an MPS daemon, by default the environment's; return its answer, or None where no daemon is."""
    done = subprocess.run(
        [CONTROL],
        input=command + "\n",
        env={**os.environ, **(daemon or {})},
        capture_output=True,
        text=True,
        timeout=ANSWER_S,
        check=False,
    )
    return done.stdout if done.returncode == 0 else None


def _start(daemon: dict[str, str]) -> None:
    """Start an MPS daemon that serves all GPUs of the machine; each client still sees its own alone."""
    for path in daemon.values():
        Path(path).mkdir(exist_ok=True)
    environment = {**os.environ, **daemon}
    environment.pop("CUDA_VISIBLE_DEVICES", None)  # else the daemon would number the GPUs anew
    with tempfile.TemporaryFile() as output:  # no pipe: the daemon would keep it open
        done = subprocess.run(
            [CONTROL, "-d"], env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            start_new_session=True, timeout=ANSWER_S, check=False,
        )  # fmt: skip
        if done.returncode:
            output.seek(0)
            raise OSError(output.read(300).decode(errors="replace").strip() or f"{CONTROL} -d ends with {done.returncode}")
    print(f"alphacl: started MPS, its logs are in {daemon[LOGS]}", file=sys.stderr)
