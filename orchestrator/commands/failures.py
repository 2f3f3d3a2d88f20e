"""Prints a sweep's trials that failed, for ``alphacl sweep`` and ``resume``: a short block for each, which names the cause."""

from __future__ import annotations

import sys

from results.record.naming import last_line
from results.record.reader import TrialRecord
from results.record.selection import short_digest

MOST = 8  # blocks; of more trials than that only the number is said


def print_failures(trials: list[TrialRecord], sweep: str, extra: str) -> None:
    """Print a block for each failed trial on standard error; trials that one line of code ended alike share a block.

    Args:
        trials: the trials that failed, diverged or are damaged.
        sweep: the sweep's name.
        extra: what the commands in the text need besides, such as `` --storage DIR``.
    """
    alike: dict[tuple[str, ...], list[TrialRecord]] = {}
    for trial in trials:
        alike.setdefault(_cause(trial), []).append(trial)
    for members in list(alike.values())[:MOST]:
        print("\n".join(_block(members, sweep, extra)), file=sys.stderr)
    left = sum(len(members) for members in list(alike.values())[MOST:])
    if left:
        print(f"and {left} more; 'alphacl status {sweep}{extra}' lists them", file=sys.stderr)


def _cause(trial: TrialRecord) -> tuple[str, ...]:
    error = {} if trial.problem else trial.error or {}
    return (str(trial.status), str(error["file"]), str(error["line"])) if "line" in error else (trial.digest,)


def _block(trials: list[TrialRecord], sweep: str, extra: str) -> list[str]:
    trial = trials[0]
    if trial.problem:
        return [trial.problem]
    error = trial.error or {}
    others = f" and {more} more trial{'s' * (more > 1)}" if (more := len(trials) - 1) else ""
    lines = [f"{trial.status}: {trial.label}{others}: {last_line(str(error.get('message', '')))}"]
    if "line" in error:
        place = f"  {error.get('file')}, line {error['line']}" + (f", in {error['function']}" if error.get("function") else "")
        lines += [place, *([f"    {error['code']}"] if error.get("code") else [])]
        lines.append(f"  all that it printed:  alphacl log {sweep} {short_digest(trial)}{extra}")
    return lines
