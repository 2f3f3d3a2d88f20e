"""The searcher of a fair comparison: equal budgets, one study per family, each family's best confirmed; also after a crash."""

import collections
import zlib

import optuna
import pytest

from orchestrator.suggest.families import FamiliesSearcher
from orchestrator.suggest.study import open_storage
from orchestrator.suggest.study_searcher import NextIndex, StudySearcher
from results.record.naming import family_of
from results.record.reader import open_sweep
from results.record.sweep_writer import SweepWriter
from results.tables.build import build_tables
from search_spaces import load_spec
from trainer import Report

FAIR = """
trial: {dataset: digits, epochs: 1}
search: {sampler: tpe, per_family: 5, seed: 3}
confirm: {seeds: 3}
space:
  objective: [infonce, direct: {p: {float: [1, 8]}}, alpha: exp(-d2**k/tau), uniform]
  tau: {float: [0.05, 1], log: true}
""".replace("alpha: exp(-d2**k/tau)", "{alpha: exp(-d2**k/tau), k: {float: [0.5, 4]}}")


@pytest.fixture
def sweep(tmp_path, write):
    spec = load_spec(write(FAIR))
    return SweepWriter.create(tmp_path / "runs", "s", spec, {}), spec


def searcher_of(folder, spec):
    trials = open_sweep(folder.path.parent, "s").trials()
    index = NextIndex(len(trials))
    return FamiliesSearcher(folder, [StudySearcher(folder, spec, trials, family=b.label, index=index) for b in spec.branches])


def finish(folder, digest):
    config = folder.read(digest).config
    value = 50 + 10 * (config["tau"] or 0) + zlib.crc32(f"{config['objective']} {config['seed']}".encode()) % 100 / 50
    metrics = {"val/linear": value, "val/knn": value, "test/linear": value, "test/knn": value}
    worker = folder.trial(digest)
    worker.begin()
    worker.add(Report(1, 1, metrics, lambda: {"encoder": {}}, {"digest": digest, "config": config, "metrics": metrics}))


def run(folder, searcher, most=1000):
    """Hand out and finish one trial after the other, ``most`` at the most; return their digests."""
    handed = []
    while len(handed) < most and (digest := searcher.next_digest()) is not None:
        handed.append(digest)
        finish(folder, digest)
        searcher.ended(digest)
    return handed


def families(folder, digests):
    return collections.Counter(family_of(folder.read(d).config["objective"]) for d in digests)


def test_every_family_gets_the_same_budget_in_turn_and_confirms_its_own_best(sweep):
    folder, spec = sweep
    searcher = searcher_of(folder, spec)
    tried = run(folder, searcher, most=8)
    assert set(families(folder, tried).values()) <= {1, 2, 3}, "in turn"
    tried += run(folder, searcher)
    assert searcher.done
    roles = {role: [d for d in tried if folder.read(d).role == role] for role in ("trial", "confirm")}
    counts = families(folder, roles["trial"])
    assert counts.pop("uniform") == 1, "it has nothing to be tuned"
    assert set(counts.values()) == {5}
    assert len(counts) == 3
    assert families(folder, roles["confirm"]) == dict.fromkeys([*counts, "uniform"], 3)
    for family in counts:
        members = [folder.read(d) for d in roles["trial"] if family_of(folder.read(d).config["objective"]) == family]
        best = max(members, key=lambda t: t.metrics["val/linear"])
        confirmed = [folder.read(d).config for d in roles["confirm"] if folder.read(d).family == family]
        assert [{**c, "seed": 0} for c in confirmed] == [best.config] * 3
        assert [c["seed"] for c in confirmed] == [1, 2, 3], "the same seeds for all, so that they can be compared in pairs"
    indices = sorted(folder.read(d).index for d in tried)
    assert indices == list(range(len(tried)))


def test_a_family_learns_from_its_own_trials_alone(sweep):
    folder, spec = sweep
    run(folder, searcher_of(folder, spec))
    storage = open_storage(None, folder.record.study)
    studies = {s.study_name: storage.get_all_trials(s._study_id) for s in storage.get_all_studies()}
    assert len(studies) == 4
    for name, trials in studies.items():
        for trial in trials:
            digests = trial.user_attrs.get("digests", [])
            assert all(name == f"s {folder.read(d).family}" or "formula" in name for d in digests)
            assert trial.state == optuna.trial.TrialState.COMPLETE


@pytest.mark.slow
@pytest.mark.parametrize("stop_after", [0, 3, 12, 17, 22])
def test_a_killed_driver_goes_on_where_it_was(sweep, stop_after):
    folder, spec = sweep
    before = run(folder, searcher_of(folder, spec), most=stop_after)
    begun = searcher_of(folder, spec)
    running = begun.next_digest()  # handed out, and lost with the driver
    again = searcher_of(folder, spec)
    after = run(folder, again)
    assert again.done
    assert running is None or running in after
    assert not set(before) & set(after)
    trials = open_sweep(folder.path.parent, "s").trials()
    assert collections.Counter(t.family for t in trials if t.role == "trial").most_common()[-1] == ("uniform", 1)
    assert sum(t.role == "confirm" for t in trials) == 12
    assert len({t.index for t in trials}) == len(trials) == 3 * 5 + 1 + 12


def test_the_table_of_a_fair_comparison_tells_budget_setting_and_test(sweep):
    folder, spec = sweep
    run(folder, searcher_of(folder, spec))
    table = build_tables(open_sweep(folder.path.parent, "s").trials(), "val/linear")[0]
    assert table.title == "confirmed with fresh seeds"
    rows = {family_of(str(row.settings["objective"])): row for row in table.rows if row.kind != "untrained"}
    assert {name: row.settings["tried"] for name, row in rows.items()} == {
        "infonce": 5, "direct": 5, "uniform": 1, "formula(alpha='exp(-d2**k/tau)')": 5,
    }  # fmt: skip
    assert all(row.done == row.expected == 3 for row in rows.values())
    assert rows["infonce"].is_reference
    assert rows["direct"].against["test/linear"].p is not None
