"""The command that a gap suggests can be run as it stands."""

import shlex
import subprocess
import sys

import pytest

from results.record.lookup import find_folder, join
from results.record.sweep_writer import SweepWriter
from results.tables.gaps import find_gaps
from search_spaces import load_spec
from trainer.registry import REGISTRY

PLUGIN = '''
from trainer.losses import loss

@loss()
def fills_a_gap(x):
    """φ(x) = x, ψ(x) = x."""
    return x.sum(dim=1)
'''


@pytest.fixture
def forgotten():
    """Forget the plug-in afterwards: tests that run in the same process know what is built in."""
    yield
    REGISTRY["loss"].pop("fills_a_gap", None)
    sys.modules.pop("gap_plugin", None)


@pytest.mark.slow
@pytest.mark.usefixtures("forgotten")
def test_a_gap_of_a_plugins_objective_is_filled_by_the_command_that_it_suggests(write, tmp_path, data_root, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    write(PLUGIN, "gap_plugin.py")
    text = "plugins: [gap_plugin]\ntrial: {dataset: digits, objective: fills_a_gap, epochs: 0, images: 100, batch_size: 32}\n"
    folder = SweepWriter.create(tmp_path / "runs", "s", load_spec(write(text)), {})
    (trial,) = folder.record.trials()
    folder.trial(trial.digest).fail("failed", "out of memory")
    (gap,) = find_gaps(folder.record, folder.record.trials())
    assert gap.command == f"alphacl retry s failed --storage {tmp_path / 'runs'}"
    folder.trial(trial.digest).stop(0)
    (gap,) = find_gaps(folder.record, folder.record.trials())
    assert "--plugin gap_plugin" in gap.command
    command = [sys.executable, *shlex.split(gap.command)[1:]]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    joined = join(folder.record, [find_folder(tmp_path, str(tmp_path / "records"))])
    assert [t.status for t in joined.trials()] == ["finished"]
    assert find_gaps(joined, joined.trials()) == []
