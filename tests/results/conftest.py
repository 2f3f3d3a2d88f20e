"""Sweep folders with given figures."""

from __future__ import annotations

import json

import pytest

from trainer import TrialConfig


@pytest.fixture
def figures():
    """A trial's metrics, told apart by their distance to ``value``: ``figures(value, **more)``."""

    def make(value, **more):
        own = {"test/linear": value, "test/knn": value - 1, "val/linear": value + 1}
        return {**own, "untrained/linear": 30.0, "untrained/knn": 20.0, **more}

    return make


def record_of(config, metrics):
    """A finished trial's record; ``history`` and ``environment`` may be among the metrics."""
    metrics = dict(metrics)
    history = metrics.pop(
        "history", [{"epoch": 0, "val/linear": 29.0}, {"epoch": config.epochs, "val/linear": metrics["val/linear"]}]
    )
    environment = metrics.pop("environment", {"commit": "abc", "torch": "2.15", "device": "cpu: x", "precision": "float32"})
    return {
        "digest": config.digest, "config": config.to_dict(), "metrics": metrics, "history": history,
        "environment": environment, "seconds": 60.0,
    }  # fmt: skip


@pytest.fixture
def sweep(tmp_path):
    """A sweep folder: ``sweep([(settings, metrics or None)])`` → storage folder.

    Settings may hold ``role``; metrics ``None`` is a trial that has not begun, a text is a failed one's error, a number the epoch
    at which a trial was stopped.
    """

    def put(entries, name="s", storage=None, yaml="", **meta):
        root = storage or tmp_path
        folder = root / name
        folder.mkdir(parents=True)
        facts = {"name": name, "id": f"id-{root.name}-{name}", "kind": "grid", "trials": len(entries), **meta}
        (folder / "sweep.json").write_text(json.dumps(facts))
        (folder / "sweep.yaml").write_text(yaml)
        for place, (settings, outcome) in enumerate(entries):
            settings = dict(settings)
            role = settings.pop("role", "trial")
            config = TrialConfig(**settings)
            trial = folder / "trials" / config.digest
            (trial / "attempt-0001").mkdir(parents=True)
            head = {"digest": config.digest, "place": place, "config": config.to_dict(), "role": role}
            (trial / "config.json").write_text(json.dumps(head))
            if isinstance(outcome, dict):
                (trial / "result.json").write_text(json.dumps(record_of(config, outcome)))
            elif isinstance(outcome, str):
                (trial / "attempt-0001" / "error.json").write_text(json.dumps({"kind": "failed", "message": outcome}))
            elif outcome is not None:
                (trial / "stopped.json").write_text(json.dumps({"epoch": outcome, "value": 1.0}))
        return root

    return put
