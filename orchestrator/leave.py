"""The script ``python -m orchestrator.leave``: announce, on a machine of a Ray cluster, that the machine will be taken away.

From then on no new trial begins there, and those that run save a checkpoint after every epoch. What takes machines away has a
place for such a command: a pod's ``preStop`` hook, a cloud's notice of interruption.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import subprocess
import sys
import time

import psutil


def main(argv: list[str] | None = None) -> int:
    """Run the script and return the exit code: 1 where no Ray node runs on this machine, or its head does not answer."""
    parser = argparse.ArgumentParser(prog="python -m orchestrator.leave", description=__doc__.partition(":")[2].strip())
    parser.add_argument("--seconds", type=float, default=100, metavar="S", help="until then (default: %(default)g)")
    parser.add_argument(
        "--stay", action="store_true", help="return when no trial runs here, or they have passed, as a preStop hook must"
    )
    parser.add_argument("--address", default="auto", metavar="RAY", help="the cluster (default: the one that this machine is of)")
    parser.add_argument("--node", metavar="ID", help="Ray's id of the machine (default: this one)")
    arguments = parser.parse_args(argv)
    began = time.monotonic()
    try:
        announce(arguments.address, arguments.node, max(1, round(arguments.seconds)))
    except (ConnectionError, ValueError, RuntimeError) as error:
        print(f"alphacl: --address {arguments.address}: {str(error).strip().splitlines()[0]}", file=sys.stderr)
        return 1
    print(f"the machine leaves in {arguments.seconds:g} s: its trials save a checkpoint after every epoch until then", flush=True)
    while arguments.stay and time.monotonic() - began < arguments.seconds and any(map(_runs_trials, psutil.process_iter())):
        time.sleep(1)
    return 0


def _runs_trials(process: psutil.Process) -> bool:
    """Tell whether a process is a worker of Ray Tune, by the title that Ray gives it."""
    with contextlib.suppress(psutil.Error):
        return "ray::ImplicitFunc" in " ".join(process.cmdline())
    return False


def announce(address: str, node: str | None, seconds: int) -> None:
    """Tell a Ray cluster that a node of it will be taken away.

    Args:
        address: of the cluster.
        node: Ray's id of the node; this machine's when not given.
        seconds: until then.

    Raises:
        ConnectionError: if no Ray cluster answers at the address.
        RuntimeError: if the cluster refuses.
    """
    import ray

    ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    context = ray.get_runtime_context()
    node, head = node or context.get_node_id(), context.gcs_address
    ray.shutdown()
    command = [sys.executable, "-m", "ray.scripts.scripts", "drain-node", "--address", head, "--node-id", node]
    reason = ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "the machine is taken away"]
    done = subprocess.run(
        [*command, *reason, "--deadline-remaining-seconds", str(seconds)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or ["the cluster refuses"])[-1])


if __name__ == "__main__":
    sys.exit(main())
