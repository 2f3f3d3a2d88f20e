"""The lines that a driver prints at the end of its run."""

import argparse

from orchestrator.commands import run
from orchestrator.commands.exit_codes import INTERRUPTED
from orchestrator.driver.outcome import Outcome


def test_the_command_that_goes_on_names_the_cluster_wherever_its_address_came_from(fake_sweep, tmp_path, monkeypatch, capsys):
    record = fake_sweep().folder.record
    for given, variable in (("10.0.0.1:6379", None), (None, "10.0.0.1:6379")):
        monkeypatch.delenv("RAY_ADDRESS", raising=False)
        if variable:
            monkeypatch.setenv("RAY_ADDRESS", variable)
        arguments = argparse.Namespace(storage=tmp_path / "runs", address=given)
        assert run._say(record, Outcome(interrupted=True, unfinished=10), arguments) == INTERRUPTED
        out = capsys.readouterr().out
        assert f"alphacl resume s --storage {tmp_path}/runs --address 10.0.0.1:6379\n" in out
