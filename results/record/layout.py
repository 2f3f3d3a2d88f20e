"""The layout of a sweep folder, which is the record of the sweep: the names of its files and what each of them holds.

STORAGE/NAME/sweep.json              what was launched: name, id, kind, number of trials, versions
STORAGE/NAME/sweep.yaml              the search space as it was launched
STORAGE/NAME/study.log               the Optuna study of a search
STORAGE/NAME/driver.json, *.lock     the process that runs it, and what keeps others from it
STORAGE/NAME/lease.json              in a bucket alone: who drives the sweep
STORAGE/NAME/system.jsonl            the load of the driver's machine, which MLflow shows
STORAGE/NAME/plugins/                the source of the plug-ins that it was run with
STORAGE/NAME/requests/               what other processes ask of the driver
STORAGE/NAME/trials/DIGEST/          one folder per trial, named by the digest of its configuration
    config.json                      the configuration, its index in the sweep, and its role where it confirms a winner
    result.json                      the final record and the attempt that made it; its being there means finished
    stopped.json                     stopped early by the pruner, or by the user: at which epoch
    attempt-0001/                    what one worker wrote, and no other: one that was cut off writes on here, and spoils nothing
        reports.jsonl                one line per epoch, those taken over from an earlier attempt included
        checkpoint.pt                the last state, gone when the trial is finished
        encoder.pt                   the finished encoder
        error.json                   why the attempt failed or diverged, and in which line of whose code
        output.log                   all that the worker and the code it ran have printed
"""

from __future__ import annotations

import re

from trainer.errors import UserError

SWEEP, SPACE, STUDY, TRIALS = "sweep.json", "sweep.yaml", "study.log", "trials"
CONFIG, REPORTS, CHECKPOINT, RESULT, ERROR, ENCODER, STOPPED = (
    "config.json", "reports.jsonl", "checkpoint.pt", "result.json", "error.json", "encoder.pt", "stopped.json",
)  # fmt: skip
PLUGINS, SYSTEM, REQUESTS = "plugins", "system.jsonl", "requests"
OUTPUT = "output.log"  # of an attempt
ATTEMPT_NAME = r"attempt-[0-9]{4,9}"  # the form of their names
DIGEST = r"[0-9a-f]{1,64}"  # the form of the digests that name trials
LEASE = "lease.json"
LAYOUT = 2  # of the folder, written into sweep.json


def attempt_name(number: int) -> str:
    """Return the name of an attempt's folder; attempts count from 1."""
    return f"attempt-{number:04}"


def file_name(dataset: str) -> str:
    """Return a dataset's name with every character replaced that a file name should not hold."""
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in dataset.removeprefix("folder:").strip("/"))


def check_name(name: str) -> None:
    """Refuse a sweep name that is no plain folder name.

    Raises:
        UserError: if the name has other characters, is too long, or is one that MLflow's files have.
    """
    if not is_name(name):
        raise UserError(f"--name: expected letters, digits, '.', '_' and '-', beginning with a letter or digit, got {name!r}")


def is_name(name: str) -> bool:
    """Tell whether a text is a plain folder name of at most 100 characters, and none that MLflow's files have."""
    return bool(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name)) and name not in ("mlartifacts", "mlflow.db")
