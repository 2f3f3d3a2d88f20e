"""What a study knows before its sampler suggests anything."""

import pytest

from orchestrator.suggest.study_searcher import StudySearcher
from results.record.sweep_writer import SweepWriter
from search_spaces import SpaceError, load_spec
from trainer import Report

SEARCH = """
trial: {dataset: digits, epochs: EPOCHS}
search: {sampler: tpe, TRIALS, seed: 3, metric: val/knn}
repeat: {seed: [0, 1]}
space:
  objective: [infonce, {direct: {p: {float: [1, 8]}}}]
  tau: {float: [0.05, 1], log: true}
"""
ENQUEUE = "enqueue:\n  - {objective: direct, p: 4, tau: 0.5}\n  - {tau: 0.25}\n"


def make(tmp_path, write, text, name="s", meta=None):
    spec = load_spec(write(text))
    return SweepWriter.create(tmp_path / "runs", name, spec, meta or {}), spec


def run_all(folder, spec):
    searcher = StudySearcher(folder, spec, folder.record.trials())
    while (digest := searcher.next_digest()) is not None:
        worker = folder.trial(digest)
        worker.begin()
        config = folder.read(digest).config
        metrics = {"val/knn": 50 + 10 * config["tau"] + config["seed"]}
        record = {"digest": digest, "config": config, "metrics": metrics}
        worker.add(Report(config["epochs"], config["epochs"], metrics, lambda: {"encoder": {}}, record))
        searcher.ended(digest)
    return searcher


def text(epochs=1, trials="trials: 3", more=""):
    return SEARCH.replace("EPOCHS", str(epochs)).replace("TRIALS", trials) + more


def test_what_is_enqueued_is_tried_first_once_and_counts(tmp_path, write):
    folder, spec = make(tmp_path, write, text(more=ENQUEUE))
    searcher = StudySearcher(folder, spec, [])
    searcher.next_digest()  # and the driver dies
    searcher = run_all(folder, spec)
    configs = [folder.read(s.digests[0]).config for s in searcher.suggestions.values()]
    assert len(configs) == 3
    assert (configs[0]["objective"], configs[0]["tau"]) == ("direct(p=4)", 0.5)
    assert configs[1]["tau"] == 0.25
    assert len(searcher.study.trials) == 3, "a second driver enqueues nothing more"


def test_every_family_tries_its_own(tmp_path, write):
    folder, spec = make(tmp_path, write, text(trials="per_family: 2", more=ENQUEUE))
    searcher = StudySearcher(folder, spec, [], family="direct")
    first, second = (t.params for t in searcher.study.get_trials(deepcopy=False)), searcher.spec.enqueued()
    assert list(first) == [{}, {}], "they wait, without parameters of their own yet"
    assert second == [{"direct.p": 4, "tau": 0.5}, {"tau": 0.25}]
    assert StudySearcher(folder, spec, [], family="infonce").spec.enqueued() == [{"tau": 0.25}]


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("{objective: direkt, tau: 0.1}", "no objective 'direkt' in 'space'; did you mean 'direct'?"),
        ("{objective: infonce, p: 4}", "'p' is not searched here"),
        ("{tau: 3}", r"expected tau within the space \(0.05 to 1\), got 3"),
        ("{lr: 0.1}", "'lr' is not searched here"),
        ("infonce", "expected a list of settings"),
    ],
)
def test_what_cannot_be_tried_is_refused_with_its_line(write, entry, says):
    with pytest.raises(SpaceError, match=says) as caught:
        load_spec(write(text(more=f"enqueue:\n  - {entry}\n")))
    assert ":9: " in str(caught.value) or ":8: " in str(caught.value)
    with pytest.raises(SpaceError, match="a grid runs all"):
        load_spec(write("space: {tau: [0.1, 0.5]}\nenqueue: [{tau: 0.1}]\n"))


def test_another_sweeps_trials_are_told_once_as_means(tmp_path, write):
    old, spec = make(tmp_path, write, text(trials="trials: 4"), "old")
    run_all(old, spec)
    folder, spec = make(tmp_path, write, text(epochs=2).replace("[1, 8]", "[1, 9]"), "new", {"warm_start": "old"})
    searcher = StudySearcher(folder, spec, [])
    assert searcher.said == "the study was told 4 of 4 configurations of old (made with other epochs)"
    told = {(t.params["tau"], t.value) for t in searcher.study.trials}
    means = {t.config["tau"]: 50 + 10 * t.config["tau"] + 0.5 for t in old.record.trials()}
    assert told == set(means.items())
    again = run_all(folder, spec)
    assert again.said == "", "a second driver tells nothing"
    assert len(again.suggestions) == 3, "they do not count"
    assert len(again.study.trials) == 7
