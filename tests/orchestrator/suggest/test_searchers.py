"""The searchers against a real Optuna journal and sweep folders; the trials' results are written as a worker writes them."""

import optuna
import pytest
from optuna.trial import TrialState

from orchestrator.suggest.searchers import GridSearcher
from orchestrator.suggest.study_searcher import StudySearcher
from results.record.reader import open_sweep
from results.record.retrying import make_wait_again
from results.record.status import Status
from results.record.sweep_writer import SweepWriter
from search_spaces import load_spec
from search_spaces.samplers import SAMPLERS
from trainer import Report, TrialConfig

SEARCH = """
trial: {dataset: digits, epochs: 1}
search: {sampler: SAMPLER, trials: 4, seed: 3, metric: val/knn}
space:
  objective: [infonce, {direct: {p: {float: [1, 8]}}}]
  tau: {float: [0.05, 1], log: true}
"""
REPEAT = SEARCH + "repeat: {seed: [0, 1]}\nconfirm: {top: 2, seeds: 3}\n"


def make(tmp_path, write, text, sampler="tpe"):
    spec = load_spec(write(text.replace("SAMPLER", sampler)))
    return SweepWriter.create(tmp_path / "runs", "s", spec, {}), spec


def searcher_of(folder, spec):
    return StudySearcher(folder, spec, open_sweep(folder.path.parent, folder.record.name).trials())


def value_of(config):
    """A made-up accuracy that depends on the configuration, seed included."""
    return 50 + 10 * config["tau"] + config["seed"]


def finish(folder, digest):
    worker = folder.trial(digest)
    worker.begin()
    config = folder.read(digest).config
    metrics = {"val/knn": value_of(config), "val/linear": value_of(config)}
    worker.add(Report(1, 1, metrics, lambda: {"encoder": {}}, {"digest": digest, "config": config, "metrics": metrics}))


def run_all(folder, searcher):
    """Hand out and finish one trial after the other; returns their digests."""
    handed = []
    while (digest := searcher.next_digest()) is not None:
        handed.append(digest)
        finish(folder, digest)
        searcher.ended(digest)
    assert searcher.done
    return handed


@pytest.mark.parametrize("sampler", list(SAMPLERS))
def test_every_sampler_proposes_trials_none_twice_and_repeats_itself(tmp_path, write, sampler):
    asked = []
    for name in ("a", "b"):
        folder, spec = make(tmp_path / name, write, SEARCH, sampler)
        asked.append(run_all(folder, searcher_of(folder, spec)))
    assert asked[0] == asked[1], "the sampler's seed fixes what it proposes"
    assert len(set(asked[0])) == 4


def test_a_repeated_suggestion_counts_by_its_mean(tmp_path, write):
    folder, spec = make(tmp_path, write, REPEAT)
    searcher = searcher_of(folder, spec)
    first = searcher.next_digest()
    second = searcher.next_digest()
    configs = [folder.read(d).config for d in (first, second)]
    assert [c["seed"] for c in configs] == [0, 1]
    assert {k: v for k, v in configs[0].items() if k != "seed"} == {k: v for k, v in configs[1].items() if k != "seed"}
    finish(folder, first)
    searcher.ended(first)
    assert searcher.study.trials[0].state == TrialState.RUNNING, "half a mean is none"
    finish(folder, second)
    searcher.ended(second)
    assert searcher.study.trials[0].value == pytest.approx(sum(map(value_of, configs)) / 2)


def test_a_search_takes_over_what_others_have_finished_and_asks_for_the_rest(tmp_path, write):
    folder, spec = make(tmp_path / "first", write, REPEAT, "random")
    handed = run_all(folder, searcher_of(folder, spec))
    trials = folder.record.trials()
    kept = [t for t in trials if t.role == "confirm" or t.index % 2]  # a machine is lost, and half of the records were saved

    again, _ = make(tmp_path / "again", write, REPEAT, "random")
    searcher = StudySearcher(again, spec, [], offered={t.digest: t for t in kept})
    computed = []
    while (digest := searcher.next_digest()) is not None:
        if again.read(digest).status != Status.FINISHED:
            computed.append(digest)
            finish(again, digest)
        searcher.ended(digest)
    assert computed == [d for d in handed if d not in {t.digest for t in kept}]
    found = again.record.trials()
    assert [(t.digest, t.role, t.index, t.metrics) for t in found] == [(t.digest, t.role, t.index, t.metrics) for t in trials]


def test_the_best_are_confirmed_with_seeds_that_the_search_has_not_seen(tmp_path, write):
    folder, spec = make(tmp_path, write, REPEAT)
    assert spec.trials == 4 * 2 + 2 * 3
    searcher = searcher_of(folder, spec)
    run_all(folder, searcher)
    trials = folder.record.trials()
    assert len(trials) == 14
    searched = {t.config["tau"]: t for t in trials if t.role == "trial"}
    confirmed = [t for t in trials if t.role == "confirm"]
    assert {t.config["tau"] for t in confirmed} == set(sorted(searched)[-2:]), "the worth of these trials grows with tau"
    for tau in {t.config["tau"] for t in confirmed}:
        assert sorted(t.config["seed"] for t in confirmed if t.config["tau"] == tau) == [2, 3, 4]
    assert len(searcher.study.trials) == 4, "the study chooses on the search's seeds alone"
    again = searcher_of(folder, spec)
    assert again.next_digest() is None
    assert again.done


def test_confirmation_waits_for_the_last_of_the_search(tmp_path, write):
    folder, spec = make(tmp_path, write, REPEAT)
    searcher = searcher_of(folder, spec)
    handed = [searcher.next_digest() for _ in range(8)]
    assert searcher.next_digest() is None
    assert not searcher.done
    for digest in handed:
        finish(folder, digest)
        searcher.ended(digest)
    assert folder.read(searcher.next_digest()).role == "confirm"


def test_a_stopped_trial_is_pruned_and_its_other_seeds_are_not_run(tmp_path, write):
    folder, spec = make(tmp_path, write, REPEAT)
    searcher = searcher_of(folder, spec)
    first = searcher.next_digest()
    folder.trial(first).stop(1, "val/knn", 12.5)
    searcher.ended(first)
    (told,) = searcher.study.trials
    assert (told.state, told.intermediate_values) == (TrialState.PRUNED, {1: 12.5})
    other = searcher.suggestions[first].digests[1]
    assert other not in run_all(folder, searcher)
    assert not (folder.trials / other).exists()


def test_a_trial_that_was_stopped_before_the_study_heard_of_it_is_told_at_the_next_start(tmp_path, write):
    folder, spec = make(tmp_path, write, SEARCH)
    searcher = searcher_of(folder, spec)
    first, second = searcher.next_digest(), searcher.next_digest()
    folder.trial(first).stop(1, "val/knn", 12.5)  # here the driver is killed
    assert searcher.study.trials[0].state == TrialState.RUNNING
    again = searcher_of(folder, spec)
    told = again.study.trials[0]
    assert (told.state, told.intermediate_values) == (TrialState.PRUNED, {1: 12.5})
    assert again.next_digest() == second, "it is not run again"


def test_after_a_crash_nothing_is_lost_doubled_or_forgotten(tmp_path, write):
    """The driver dies at every point between asking and telling."""
    folder, spec = make(tmp_path, write, SEARCH)
    searcher = searcher_of(folder, spec)
    told, untold, planned = (searcher.next_digest() for _ in range(3))
    finish(folder, told)
    searcher.ended(told)
    finish(folder, untold)  # its driver died before the study heard of it
    searcher.study.ask()  # … and before it had written down what it asked
    asked = searcher.study.ask()  # … and before it had planned the trial
    config = spec.suggest(asked)
    asked.set_user_attr("digests", [config.digest])
    again = searcher_of(folder, spec)
    states = [t.state.name for t in again.study.trials]
    assert states == ["COMPLETE", "COMPLETE", "RUNNING", "FAIL", "RUNNING"]
    rest = run_all(folder, again)
    assert rest == [planned, config.digest]
    trials = folder.record.trials()
    assert {t.digest for t in trials} == {told, untold, planned, config.digest}
    assert {t.user_attrs["digests"][0]: t.value for t in again.study.trials if t.state == TrialState.COMPLETE} == {
        t.digest: value_of(t.config) for t in trials
    }


def test_what_failed_and_succeeds_in_a_resumed_sweep_is_told_after_all(tmp_path, write):
    folder, spec = make(tmp_path, write, SEARCH)
    searcher = searcher_of(folder, spec)
    first = searcher.next_digest()
    folder.trial(first).fail("failed", "out of memory")
    searcher.ended(first)
    assert searcher.study.trials[0].state == TrialState.FAIL
    run_all(folder, searcher)
    again = searcher_of(folder, spec)
    assert run_all(folder, again) == [first]
    values = [t.value for t in again.study.trials if t.user_attrs.get("digests") == [first]]
    assert values == [None, value_of(folder.read(first).config)]
    assert len(again.suggestions) == 4


def test_a_sweep_that_is_extended_goes_on_and_confirms_anew(tmp_path, write):
    folder, spec = make(tmp_path, write, REPEAT)
    run_all(folder, searcher_of(folder, spec))
    more = load_spec(folder.path / "sweep.yaml", ("search.trials=6",))
    handed = run_all(folder, searcher_of(folder, more))
    assert sum(folder.read(d).role == "trial" for d in handed) == 2 * 2
    assert len({t.digest for t in folder.record.trials()}) == len(folder.record.trials())


def test_a_journal_with_half_a_line_is_mended(tmp_path, write):
    folder, spec = make(tmp_path, write, SEARCH)
    run_all(folder, searcher_of(folder, spec))
    with open(folder.record.study, "ab") as file:
        file.write(b'{"op_code": 4, "wor')
    (folder.path / "study.log.lock").symlink_to("left-by-a-killed-driver")
    assert len(searcher_of(folder, spec).study.trials) == 4
    backend = optuna.storages.journal.JournalFileBackend(str(folder.record.study))
    assert len(optuna.load_study(study_name="s", storage=optuna.storages.JournalStorage(backend)).trials) == 4


def test_a_grid_is_handed_out_once_in_order(tmp_path, write):
    spec = load_spec(write("trial: {epochs: 1}\nspace: {seed: [0, 1, 2]}\n"))
    folder = SweepWriter.create(tmp_path / "runs", "g", spec, {})
    digests = [t.digest for t in folder.record.trials() if t.status.is_resumable]
    searcher = GridSearcher(folder, digests)
    assert [searcher.next_digest() for _ in range(4)] == [*digests, None]
    assert searcher.done
    assert digests == [TrialConfig(epochs=1, seed=s).digest for s in range(3)]


def test_a_trial_that_was_stopped_by_hand_is_pruned_and_one_that_is_retried_is_told_anew(tmp_path, write):
    folder, spec = make(tmp_path, write, SEARCH)
    searcher = searcher_of(folder, spec)
    first = searcher.next_digest()
    folder.trial(first).stop(0, by="user")
    searcher.ended(first)
    assert searcher.study.trials[0].state == TrialState.PRUNED
    run_all(folder, searcher)
    second = list(searcher.suggestions)[1]
    for digest in (first, second):
        make_wait_again(folder.trials / digest)
    again = searcher_of(folder, spec)
    assert run_all(folder, again) == [first, second]
    told = [(t.state.name, t.value) for t in again.study.trials if t.user_attrs.get("digests") == [first]]
    assert told == [("PRUNED", None), ("COMPLETE", value_of(folder.read(first).config))]
    assert len([t for t in again.study.trials if t.user_attrs.get("digests") == [second]]) == 1, "it gave what it had given"
    assert len(searcher_of(folder, spec).study.trials) == len(again.study.trials), "a third driver has nothing to tell"


def test_a_searcher_hands_out_no_more_than_may_run_at_once(tmp_path, write):
    folder, spec = make(tmp_path, write, SEARCH)
    searcher = searcher_of(folder, spec)
    searcher.most_at_once = lambda: 2
    handed = [searcher.suggest(f"tune-{number}") for number in range(3)]
    assert handed[2] is None
    assert len(folder.record.trials()) == 2, "the third was not even asked for: it can learn from the first"
    finish(folder, handed[0]["digest"])
    searcher.on_trial_complete("tune-0")
    assert searcher.suggest("tune-3") is not None


@pytest.mark.parametrize("text", [SEARCH.replace("trials: 4", "trials: 60"), REPEAT.replace("trials: 4", "trials: 30")])
def test_resuming_a_finished_search_looks_at_every_trial_once(tmp_path, write, monkeypatch, text):
    """The cost of a resume grows with the number of trials, and not with its square."""
    folder, spec = make(tmp_path, write, text, "random")
    run_all(folder, searcher_of(folder, spec))
    calls = {"all": 0, "read": 0, "built": 0}

    def counted(name, function):
        def call(*args, **named):
            calls[name] += 1
            return function(*args, **named)

        return call

    storage = optuna.storages.JournalStorage
    monkeypatch.setattr(storage, "get_all_trials", counted("all", storage.get_all_trials))
    monkeypatch.setattr(SweepWriter, "read", counted("read", SweepWriter.read))
    monkeypatch.setattr(type(spec), "suggest", counted("built", type(spec).suggest))
    again = searcher_of(folder, spec)
    assert len(again.suggestions) == spec.search.trials
    assert calls["all"] <= 3
    assert (calls["read"], calls["built"]) == (0, 0), "what has finished needs neither another look nor its configuration"
    assert again.next_digest() is None
    assert again.done
