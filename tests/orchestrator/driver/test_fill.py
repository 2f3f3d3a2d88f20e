"""A cluster's free slots are filled at once, also where a sampler learns."""

import time

import pytest

from orchestrator.driver import run_sweep as runner
from orchestrator.driver.events import TrialEvents
from orchestrator.driver.slots import Slots
from orchestrator.suggest.study_searcher import StudySearcher
from results.record.sweep_writer import SweepWriter
from search_spaces import load_spec
from trainer import Report

SEARCH = """
trial: {dataset: digits, epochs: 1}
search: {sampler: tpe, trials: 6, seed: 3}
keep_encoders: 0
space:
  objective: [infonce, {direct: {p: {float: [1, 8]}}}]
  tau: {float: [0.05, 1], log: true}
"""


def run(config, **words):
    time.sleep(1.0)
    metrics = {"val/linear": 50 + config.tau, "test/linear": 50.0}
    record = {"digest": config.digest, "config": config.to_dict(), "metrics": metrics, "history": []}
    yield Report(1, 1, metrics, lambda: {"epoch": 1, "encoder": {}}, record)


@pytest.mark.ray
def test_tpe_is_asked_for_a_trial_per_slot_before_the_first_worker_is_up(write, tmp_path, monkeypatch, ray_here):
    spec = load_spec(write(SEARCH))
    (tmp_path / "runs").mkdir()
    folder = SweepWriter.create(tmp_path / "runs", "s", spec, {})
    news = []
    for owner, name in ((StudySearcher, "_hand_out"), (TrialEvents, "started"), (TrialEvents, "ended")):
        function = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *a, name=name, function=function: (news.append(name), function(*a))[1])
    assert Slots(spec).count() == 2
    with folder.driving():
        outcome = runner.run_sweep(folder, spec, run=run)
    assert (outcome.failed, outcome.unfinished) == ([], 0)
    assert news[:4] == ["_hand_out"] * 3 + ["started"], "one for each slot and one ahead, before any worker was up"
    assert news.index("ended") < [i for i, name in enumerate(news) if name == "_hand_out"][3], (
        "the next one learns from the first"
    )
    assert news.count("_hand_out") == news.count("ended") == 6


@pytest.mark.parametrize(
    ("resources", "count"), [("{cpu: 1}", 11), ("{cpu: 2}", 5), ("{cpu: 1, gpu: 0.5}", 4), ("{cpu: 3, gpu: 1}", 2)]
)
def test_slots_are_counted_node_by_node(write, monkeypatch, resources, count):
    nodes = [
        {"Alive": True, "Resources": {"CPU": 3.0}},
        {"Alive": True, "Resources": {"CPU": 8.0, "GPU": 2.0}},
        {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}},
    ]
    monkeypatch.setattr("ray.nodes", lambda: nodes)
    slots = Slots(load_spec(write(f"trial: {{dataset: digits}}\nresources: {resources}\n")))
    assert slots.count() == count
    monkeypatch.setattr("ray.nodes", lambda: 1 / 0)
    slots._looked_at = 0.0
    assert slots.count() == count, "what was known stays while Ray does not answer"
