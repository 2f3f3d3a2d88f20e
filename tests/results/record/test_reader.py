"""Reading a sweep folder back."""

import json

import pytest

from orchestrator.driver.board import Board
from results.record.naming import family_of, trial_label
from results.record.reader import list_sweeps, open_sweep
from results.record.status import Status
from results.record.trial_record import read_reports
from results.tables.best_of_families import best_of_families
from results.tables.build import build_tables
from results.tables.series import series_of
from trainer import TrialConfig, run_trial
from trainer.files import checksum


def test_reports_survive_a_crash_in_the_middle_of_a_line_and_a_rerun(tmp_path):
    file = tmp_path / "reports.jsonl"
    file.write_text('{"epoch": 0, "x": 1}\n{"epoch": 1, "x": 2}\n{"epoch": 1, "x": 3}\n{"epoch": 2, "x"')
    assert read_reports(file) == ([{"epoch": 0, "x": 1}, {"epoch": 1, "x": 3}], "")
    assert read_reports(tmp_path / "none") == ([], "")


def test_labels():
    assert trial_label({"objective": "direct(p=4)", "tau": 0.5, "seed": 0}) == "direct(p=4) · tau 0.5 · seed 0"
    assert trial_label({"objective": "uniform", "tau": None, "seed": 3}) == "uniform · seed 3"


@pytest.mark.parametrize(
    ("objective", "family"),
    [
        ("direct(p=4)", "direct"),
        ("alpha_of(infonce)", "alpha_of(infonce)"),
        ("alpha_of(triplet(margin=0.2))", "alpha_of(triplet(margin=0.2))"),
        ("uniform", "uniform"),
        ("not a call (", "not a call ("),
    ],
)
def test_families(objective, family):
    assert family_of(objective) == family


def test_every_view_of_a_sweep_has_the_same_families(sweep, figures):
    objectives = ["infonce", "alpha_of(infonce)", "alpha_of(triplet)"]
    storage = sweep([({"objective": o, "seed": s}, figures(50.0 + s)) for o in objectives for s in (0, 1)])
    record = open_sweep(storage, "s")
    trials = record.trials()
    (table,) = build_tables(trials)
    reported = [family_of(row.settings["objective"]) for row in best_of_families(table, "val/linear").rows[1:]]
    assert sorted(reported) == sorted(objectives)
    assert [family.name for family in Board.of(record, trials).families()] == objectives
    assert [t.family for t in trials[::2]] == objectives
    assert {s.family for s in series_of(trials, "tau", "test/linear")} == set(objectives)


def test_an_edited_result_is_a_damaged_trial_whatever_was_edited(sweep, figures):
    storage = sweep([({"seed": 0}, figures(50.0)), ({"seed": 1}, figures(51.0))])
    file = open_sweep(storage, "s").trials()[0].folder / "result.json"
    record = json.loads(file.read_text())
    sealed = {**record, "checksum": checksum(record)}
    file.write_text(json.dumps(sealed))
    (first, _) = open_sweep(storage, "s").trials()
    assert (first.status, first.is_sealed) == (Status.FINISHED, True)
    for edited in (
        {**sealed, "metrics": {**record["metrics"], "test/linear": 99.0}},
        {**sealed, "history": record["history"][:1]},
        {**sealed, "seconds": 1.0},
    ):
        file.write_text(json.dumps(edited))
        (first, _) = open_sweep(storage, "s").trials()
        assert first.status == Status.DAMAGED
        assert "edited after it was written" in first.problem
    file.write_text(json.dumps({**sealed, "attempt": "attempt-0002"}))  # where it lies is no part of it
    assert open_sweep(storage, "s").trials()[0].status == Status.FINISHED


def test_a_record_of_the_trainer_is_sealed(tmp_path, data_root):
    config = TrialConfig(epochs=0, encoder="convnet(width=4)", images=200, batch_size=64)
    (report,) = run_trial(config, data_root=data_root)
    assert report.record["checksum"] == checksum(json.loads(json.dumps(report.record)))


@pytest.mark.parametrize("error", [{}, {"kind": "failed"}, {"kind": "lost", "message": "x"}, {"kind": "diverged", "message": 3}])
def test_an_error_record_that_makes_no_sense_is_a_damaged_trial(sweep, figures, error):
    storage = sweep([({"seed": 0}, "boom"), ({"seed": 1}, figures(50.0))])
    file = open_sweep(storage, "s").trials()[0].folder / "attempt-0001" / "error.json"
    file.write_text(json.dumps(error))
    damaged, other = open_sweep(storage, "s").trials()
    assert (damaged.status, other.status) == (Status.DAMAGED, Status.FINISHED)
    assert str(file) in damaged.problem


def test_reports_that_are_no_text_are_left_out(tmp_path):
    file = tmp_path / "reports.jsonl"
    file.write_bytes(b'{"epoch": 0, "x": 1}\n\xff\xfe\x00\n{"epoch": 1, "x": 2}\n')
    assert [row["epoch"] for row in read_reports(file)[0]] == [0, 1]


def test_what_a_killed_launch_left_behind_is_no_sweep(sweep, figures):
    storage = sweep([({}, figures(50.0))])
    (storage / ".s.scratch").mkdir()
    (storage / ".s.scratch" / "sweep.json").write_text("{}")
    assert list_sweeps(storage) == ["s"]
