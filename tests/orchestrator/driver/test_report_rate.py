"""The reports that Tune hears of a trial whose driver takes its time."""

import time

import pytest

from orchestrator.driver import report_rate
from orchestrator.driver.report_rate import Teller


@pytest.mark.parametrize(("all_of_them", "most"), [(True, 41), (False, 12)])
def test_a_slow_driver_holds_up_no_trial_and_hears_of_everything_in_time(monkeypatch, all_of_them, most):
    clock, told = [100.0], []

    def report(row):
        told.append(row)
        clock[0] += 0.2  # until the driver has taken it

    monkeypatch.setattr(report_rate.tune, "report", report)
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    teller = Teller(all_of_them)
    for epoch in range(41):
        clock[0] += 1.0
        probed = {"val/linear": float(epoch)} if epoch % 2 == 0 else {}
        teller.tell({"epoch": epoch, "time/epoch_s": 1.0, **probed}, final=epoch == 40)
    waited = clock[0] - 141.0
    assert len(told) <= most
    assert (waited <= 0.06 * 41) != all_of_them
    assert [row["epoch"] for row in (told[0], told[-1])] == [0, 40]
    assert sum(row["time/epoch_s"] for row in told) == 41
    assert all(row["val/linear"] == row["epoch"] - row["epoch"] % 2 for row in told if "val/linear" in row)


def test_a_driver_that_is_quick_hears_of_every_epoch(monkeypatch):
    told = []
    monkeypatch.setattr(report_rate.tune, "report", told.append)
    teller = Teller(all_of_them=False)
    for epoch in range(5):
        time.sleep(0.01)
        teller.tell({"epoch": epoch, "train/loss": 1.0}, final=False)
    assert [row["epoch"] for row in told] == list(range(5))
