"""The source of plug-ins is part of the record."""

import importlib
import sys

from orchestrator.commands.plugin_sources import keep_sources, source_files
from results.record.sweep_writer import SweepWriter
from search_spaces import load_spec

PLUGIN = '''
from trainer.losses import loss

@loss()
def kept_by_its_source(x):
    """φ(x) = x, ψ(x) = SIGN x."""
    return (SIGN x).sum(dim=1)
'''


def test_a_plugins_source_is_kept_and_a_change_is_said(write, tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(tmp_path)
    write(PLUGIN.replace("SIGN", "+"), "kept_source.py")
    spec = load_spec(write("plugins: [kept_source]\ntrial: {objective: kept_by_its_source, epochs: 1}\n"))
    folder = SweepWriter.create(tmp_path / "runs", "s", spec, {})
    keep_sources(folder, spec)
    kept = folder.record.meta["plugins"]["kept_source"]
    copy = folder.path / kept["copy"] / "kept_source.py"
    assert copy.read_text() == PLUGIN.replace("SIGN", "+")
    keep_sources(folder, spec)
    assert capsys.readouterr().err == ""

    write(PLUGIN.replace("SIGN", "-"), "kept_source.py")
    keep_sources(folder, spec)
    said = capsys.readouterr().err
    assert "the plug-in 'kept_source' has changed" in said
    assert str(folder.path / kept["copy"]) in said
    newer = folder.record.meta["plugins"]["kept_source"]
    assert newer["earlier"] == [kept["sha256"]]
    assert copy.exists(), "the older source stays"
    assert (folder.path / newer["copy"] / "kept_source.py").read_text() == PLUGIN.replace("SIGN", "-")


def test_a_packages_modules_are_all_kept(tmp_path, monkeypatch):
    package = tmp_path / "some_package"
    (package / "inner").mkdir(parents=True)
    for name in ("__init__.py", "a.py", "inner/__init__.py"):
        (package / name).write_text(f"# {name}\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("some_package")
    assert set(source_files("some_package")) == {f"some_package/{n}" for n in ("__init__.py", "a.py", "inner/__init__.py")}
    assert source_files("math") == {}
    del sys.modules["some_package"]
