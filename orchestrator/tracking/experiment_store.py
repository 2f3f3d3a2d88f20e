"""One sweep's experiment in MLflow: its runs are found by a key of ours, made once, and brought to a wanted state in few calls.

A request whose answer never came may have been carried out. So nothing is sent again blindly: after any error the experiment is
read anew, of a run made twice one is kept, and MLflow itself drops a metric that it holds already (same name, step, time).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

from mlflow.entities import DatasetInput, Experiment, Metric, Param, Run, RunTag
from mlflow.tracking import MlflowClient

from orchestrator.tracking.store_errors import quieten
from results.record.mlflow_names import ERROR_TAG, KEY_TAG, LOGGED_TAG, OUTCOME_TAG, SWEEP_TAG
from results.record.store_address import ask_database

BATCH = 800  # metrics in one call; MLflow takes 1000 entities, parameters and tags included
TRANSIENT = (OUTCOME_TAG, ERROR_TAG)  # tags that go again when they no longer hold


@dataclass(frozen=True)
class MetricRow:
    """The metrics of one step.

    Args:
        step: the epoch, or the number of the sample.
        at: the time in milliseconds since 1970.
        metrics: the values by name.
    """

    step: int
    at: int
    metrics: dict[str, float]


@dataclass(frozen=True)
class Wanted:
    """The state that a run is to have; times are in milliseconds since 1970.

    Args:
        key: by which the run is found: the trial's digest, or the parent's key.
        name: the run's.
        status: in MLflow's words.
        start: when it began.
        end: when it ended; None while it runs.
        tags: by name.
        params: by name.
        rows: all metrics that the run is to have, or with ``tail`` the last ones.
        inputs: its datasets.
        tail: whether ``rows`` are only the last ones.
    """

    key: str
    name: str
    status: str
    start: int
    end: int | None = None
    tags: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    rows: list[MetricRow] = field(default_factory=list)
    inputs: list[DatasetInput] = field(default_factory=list)
    tail: bool = False


@dataclass
class Known:
    """What MLflow holds of a run, as last read from it or written to it; ``inputs`` says whether it has its datasets."""

    run_id: str
    status: str
    start: int
    end: int | None
    tags: dict[str, str]
    params: set[str]
    inputs: bool

    @property
    def marked(self) -> tuple[int, int]:
        """Return the step and the time of the last row of metrics that the run is marked to have, (-1, 0) where it is not."""
        step, _, at = self.tags.get(LOGGED_TAG, "-1@0").partition("@")
        return int(step), int(at or 0)

    @property
    def logged(self) -> tuple[int, int]:
        """Return the step and the time of the last row that was logged for certain, (-1, 0) before the first.

        A run that is made of a trial that is over has the mark, and the outcome, before its metrics: both hold once it has ended.
        """
        return (-1, 0) if self.status == "RUNNING" and OUTCOME_TAG in self.tags else self.marked


class ExperimentStore:
    """The MLflow experiment of one sweep, opened or made; whatever MLflow, SQLAlchemy or requests raise passes through.

    ``doubt`` says whether a request has failed since the experiment was last read, ``doubted`` whether one has since the caller
    cleared it.

    Args:
        uri: the MLflow server or database.
        name: the sweep's.
        sweep_id: by which the experiment is found, whatever it is called now.
        artifacts: the folder under which a new experiment keeps artifacts; None where the server knows its own.
        tags: the experiment's.
    """

    def __init__(self, uri: str, name: str, sweep_id: str, artifacts: str | None, tags: dict[str, str]) -> None:
        quieten()
        self.uri, self.name, self.sweep_id, self.artifacts, self.tags = uri, name, sweep_id, artifacts, tags
        self.doubt = self.doubted = False
        ask_database(uri)
        self.client = MlflowClient(tracking_uri=uri)
        self.load()

    # ------------------------------------------------------------------------------------ what is there

    def load(self) -> None:
        """Read the experiment, or make it where there is none; of a run that was made twice one is kept."""
        experiment = self._find() or self._make()
        self.experiment, self._experiment_tags = str(experiment.experiment_id), dict(experiment.tags)
        self.tag_experiment(self.tags)
        self.runs: dict[str, Known] = {}
        for known in map(_known, pages(self.client.search_runs, [self.experiment])):
            if KEY_TAG not in known.tags:
                continue  # somebody's own
            key = known.tags[KEY_TAG]
            rival = self.runs.get(key)
            if rival is not None:
                known, rival = sorted((known, rival), key=lambda k: (-k.logged[0], k.start, k.run_id))
                self.client.delete_run(rival.run_id)
            self.runs[key] = known
        self.doubt = False

    def _find(self) -> Experiment | None:
        """Return the sweep's own experiment, whatever it is called now.

        After a storage folder has been moved the experiment in it still names the old place of its artifacts: it gives way to a
        new one.
        """
        experiments = self.client.search_experiments(filter_string=f"tags.`{SWEEP_TAG}` = '{self.sweep_id}'")
        for experiment in sorted(experiments, key=lambda e: int(e.experiment_id)):
            artifacts = str(experiment.artifact_location).rpartition("/")[0]
            if not self.uri.startswith("sqlite:") or artifacts == self.artifacts:
                return experiment
            self.client.rename_experiment(experiment.experiment_id, f"{experiment.name} (moved, {experiment.experiment_id})")
            self.client.delete_experiment(experiment.experiment_id)
        return None

    def _make(self) -> Experiment:
        """Make and return a new experiment, by the sweep's name where that is free."""
        for number in itertools.count():
            mark = f" ({self.sweep_id[:8]}{'' if number == 1 else f' {number}'})"
            name = self.name + (mark if number else "")
            if self.client.get_experiment_by_name(name) is None:
                location = None if self.artifacts is None else f"{self.artifacts}/{name}"
                experiment = self.client.create_experiment(name, location, tags={SWEEP_TAG: self.sweep_id, **self.tags})
                return self.client.get_experiment(experiment)
        raise AssertionError

    # -------------------------------------------------------------------------------------- writing

    def tag_experiment(self, tags: dict[str, str]) -> None:
        """Set tags of the experiment, as far as it does not have them yet."""
        for key, value in tags.items():
            if self._experiment_tags.get(key) != value:
                self.client.set_experiment_tag(self.experiment, key, value)
                self._experiment_tags[key] = value

    def bring(self, wanted: Wanted) -> bool:
        """Bring a run to the wanted state, and return whether anything had to be written.

        A run that holds rows which the record no longer has (the trial began again from an earlier checkpoint) is replaced.
        """
        known = self.runs.get(wanted.key)
        if known is not None and not wanted.tail and not _agrees(known, wanted.rows):
            self.client.delete_run(known.run_id)
            del self.runs[wanted.key]
            known = None
        made = known is None
        known = known or self._create(wanted)
        changed = self._log(known, wanted) | made
        if wanted.inputs and not known.inputs:
            self.client.log_inputs(known.run_id, datasets=wanted.inputs)
            known.inputs = True
        return self._set_status(known, wanted) | changed

    def _create(self, wanted: Wanted) -> Known:
        tags = {KEY_TAG: wanted.key, **wanted.tags}
        if wanted.rows and OUTCOME_TAG in wanted.tags:
            tags[LOGGED_TAG] = _mark(wanted.rows)  # a call of its own to MLflow's database less; see Known.logged
        run = self.client.create_run(self.experiment, start_time=wanted.start, tags=tags, run_name=wanted.name)
        self.runs[wanted.key] = known = _known(run)
        known.tags = tags
        return known

    def _log(self, known: Known, wanted: Wanted) -> bool:
        """Write the rows, tags and parameters that MLflow does not have yet, and return whether there were any."""
        rows = [row for row in wanted.rows if row.step > known.logged[0]]
        metrics = [Metric(name, value, row.at, row.step) for row in rows for name, value in row.metrics.items()]
        wanted_tags = wanted.tags | ({LOGGED_TAG: _mark(rows)} if rows else {})  # written after the metrics it stands for
        tags = {key: value for key, value in wanted_tags.items() if known.tags.get(key) != value}
        params = {key: value for key, value in wanted.params.items() if key not in known.params}
        for start in range(0, len(metrics) - BATCH, BATCH):
            self.client.log_batch(known.run_id, metrics=metrics[start : start + BATCH])
        last = metrics[(len(metrics) - 1) // BATCH * BATCH :] if metrics else []
        last.reverse()  # MLflow keeps the newest value of a metric apart, and need not replace one that it has just kept
        if last or tags or params:
            self.client.log_batch(
                known.run_id, last, [Param(k, v) for k, v in params.items()], [RunTag(k, v) for k, v in tags.items()]
            )
        known.tags |= tags
        known.params |= set(params)
        stale = [key for key in TRANSIENT if key in known.tags and key not in wanted.tags]
        for key in stale:
            self.client.delete_tag(known.run_id, key)
            del known.tags[key]
        return bool(last or tags or params or stale)

    def log_metrics(self, key: str, metrics: dict[str, float], step: int, at: int) -> None:
        """Write metrics of one step to the run of a key, beside its rows; MLflow keeps what it holds already once.

        Args:
            key: of the run.
            metrics: the values by name.
            step: the step.
            at: the time in milliseconds since 1970.
        """
        if metrics:
            entities = [Metric(name, value, at, step) for name, value in metrics.items()]
            self.client.log_batch(self.runs[key].run_id, entities)

    def _set_status(self, known: Known, wanted: Wanted) -> bool:
        if known.status == wanted.status and (wanted.end is None or known.end == wanted.end):
            return False
        if wanted.status == "RUNNING":
            self.client.update_run(known.run_id, status="RUNNING")
        else:
            self.client.set_terminated(known.run_id, wanted.status, wanted.end)
        known.status, known.end = wanted.status, wanted.end
        return True

    def remove(self, key: str) -> None:
        """Delete the run of a key, whose trial the sweep folder no longer has."""
        self.client.delete_run(self.runs[key].run_id)
        del self.runs[key]

    def failed(self) -> None:
        """Note that a request has failed, so that it is not known what it did."""
        self.doubt = self.doubted = True


def _known(run: Run) -> Known:
    info, inputs = run.info, bool(run.inputs and run.inputs.dataset_inputs)
    return Known(info.run_id, info.status, info.start_time or 0, info.end_time, dict(run.data.tags), set(run.data.params), inputs)


def _mark(rows: list[MetricRow]) -> str:
    """Return what a run's tag says of the last of these rows of metrics."""
    return f"{rows[-1].step}@{rows[-1].at}"


def _agrees(known: Known, rows: list[MetricRow]) -> bool:
    """Return whether what was logged is still a beginning of the record's rows; an empty record, as while it is away, agrees."""
    step, at = known.marked
    return step < 0 or not rows or any(row.step == step and row.at == at for row in rows)


def pages(search: Any, *arguments: Any) -> Any:
    """Yield all results of one of MLflow's paged searches, called with these arguments."""
    token = None
    while True:
        page = search(*arguments, max_results=1000, page_token=token)
        yield from page
        token = page.token
        if not token:
            return
