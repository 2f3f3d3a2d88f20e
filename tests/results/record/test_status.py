from results.record.mlflow_names import outcome_of, status_of
from results.record.status import Status


def test_what_a_status_says_of_itself():
    over = {Status.FINISHED, Status.STOPPED, Status.FAILED, Status.DIVERGED, Status.DAMAGED}
    assert {s for s in Status if s.is_over} == over
    assert {s for s in Status if s.has_failed} == {Status.FAILED, Status.DIVERGED, Status.DAMAGED}
    assert {s for s in Status if s.is_resumable} == (set(Status) - over) | {Status.FAILED}


def test_an_outcome_in_mlflow_means_the_status_that_wrote_it():
    told = {s: outcome_of(s) for s in Status}
    assert {s for s, outcome in told.items() if outcome} == {s for s in Status if s.is_over and s != Status.DAMAGED}
    assert all(status_of(outcome) == s for s, outcome in told.items() if outcome)
    assert status_of("stopped") == Status.STOPPED  # of runs that an older program wrote
    assert status_of("") is None
