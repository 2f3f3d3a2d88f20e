"""What a worker does with its trial: where it computes, and how it ends."""

import time

import psutil
import pytest
import torch

from orchestrator.driver import node_load, worker
from orchestrator.tracking.trial_run import wanted_run
from results.record.status import Status
from results.record.sweep_writer import SweepWriter
from search_spaces import load_spec
from trainer import Report, TrialDiverged, UserError
from trainer.files import checksum


@pytest.fixture
def trial(tmp_path, write, monkeypatch):
    """``trial(run, gpu=…)`` → (its record after a worker has run it, what Tune was told)."""
    folder = SweepWriter.create(tmp_path / "runs", "s", load_spec(write("trial: {dataset: digits, epochs: 1}\n")), {})
    (digest,) = [t.digest for t in folder.record.trials()]
    reports = []
    monkeypatch.setattr(worker.tune, "report", reports.append)

    def work(run, gpu=0.0):
        config = {"digest": digest}
        here = str(tmp_path)
        setup = worker.Setup(str(folder.trials), 1, gpu, mps=True, alike=1, data_root=here, start_in=here, run=run)
        worker.train(config, setup)
        return folder.read(digest), reports

    return work


@pytest.mark.parametrize(("gpu", "device"), [(0.0, "cpu"), (0.25, "cuda"), (1.0, "cuda")])
def test_a_trial_computes_where_its_resources_say_and_nowhere_else(trial, gpu, device):
    devices = []

    def run(config, *, device, **others):
        devices.append(device)
        record = {"digest": config.digest, "config": config.to_dict(), "metrics": {"test/linear": 1.0}, "history": []}
        yield Report(1, 1, {"val/linear": 1.0}, lambda: {"epoch": 1, "encoder": {}}, record)

    record, reports = trial(run, gpu)
    assert devices == [device]
    assert record.status == Status.FINISHED
    assert reports == [{"epoch": 1, "val/linear": 1.0}]


@pytest.mark.slow
def test_the_load_of_the_workers_machine_goes_with_its_reports(trial, monkeypatch):
    def run(config, **others):
        history = []
        for epoch in range(4):
            history.append({"epoch": epoch, "val/linear": 1.0})
            time.sleep(0.3)
            record = {"digest": config.digest, "config": config.to_dict(), "metrics": {"val/linear": 1.0}, "history": history}
            record = {**record, "checksum": checksum(record)} if epoch == 3 else None
            yield Report(epoch, 3, {"val/linear": 1.0}, lambda: {"epoch": 0, "encoder": {}}, record)

    monkeypatch.setattr(node_load, "EVERY_S", 0.5)
    monkeypatch.setattr(node_load, "GPU_EVERY_S", 0.05)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)  # of a card that no machine of the tests has
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda number: (1e9, 3e9))
    monkeypatch.setattr(torch.cuda, "utilization", lambda number: 75)
    finished, told = trial(run, gpu=1.0)
    assert finished.is_sealed
    assert told == [{"epoch": epoch, "val/linear": 1.0} for epoch in range(4)], "the driver has no use for it"
    wanted = wanted_run(finished, "parent", running=True)
    assert [len(row.metrics) > 1 for row in wanted.rows] in ([False, True, False, True], [False, True, True, True])
    metrics = wanted.rows[3].metrics
    assert metrics["system/gpu_0_utilization_percentage"] == 75
    assert metrics["system/gpu_0_memory_usage_megabytes"] == 2000
    assert 0 <= metrics["system/cpu_utilization_percentage"] <= 100
    assert metrics["system/system_memory_usage_megabytes"] == pytest.approx(psutil.virtual_memory().used / 1e6, rel=0.5)
    assert "system/load_average_1min" in metrics


@pytest.mark.parametrize(
    ("error", "status"), [(TrialDiverged(1, "loss is nan"), Status.DIVERGED), (UserError("no GPU"), Status.FAILED)]
)
def test_what_no_retry_would_mend_ends_the_trial_in_one_line(trial, error, status):
    def run(config, **others):
        raise error
        yield

    record, reports = trial(run)
    assert (record.status, record.error["message"]) == (status, str(error))
    assert reports == [{"ended": status.value}]


def test_any_other_error_is_tunes_to_retry(trial):
    def run(config, **others):
        raise RuntimeError("CUDA out of memory")
        yield

    with pytest.raises(RuntimeError, match="out of memory"):
        trial(run)


def test_an_error_names_the_users_line_and_is_not_tried_a_third_time(trial):
    def run(config, **others):
        print("the last thing that it printed")
        raise ValueError("expected a cat")
        yield

    with pytest.raises(ValueError, match="a cat"):
        trial(run)
    record, reports = trial(run)
    assert reports == [{"ended": "failed"}], "Tune runs it again after the first time, and not after the second"
    assert record.status == Status.FAILED
    assert record.error["message"].startswith("ValueError: expected a cat (test_worker.py:")
    assert (record.error["function"], record.error["code"]) == ("run", 'raise ValueError("expected a cat")')
    for attempt in ("attempt-0001", "attempt-0002"):
        log = (record.folder / attempt / "output.log").read_text()
        assert "the last thing that it printed\nTraceback" in log
        assert "test_worker.py" in log


def test_an_error_at_another_line_and_one_of_memory_are_tried_again(trial):
    def run(config, **others):
        tries.append(1)
        if len(tries) == 1:
            raise ValueError("here")
        if len(tries) == 2:
            raise ValueError("there")
        raise MemoryError
        yield

    tries = []
    for kind in (ValueError, ValueError, MemoryError, MemoryError):
        with pytest.raises(kind):
            trial(run)
