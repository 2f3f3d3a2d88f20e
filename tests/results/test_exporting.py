"""Records leave a sweep one by one, and come back into another one without being computed again."""

import json

import pytest

from results.exporting import export_records
from results.importing import import_sweep
from results.record.lookup import read_records
from results.record.reader import open_sweep
from results.record.status import Status
from results.record.sweep_writer import SweepWriter
from results.table import sweep_table
from search_spaces import load_spec
from trainer.errors import UserError

SPACE = "trial: {dataset: digits, epochs: 5}\nspace: {objective: [infonce, uniform], seed: [0, 1]}\n"


@pytest.fixture
def finished(sweep, figures):
    """The storage of a sweep of which three of four trials have finished."""
    settings = [({"objective": o, "epochs": 5, "seed": s}, figures(50.0 + s)) for o in ("infonce", "uniform") for s in (0, 1)]
    return sweep([*settings[:3], (settings[3][0], None)])


def test_finished_trials_become_records_once(finished, tmp_path):
    sweep = open_sweep(finished, "s")
    assert export_records(sweep, tmp_path / "records") == 3
    assert export_records(sweep, tmp_path / "records") == 0
    records = read_records(tmp_path / "records")
    assert {t.digest: t.metrics for t in records.trials()} == {t.digest: t.metrics for t in sweep.trials() if t.result}
    assert all("attempt" not in json.loads(f.read_text()) for f in (tmp_path / "records").glob("*.json"))


@pytest.mark.parametrize("at", [lambda folder, runs: read_records(folder), lambda folder, runs: import_sweep(folder, runs, "s")])
def test_records_of_a_search_have_its_tables(sweep, figures, tmp_path, at):
    entries = [({"tau": tau, "seed": 0}, figures(value)) for tau, value in ((0.1, 80.0), (0.5, 85.0), (1.0, 70.0))]
    entries += [({"tau": 0.5, "seed": s, "role": "confirm"}, figures(80.0 + s)) for s in (1, 2, 3)]
    yaml = "search: {trials: 3, metric: val/linear}\n"
    search = open_sweep(sweep(entries, kind="search", yaml=yaml, trials=6), "s")
    assert export_records(search, tmp_path / "records") == 6
    assert (tmp_path / "records/sweep.yaml").read_text() == yaml
    given = at(tmp_path / "records", tmp_path / "runs")
    assert sorted(sweep_table(given, "csv").splitlines()) == sorted(sweep_table(search, "csv").splitlines())
    assert "Selection effect" in sweep_table(given)


def test_records_are_not_written_into_a_sweeps_own_folder(sweep, figures):
    storage = sweep([({"seed": 0}, figures(50.0))], yaml="space: {seed: [0]}\n")
    other = sweep([({"seed": 1}, figures(50.0))], name="other", storage=storage, yaml="space: {seed: [1]}\n") / "other"
    with pytest.raises(UserError, match="expected a folder for records, got a sweep's"):
        export_records(open_sweep(storage, "s"), other)
    assert (other / "sweep.yaml").read_text() == "space: {seed: [1]}\n"


def test_a_folder_that_cannot_be_written_is_one_line(finished, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write records into .*file"):
        export_records(open_sweep(finished, "s"), tmp_path / "file")


def test_a_new_grid_takes_over_what_is_finished(finished, tmp_path, write):
    offered = {t.digest: t for t in open_sweep(finished, "s").trials() if t.status == Status.FINISHED}
    folder = SweepWriter.create(tmp_path / "runs", "again", load_spec(write(SPACE)), {}, offered)
    trials = folder.record.trials()
    assert [t.status for t in trials] == [Status.FINISHED] * 3 + [Status.WAITING]
    assert [t.index for t in trials] == [0, 1, 2, 3]
    assert [t.reports for t in trials[:3]] == [t.reports for t in open_sweep(finished, "s").trials()[:3]]
    rows = [line for line in sweep_table(folder.record).splitlines() if line.startswith("| ")]
    assert rows == [line for line in sweep_table(open_sweep(finished, "s")).splitlines() if line.startswith("| ")]


@pytest.mark.server
def test_the_commands_export_and_reuse(finished, tmp_path, alphacl, write):
    code, out, _ = alphacl("export", "s", tmp_path / "records", "--storage", finished)
    assert (code, out) == (0, f"s: 3 finished trials, 3 new records in {tmp_path / 'records'}\n")
    space = write(SPACE.replace("seed: [0, 1]", "seed: 0"))
    code, out, err = alphacl("sweep", space, "--name", "again", "--storage", tmp_path / "runs", "--reuse", tmp_path / "records")
    assert code == 0, err
    assert f"reusing 2 of 2 trials from {tmp_path / 'records'}" in out
    assert [t.status for t in open_sweep(tmp_path / "runs", "again").trials()] == [Status.FINISHED] * 2


@pytest.mark.parametrize(
    ("text", "says"),
    [("search: {trials: 2}\n", "has neither"), ("", "has neither")],
)
def test_bad_input_is_one_line(tmp_path, alphacl, write, text, says):
    (tmp_path / "empty").mkdir()
    space = write("trial: {dataset: digits}\nspace: {objective: [infonce, uniform]}\n" + text)
    code, _, err = alphacl("sweep", space, "--storage", tmp_path / "runs", "--reuse", tmp_path / "empty")
    assert code == 2
    assert says in err
    assert len(err.splitlines()) == 1
