"""The script for ``ray submit CLUSTER orchestrator/submit.py SWEEP``: run a sweep from the head of a Ray cluster.

The script needs no file beside it, only alphacl installed on every node, so that it works where ``ray submit`` puts it. Started
again, it goes on with the sweep. Slurm and KubeRay start it too, as ``python -m orchestrator.submit SWEEP``.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from search_spaces import SweepSpec

PROJECT = Path("~/alphacl")  # where the cluster files of orchestrator/clusters put the project on every node
LAUNCH = ("--warm-start", "--reuse")  # options of 'alphacl sweep' that 'alphacl resume' has not
TOKEN = Path("~/.ray/auth_token")

EPILOG = """Any other option of 'alphacl sweep' is handed on: --set KEY=VALUE, --tracking-uri URI, --data-dir DIR, …
A sweep that is there already is gone on with; one launched from another search space is refused, so that it isn't mistaken.

example:
  ray submit orchestrator/clusters/local.yaml orchestrator/submit.py paper_table2

exit codes: those of 'alphacl --help' (ray submit itself makes 1 of any that is not 0)"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this script; options that it does not know are handed on to ``alphacl sweep``."""
    parser = argparse.ArgumentParser(
        prog="submit.py",
        description="Run a sweep on the Ray cluster whose head this is, or go on with it.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "sweep", metavar="SWEEP", help="a name from 'alphacl spaces', or a YAML file; its path counts from here or ~/alphacl"
    )
    parser.add_argument("--name", metavar="N", help="the sweep's name (default: the file's)")
    parser.add_argument(
        "--storage",
        metavar="PLACE",
        help="where sweeps lie: s3://BUCKET/PREFIX, gs://…, or a folder of this machine (default: $ALPHACL_STORAGE)",
    )
    parser.add_argument("--address", metavar="RAY", help="the cluster (default: $RAY_ADDRESS, else the one on this machine)")
    parser.add_argument("--nodes", type=int, default=1, metavar="N", help="wait until N nodes have joined (default: %(default)s)")
    parser.add_argument(
        "--wait",
        type=float,
        default=10,
        metavar="MINUTES",
        help="how long to wait for nodes, and for one that can hold a trial (default: %(default)s)",
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a setting of the YAML")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the sweep, or resume it where it exists, and return the exit code of ``alphacl``.

    Args:
        argv: the arguments after the script's name; those of this process when not given.
    """
    arguments, others = build_parser().parse_known_args(argv)
    use_token()
    try:
        from trainer.errors import UserError
    except ImportError as error:
        print(f"submit.py: alphacl is not installed for {sys.executable} on {os.uname().nodename}: {error}", file=sys.stderr)
        return 2
    try:
        alphacl_argv = command_line(arguments, others)
        if "--dry-run" not in alphacl_argv:
            prepare_cluster(arguments, alphacl_argv[alphacl_argv.index("--storage") + 1])
    except UserError as error:
        print(f"submit.py: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    from orchestrator.cli import main as alphacl

    return alphacl(alphacl_argv)


def use_token() -> None:
    """Turn Ray's token authentication on where its user has a token, as a head that ``ray start`` started does.

    Ray reads RAY_AUTH_MODE when it is imported, so this must be called before.
    """
    if "RAY_AUTH_MODE" not in os.environ and ("RAY_AUTH_TOKEN" in os.environ or TOKEN.expanduser().exists()):
        os.environ["RAY_AUTH_MODE"] = "token"


def command_line(arguments: argparse.Namespace, others: list[str]) -> list[str]:
    """Return the arguments for ``alphacl``: those of ``sweep``, or of ``resume`` where the sweep exists already.

    Args:
        arguments: the options of this script.
        others: the arguments that this script does not know.

    Raises:
        UserError: if there is no such search space, no storage is given, or the sweep of that name was launched from another
            search space.
    """
    from results.bucket.address import Address, place_of
    from results.bucket.reading import launched_space
    from search_spaces import load_spec
    from trainer import environment_variables
    from trainer.errors import UserError

    file = find_file(arguments.sweep)
    name = arguments.name or file.stem
    folder = arguments.storage or environment_variables.given_storage()
    if not folder:
        raise UserError("no storage: give --storage PLACE, or set ALPHACL_STORAGE, to a folder or a bucket's address")
    place = place_of(folder)
    place = place if isinstance(place, Address) else place.expanduser().resolve()
    common = ["--storage", str(place), "--address", arguments.address or environment_variables.ray_address() or "auto"]
    overrides = [part for setting in arguments.set for part in ("--set", setting)]
    launched_with = launched_space(place, name)
    if launched_with is None:
        return ["sweep", str(file), "--name", name, *overrides, *common, *others]
    if "--grow" in others:
        return ["sweep", str(file), "--name", name, *overrides, *common, *others]
    if load_spec(file, tuple(arguments.set)).document.text != launched_with:
        raise UserError(
            f"the sweep {name!r} in {place} was launched from another search space than {file} with these --set;"
            f" give --grow to add what is new in it, --name for a new one, or go on with the old one by 'alphacl resume {name}'"
            " --address auto on the head"
        )
    print(f"{name} is in {place} already: going on with it", flush=True)
    # The search space is the user's own, to the letter: what it names may be used.
    return ["resume", name, "--trust-plugins", "--trust-paths", *common, *for_resume(others)]


def for_resume(argv: list[str]) -> list[str]:
    """Return the arguments without what only a launch takes: the sweep folder remembers it, or it has been done."""
    kept, skip = [], False
    for argument in argv:
        if skip and not argument.startswith("--"):
            skip = False
            continue
        skip = argument in LAUNCH
        if not argument.startswith(LAUNCH):
            kept.append(argument)
    return kept


def find_file(sweep: str) -> Path:
    """Return the YAML file of a search space, given its name, or a path that counts from here or from ~/alphacl.

    Raises:
        UserError: if there is no such search space.
    """
    from search_spaces import find_space

    if not Path(sweep).is_file() and (PROJECT.expanduser() / sweep).is_file():
        return PROJECT.expanduser() / sweep
    return find_space(sweep)


def prepare_cluster(arguments: argparse.Namespace, storage: str) -> None:
    """Wait until the cluster can run a trial, and check that every node has alphacl.

    Args:
        arguments: the options of this script.
        storage: the folder or the address in which sweeps lie.

    Raises:
        UserError: if no cluster answers, not enough nodes came in time, or a node can't take part.
    """
    from orchestrator.driver.join_cluster import prepare_to_join
    from search_spaces import load_spec
    from trainer import environment_variables

    address = arguments.address or environment_variables.ray_address() or "auto"
    spec = load_spec(find_file(arguments.sweep), tuple(arguments.set))
    prepare_to_join(address)
    from orchestrator.driver.ray_cluster import ray_running
    from results.bucket.address import Address, place_of

    place = place_of(storage)
    folder = place.folder() if isinstance(place, Address) else place  # of this machine's disk, which stands in for a bucket

    with ray_running(address):
        wait_for_nodes(spec, arguments.nodes, arguments.wait * 60)
        check_nodes(folder)


def wait_for_nodes(spec: SweepSpec, count: int, seconds: float) -> None:
    """Wait until enough nodes have joined and one of them can hold a trial; an autoscaler is asked for such a node.

    Args:
        spec: the sweep, whose resources say what a trial needs.
        count: how many nodes to wait for.
        seconds: how long to wait.

    Raises:
        UserError: if they have not come in time.
    """
    import ray
    from ray.autoscaler.sdk import request_resources

    from trainer.errors import UserError

    wanted = {key: value for key, value in (("CPU", spec.resources.cpu), ("GPU", spec.resources.gpu)) if value}
    trial = " and ".join(f"{value:g} {key}" for key, value in wanted.items())
    deadline, has_asked = time.monotonic() + seconds, False
    try:
        while True:
            nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
            able = any(all(node.get(key, 0) >= value for key, value in wanted.items()) for node in nodes)
            if able and len(nodes) >= count:
                return
            if time.monotonic() >= deadline:
                raise UserError(
                    f"after {seconds / 60:g} minutes {len(nodes)} of {count} nodes have joined, and"
                    f" {'one' if able else 'none'} can hold a trial ({trial}); see 'ray status' on the head"
                )
            if not has_asked:
                print(f"waiting for {count} nodes, one of them with {trial}; {len(nodes)} are here", flush=True)
                request_resources(bundles=[{key: math.ceil(value) for key, value in wanted.items()}])
                has_asked = True
            time.sleep(2)
    finally:
        if has_asked:
            request_resources(bundles=[])  # from here on the trials themselves are the demand


def check_nodes(storage: Path) -> None:
    """Check that every node of the cluster has alphacl, and say which ones do not see the storage.

    Nodes without the storage have their trials recorded through this one. Nodes that do not answer are named on standard error
    and otherwise ignored.

    Args:
        storage: the folder in which sweeps lie, created where it is missing.

    Raises:
        UserError: if this node cannot write there, naming the reason, or another has no alphacl, naming the nodes.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from trainer.errors import UserError

    def look(path: str, text: str) -> str:
        from importlib.util import find_spec

        if find_spec("orchestrator") is None:
            return "alphacl is not installed there"
        try:
            with open(path, encoding="utf-8") as file:
                return "" if file.read() == text else "apart"
        except OSError:
            return "apart"

    probe, text = storage / f".probe-{uuid.uuid4().hex}", uuid.uuid4().hex
    try:
        storage.mkdir(parents=True, exist_ok=True)
        probe.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write to the storage {storage}: {error.strerror or error}") from None
    try:
        task, asked = ray.remote(num_cpus=0, max_retries=0)(look), {}
        for node in (n for n in ray.nodes() if n["Alive"]):
            on_node = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            asked[node["NodeManagerAddress"]] = task.options(scheduling_strategy=on_node).remote(str(probe), text)
        answers = {}
        for ip, answer in asked.items():
            try:
                answers[ip] = ray.get(answer, timeout=120)
            except ray.exceptions.RayError as error:  # it left, or can't start a worker: the sweep does without it
                print(f"node {ip} did not answer ({type(error).__name__})", file=sys.stderr, flush=True)
    finally:
        probe.unlink(missing_ok=True)
    problems = {ip: answer for ip, answer in answers.items() if answer not in ("", "apart")}
    if problems:
        raise UserError("; ".join(f"node {ip}: {problem}" for ip, problem in problems.items()))
    apart = [ip for ip, answer in answers.items() if answer == "apart"]
    print(_who_sees(storage, len(answers), apart), flush=True)


def _who_sees(storage: Path, nodes: int, apart: list[str]) -> str:
    if not apart:
        return f"{nodes} nodes share {storage}"
    some = ", ".join(apart[:3]) + (f" and {len(apart) - 3} more" if len(apart) > 3 else "")
    return f"{len(apart)} of {nodes} nodes do not see {storage} ({some}): this machine records their trials"


if __name__ == "__main__":
    sys.exit(main())
