"""Sweep folders that commit 853551f made: what was recorded then is read the same now."""

import csv
import io
from pathlib import Path

import pytest

from results.record.reader import open_sweep
from results.record.status import Status
from results.table import sweep_table

OLD = Path(__file__).parents[2] / "data" / "made_by_853551f"


@pytest.mark.parametrize("name", ["grid", "search"])
def test_its_table_has_the_same_figures_as_the_program_that_made_it_printed(name):
    printed = list(csv.DictReader(io.StringIO((OLD / f"{name}.csv").read_text())))
    now = list(csv.DictReader(io.StringIO(sweep_table(open_sweep(OLD, name), "csv"))))
    key = lambda row: (row["kind"], row["objective"], row["tau"], row["n"])  # noqa: E731
    assert [key(row) for row in now] == [key(row) for row in printed]
    for row, old in zip(now, printed, strict=True):
        told = {c: v for c, v in old.items() if c.endswith((" mean", " std"))}
        assert {c: row[c] for c in told if not told[c]} == {c: v for c, v in told.items() if not v}
        numbers = {c: float(v) for c, v in told.items() if v}
        assert {c: float(row[c]) for c in numbers} == pytest.approx(numbers, rel=1e-12)


def test_its_trials_configurations_and_reports_are_all_there():
    trials = open_sweep(OLD, "grid").trials()
    assert [t.status for t in trials] == [Status.FINISHED] * 15
    assert [t.index for t in trials] == list(range(15))
    assert all([row["epoch"] for row in t.reports] == [0, 1, 2] for t in trials)
    assert all(t.config["epochs"] == 2 and t.config["read_at"] == [1] for t in trials)
    assert {t.role for t in open_sweep(OLD, "search").trials()} == {"trial", "confirm"}


def test_its_digests_are_still_those_of_its_configurations():
    from trainer import TrialConfig

    trials = [t for name in ("grid", "search") for t in open_sweep(OLD, name).trials()]
    assert len(trials) > 20
    assert [TrialConfig.from_dict(t.config).digest for t in trials] == [t.digest for t in trials]


def test_a_search_is_known_by_its_own_metric():
    sweep = open_sweep(OLD, "search")
    assert (sweep.metric, sweep.keep_encoders) == ("val/knn", 0)
