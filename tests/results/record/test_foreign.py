"""A sweep folder from elsewhere names nothing outside itself."""

import json

import pytest

from results.importing import import_sweep
from results.record.reader import open_sweep
from results.record.seal import is_own


def test_an_import_leaves_what_it_names_behind(sweep, figures, tmp_path):
    storage = sweep(
        [({"seed": 0}, figures(50.0))], "gift", plugin_path=["/tmp"], study_storage="sqlite:////x", tracking_uri="http://y"
    )
    taken = import_sweep(storage / "gift", tmp_path / "mine")
    assert [taken.meta[key] for key in ("plugin_path", "study_storage", "tracking_uri", "seal")] == [[], None, None, None]
    assert not is_own(taken)


@pytest.mark.parametrize("attempt", ["../../../other/trials/x", "/etc", "attempt-0001/..", "..", "attempt-1", 7])
def test_an_attempt_lies_in_its_trial(sweep, figures, attempt):
    storage = sweep([({"seed": 0}, figures(50.0))])
    (trial,) = open_sweep(storage, "s").trials()
    record = json.loads((trial.folder / "result.json").read_text())
    (trial.folder / "result.json").write_text(json.dumps({**record, "attempt": attempt}))
    (trial,) = open_sweep(storage, "s").trials()
    assert trial.status == "damaged"
    assert "attempt: expected" in trial.problem
