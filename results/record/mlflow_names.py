"""The names of tags, parameters and artifacts in a sweep's MLflow experiment, for what writes them and what reads them.

Every run has the tag ``alphacl.key``. Its value is a trial's digest, ``sweep`` for the parent run, or ``load`` for the run that
holds the processor, memory and GPU figures of the driver's machine.
"""

from __future__ import annotations

from results.record.status import Status

SWEEP_TAG = "alphacl.sweep"  # of the experiment: the sweep's id
KEY_TAG = "alphacl.key"
PARENT_KEY = "sweep"
LOAD_KEY = "load"  # a run of its own: on the parent MLflow would show these metrics before the sweep's scores
NOT_TRIALS = (PARENT_KEY, LOAD_KEY)
LOGGED_TAG = "alphacl.logged"  # step and time of the last row of metrics, ``STEP@MILLISECONDS``
RECORD_TAG = "alphacl.record"  # of a finished trial: the code that wrote its run, and the checksum of the result that it wrote
PAGES_TAG = "alphacl.pages"  # of the parent: what its pages were made of
CONFIG_TAG = "alphacl.config"  # a trial's whole configuration, as JSON
INDEX_TAG = "alphacl.place"  # a trial's index in its sweep, from 0
PLANNED_TAG = "alphacl.planned"  # of the parent: how many trials the sweep is to have
ROLE_TAG, FAMILY_TAG, DATASET_TAG, OUTCOME_TAG, ERROR_TAG = "role", "family", "dataset", "outcome", "error"
OLD_ROLE_TAG = "alphacl.role"  # of older runs
KIND_PARAM = "kind"  # of the parent: grid or search
SPACE_ARTIFACT = "sweep.yaml"
BEST_VIEW = "best"  # the key of the experiment's view "Best first"
SYSTEM_PREFIX = "system/"  # of the metrics that a machine's load has
ENVIRONMENT_TAGS = ("commit", "python", "torch", "torchvision", "ray", "optuna", "mlflow")  # of the parent
TRIAL_ENVIRONMENT_TAGS = ("device", "precision")

_OUTCOMES = {
    Status.FINISHED: "finished",
    Status.STOPPED: "stopped_early",
    Status.FAILED: "failed",
    Status.DIVERGED: "diverged",
}
_STATUSES = {outcome: status for status, outcome in _OUTCOMES.items()} | {"stopped": Status.STOPPED}  # the last: older runs


def outcome_of(status: Status) -> str | None:
    """Return the ``outcome`` tag of a trial that is over; None for one that is not."""
    return _OUTCOMES.get(status)


def status_of(outcome: str) -> Status | None:
    """Return the status that an ``outcome`` tag means; None where it means none."""
    return _STATUSES.get(outcome)
