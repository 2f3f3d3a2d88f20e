import pickle

import pytest

from trainer.errors import ConfigError, TrialDiverged


@pytest.mark.parametrize("error", [ConfigError("tau", "expected tau > 0"), TrialDiverged(3, "train/loss is nan")])
def test_an_error_of_a_worker_travels_to_its_driver_whole(error):
    back = pickle.loads(pickle.dumps(error))
    assert (type(back), str(back), vars(back)) == (type(error), str(error), vars(error))
