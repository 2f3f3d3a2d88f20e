"""A sweep that grows in place, takes trials over from others, and finds the ones that it lacks."""

import re
import shutil

import pytest

from orchestrator.commands.grow import edited_source, edited_space, growth_of, source_of
from orchestrator.commands.reuse import EVERYWHERE, reused_trials
from orchestrator.tracking.addresses import default_uri
from results.record import growing
from results.record.growing import grow, plan_missing
from results.record.reader import open_sweep
from results.record.seal import is_own
from results.record.sweep_writer import SweepWriter
from results.record.trial_writer import TrialWriter
from search_spaces import load_spec
from tests.mlflow_runs import runs_of
from trainer.errors import UserError

SPACE = """
trial: {dataset: digits, images: 200, epochs: 1, batch_size: 64}
keep_encoders: 0
budget: {trials_at_once: 1}
space: {tau: [0.1, 0.5], seed: SEEDS}
"""
SEARCH = """
trial: {dataset: digits, epochs: 1}
search: {sampler: tpe, trials: 4, metric: val/knn}
space: {tau: {float: [0.05, 1], log: true}}
"""


@pytest.mark.ray
def test_an_edited_space_adds_its_trials_and_nothing_is_computed_twice(alphacl, write, storage, ray_here):
    file = write(SPACE.replace("SEEDS", "[0]"))
    assert alphacl("sweep", file, "--name", "s", "--storage", storage)[0] == 0
    write(SPACE.replace("SEEDS", "[0, 1]"))
    code, _, err = alphacl("sweep", file, "--name", "s", "--storage", storage)
    assert (code, "add what is new in this one by --grow" in err) == (2, True)

    kept, lost = open_sweep(storage, "s").trials()
    before = (kept.folder / "result.json").stat().st_mtime_ns
    shutil.rmtree(lost.folder)
    code, out, err = alphacl("resume", "s", "--storage", storage)
    assert code == 0, err
    assert "1 trials of the space were not in" in out
    assert f"{file} has been edited since the launch" in err
    assert [(t.digest, t.index, t.status) for t in open_sweep(storage, "s").trials()] == [
        (kept.digest, 0, "finished"),
        (lost.digest, 1, "finished"),
    ]

    code, out, err = alphacl("resume", "s", file, "--storage", storage)
    assert (code, err) == (0, "")
    assert "+space: {tau: [0.1, 0.5], seed: [0, 1]}" in out
    assert "2 trials are added, the 2 that there are stay" in out
    record = open_sweep(storage, "s")
    assert [(t.config["tau"], t.config["seed"], t.status) for t in record.trials()] == [
        (0.1, 0, "finished"), (0.5, 0, "finished"), (0.1, 1, "finished"), (0.5, 1, "finished")
    ]  # fmt: skip
    assert (kept.folder / "result.json").stat().st_mtime_ns == before
    assert (record.planned, record.space) == (4, file.read_text())
    assert len(runs_of(default_uri(storage), "s")) == 5

    code, out, err = alphacl("sweep", file, "--name", "again", "--storage", storage, "--reuse")
    assert (code, err) == (0, "")
    assert re.search(r"reusing 4 of 4 trials from the storage's other sweeps, [0-9.]+ minutes of computing saved", out)
    assert {t.attempt.name for t in open_sweep(storage, "again").trials()} == {"attempt-0001"}
    taken = {t.digest: t.result["seconds"] for t in open_sweep(storage, "again").trials()}
    assert taken == {t.digest: t.result["seconds"] for t in record.trials()}


def make(tmp_path, write, text, name="s"):
    file = write(text, f"{name}.yaml")
    spec = load_spec(file)
    meta = {"space": spec.text, "source": source_of(file)}
    return SweepWriter.create(tmp_path / "runs", name, spec, meta), file


def test_a_space_of_another_sweep_is_refused_and_what_it_no_longer_names_stays(tmp_path, write):
    folder, _ = make(tmp_path, write, SPACE.replace("SEEDS", "[0, 1]"))
    other = load_spec(write(SPACE.replace("SEEDS", "[7]")))
    with pytest.raises(UserError, match="none of the 4 trials of 's' is in it; choose another --name"):
        growth_of(folder.record, other)
    with pytest.raises(UserError, match="is a search, and 's' a grid"):
        growth_of(folder.record, load_spec(write(SEARCH)))
    less = load_spec(write(SPACE.replace("SEEDS", "[1, 2]")))
    growth = growth_of(folder.record, less)
    assert (growth.added, growth.kept, growth.left) == (2, 4, 2)
    with folder.driving():
        grow(folder, less, {"space": less.text})
    assert [t.index for t in folder.record.trials()] == [0, 1, 2, 3, 4, 5]
    assert folder.record.planned == 6
    assert growth_of(folder.record, less).added == 0
    assert is_own(folder.record), "its user has launched what it holds now"


@pytest.mark.parametrize("died_at", ["the second trial", "sweep.yaml", "sweep.json"])
def test_a_sweep_whose_driver_dies_while_it_grows_has_what_it_had_and_grows_on(tmp_path, write, monkeypatch, died_at):
    folder, _ = make(tmp_path, write, SPACE.replace("SEEDS", "[0, 1]"))
    before = [(t.digest, t.index) for t in folder.record.trials()]
    more = load_spec(write(SPACE.replace("SEEDS", "[0, 1, 2, 3]")))
    plan, planned = TrialWriter.plan, []

    def die(*words, **named):
        raise KeyboardInterrupt

    def plan_one(self, *words):
        planned.append(plan(self, *words))
        if len(planned) == 2:
            die()

    with monkeypatch.context() as patch:
        target = {"the second trial": (TrialWriter, "plan", plan_one), "sweep.yaml": (growing, "replacing", die)}
        patch.setattr(*target.get(died_at, (SweepWriter, "trust", die)))
        with pytest.raises(KeyboardInterrupt):
            grow(folder, more, {"space": more.text})
    record = open_sweep(tmp_path / "runs", "s")
    assert [(t.digest, t.index) for t in record.trials()][:4] == before
    with folder.driving():
        grow(SweepWriter(record), more, {"space": more.text})
    record = open_sweep(tmp_path / "runs", "s")
    assert {t.digest for t in record.trials()} == {leaf.digest for leaf in more.leaves()}
    assert [t.index for t in record.trials()] == list(range(8))
    assert (record.planned, record.space, is_own(record)) == (8, more.text, True)


def test_a_search_grows_by_its_budget_alone(tmp_path, write):
    folder, _ = make(tmp_path, write, SEARCH)
    growth = growth_of(folder.record, load_spec(write(SEARCH.replace("trials: 4", "trials: 9"))))
    assert (growth.added, len(growth.lines)) == (9, 2)
    for old, new, what in (
        ("0.05, 1", "0.05, 2", "space"),
        ("epochs: 1", "epochs: 2", "trial"),
        ("val/knn", "val/linear", "search"),
    ):
        with pytest.raises(UserError, match=f"{what} differ from what the study of 's' knows"):
            growth_of(folder.record, load_spec(write(SEARCH.replace(old, new))))


def test_an_edit_is_never_ignored(tmp_path, write):
    folder, file = make(tmp_path, write, SPACE.replace("SEEDS", "[0]"))
    assert edited_source(folder.record) is None
    assert edited_space(folder.record) is None
    file.write_text(SPACE.replace("SEEDS", "[0, 1]"))
    assert edited_source(folder.record) == file
    (folder.path / "sweep.yaml").write_text(SPACE.replace("SEEDS", "[0, 1, 2]"))
    assert edited_space(folder.record).trials == 6
    assert growth_of(folder.record, edited_space(folder.record)).added == 4
    (folder.path / "sweep.yaml").write_text("space: {tua: [1]}\n")
    with pytest.raises(UserError, match=r"sweep.yaml:1: unknown key 'tua'.*mend it"):
        edited_space(folder.record)


def test_a_lost_trial_is_planned_where_it_was(tmp_path, write):
    folder, file = make(tmp_path, write, SPACE.replace("SEEDS", "[0, 1]"))
    before = [(t.digest, t.index) for t in folder.record.trials()]
    shutil.rmtree(folder.trials / before[2][0])
    folder.update(settled_at=3)  # as a version that took the rest for all has left it
    assert plan_missing(folder, load_spec(file).leaves()) == 1
    assert [(t.digest, t.index) for t in folder.record.trials()] == before
    assert folder.record.planned == 4
    assert plan_missing(folder, load_spec(file).leaves()) == 0


@pytest.mark.slow
def test_trials_of_other_environments_are_left_and_said(fake_sweep, tmp_path, write, capsys, monkeypatch):
    import torch

    sweep = fake_sweep()
    for digest in sweep.digests[:3]:
        sweep.run(digest)
    spec = sweep.spec
    assert reused_trials([EVERYWHERE], tmp_path / "runs", spec) == {}
    said = capsys.readouterr().out
    assert "reusing 0 of 10 trials from the storage's other sweeps" in said
    assert "not reusing 3 made with torch None on cpu" in said
    assert len(reused_trials([f"{tmp_path}/runs/s/"], tmp_path / "runs", spec)) == 3, "what is named is taken"
    monkeypatch.setattr(torch, "__version__", "None")
    assert set(reused_trials([EVERYWHERE], tmp_path / "runs", spec)) == set(sweep.digests[:3])
