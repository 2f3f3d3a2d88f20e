"""A sweep from elsewhere is data: what it names outside its folder is neither imported, opened, written nor removed unasked."""

import argparse
import json
import os
import sys

import pytest

from orchestrator.commands import sweep
from orchestrator.commands.trust import check_trust
from orchestrator.suggest.study import find_study, study_url
from orchestrator.tracking.addresses import tracking_uri
from results.record.reader import open_sweep
from results.record.seal import is_own
from results.record.sweep_writer import SweepWriter
from search_spaces import load_spec
from trainer import TrialConfig
from trainer.errors import UserError

SPACE = "trial: {epochs: 1}\nspace: {seed: [0, 1]}\n"
SEARCH = "search: {sampler: random, trials: 2}\ntrial: {epochs: 1}\nspace: {tau: {float: [0.1, 0.5]}}\n"


def options(**given):
    return argparse.Namespace(**{"trust_plugins": False, "trust_paths": False, **given})


@pytest.fixture
def launch(tmp_path, write):
    """``launch(yaml, **meta)`` → a sweep that this user launched."""

    def make(space=SPACE, **meta):
        SweepWriter.create(tmp_path / "runs", "s", load_spec(write(space)), meta)
        return open_sweep(tmp_path / "runs", "s")

    return make


@pytest.fixture
def strange(launch, tmp_path, monkeypatch):
    """The same as somebody else would have launched it, whose key this user does not have."""

    def make(space=SPACE, plugins="", **meta):
        with monkeypatch.context() as patch:
            patch.setenv("ALPHACL_KEY", str(tmp_path / "their_key"))
            record = launch(space, **meta)
        if plugins:
            (record.folder / "sweep.yaml").write_text(f"plugins: {plugins}\n{space}")
        return open_sweep(record.folder.parent, "s")

    return make


def test_ones_own_sweep_is_known_until_it_is_changed(launch):
    record = launch(plugin_path=["/somewhere"], tracking_uri="sqlite:////elsewhere/m.db")
    assert is_own(record)
    assert check_trust(record, options()) is False
    assert tracking_uri(record) == "sqlite:////elsewhere/m.db"
    for change in ({"plugin_path": ["/tmp"]}, {"tracking_uri": "http://evil"}, {"id": "0"}, {"seal": None}, {"seal": "ä"}):
        (record.folder / "sweep.json").write_text(json.dumps({**record.meta, **change}))
        assert not is_own(open_sweep(record.folder.parent, "s"))
    (record.folder / "sweep.json").write_text(json.dumps(record.meta))
    (record.folder / "sweep.yaml").write_text(SPACE + "plugins: [evil]\n")
    assert not is_own(open_sweep(record.folder.parent, "s"))


def test_a_sweep_without_foreign_names_is_resumed_as_ones_own_is(strange):
    assert check_trust(strange(), options()) is True


def test_plugins_are_imported_only_when_asked_for(strange, alphacl, tmp_path, monkeypatch):
    record = strange(plugins="[evil_plugin]", plugin_path=[str(tmp_path)])
    (tmp_path / "evil_plugin.py").write_text(f"open({str(tmp_path / 'pwned')!r}, 'w')\n")
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    for command in ("resume", "status", "table", "track", "report"):
        code, _, err = alphacl(command, "s", "--storage", record.folder.parent)
        if command == "resume":
            assert code == 2
            assert "imports the plug-ins evil_plugin, code that would run as you, from" in err
            assert "--trust-plugins" in err
    assert not (tmp_path / "pwned").exists()
    assert sys.path == before
    assert check_trust(record, options(trust_plugins=True)) is True


@pytest.mark.parametrize("space", [SPACE, SEARCH])
def test_what_a_sweep_says_that_it_was_launched_as_is_no_order_either(strange, alphacl, tmp_path, monkeypatch, write, space):
    """A sweep that grows reads that text, too: a stranger's may name a plug-in that lies in the sweep folder."""
    record = strange(space)
    (record.folder / "evil_plugin.py").write_text(f"open({str(tmp_path / 'pwned')!r}, 'w')\n")
    launched_as = {**record.meta, "space": f"plugins: [evil_plugin]\n{space}"}
    (record.folder / "sweep.json").write_text(json.dumps(launched_as))
    monkeypatch.syspath_prepend(str(tmp_path))
    larger = write(space.replace("trials: 2", "trials: 3").replace("[0, 1]", "[0, 1, 2]"))
    here = ["--storage", record.folder.parent]
    for words in (["resume", "s"], ["resume", "s", larger], ["retry", "s", "waiting"]):
        code, _, err = alphacl(*words, *here)
        assert (code, "imports the plug-ins evil_plugin" in err) == (2, True)
    for words in (["--grow"], ["--grow", "--dry-run"]):
        code, _, err = alphacl("sweep", larger, "--name", "s", *words, *here)
        assert (code, "was not launched by you here; 'alphacl resume s " in err) == (2, True)
    assert not (tmp_path / "pwned").exists()


def test_a_folder_of_plugins_is_not_looked_into_where_no_plugin_was_asked_for(strange, alphacl, monkeypatch, tmp_path):
    """A module that is not installed here, and that a library would do without, must not be found in a stranger's folder."""
    record = strange(plugin_path=[str(tmp_path)])
    before = list(sys.path)
    monkeypatch.setattr(sweep, "_prepare_data", lambda *given: None)
    monkeypatch.setattr(sweep, "run", lambda folder, spec, arguments, prepare, offered: prepare() or 0)
    code, _, err = alphacl("resume", "s", "--storage", record.folder.parent)
    assert code == 0, err
    assert sys.path == before
    trusted = open_sweep(record.folder.parent, "s")
    assert is_own(trusted)
    assert trusted.meta["plugin_path"] == []


def test_a_planned_trial_need_not_be_of_the_space(strange, tmp_path):
    record = strange()
    config = TrialConfig(dataset=f"folder:{tmp_path}", epochs=1)
    SweepWriter(record).trial(config.digest).plan(config, 2)
    with pytest.raises(UserError, match=r"reads images from folder:\S+; give --trust-paths"):
        check_trust(open_sweep(record.folder.parent, "s"), options())


@pytest.mark.parametrize("space", ["trial: {dataset: 'folder:/home'}\n", "space: {dataset: ['folder:$HOME', digits]}\n"])
def test_folders_of_images_are_read_only_when_asked_for(strange, space):
    record = strange(space)
    with pytest.raises(UserError, match=r"reads images from folder:\S+; give --trust-paths"):
        check_trust(record, options())
    assert check_trust(record, options(trust_paths=True)) is True


def test_addresses_are_given_again(strange, tmp_path, monkeypatch, alphacl):
    there = f"sqlite:///{tmp_path}/written_by_a_stranger.db"
    record = strange(SEARCH, study_storage=there, tracking_uri="postgresql://evil.example/mlflow")
    monkeypatch.setenv("PGPASSWORD", "s3cret")
    with pytest.raises(UserError, match=r"names the database of its study that would be opened: sqlite:.*give --study-storage"):
        check_trust(record, options())
    with pytest.raises(UserError, match=r"names an MLflow store that would be opened: postgresql:.*give --tracking-uri"):
        check_trust(record, options(study_storage=there))
    for ask in (lambda: study_url(record), lambda: tracking_uri(record), lambda: find_study(record)):
        with pytest.raises(UserError, match="was not launched by you here"):
            ask()
    code, _, err = alphacl("track", "s", "--storage", record.folder.parent)
    assert (code, "give --tracking-uri ADDRESS" in err) == (2, True)
    assert not (tmp_path / "written_by_a_stranger.db").exists()
    assert check_trust(record, options(study_storage=there, tracking_uri="sqlite:///mine.db")) is True
    SweepWriter(record).trust(tracking_uri="sqlite:///mine.db")
    trusted = open_sweep(record.folder.parent, "s")
    assert is_own(trusted)
    assert (study_url(trusted), tracking_uri(trusted)) == (there, "sqlite:///mine.db")


def test_links_in_a_sweep_from_elsewhere_are_not_written_through(strange, tmp_path):
    record = strange()
    (record.folder / "driver.lock").symlink_to(tmp_path / "precious")
    with pytest.raises(UserError, match=r"driver\.lock: expected a file or a folder, got a link"):
        check_trust(record, options())


def test_the_key_is_the_users_alone(launch, tmp_path, monkeypatch):
    monkeypatch.setenv("ALPHACL_KEY", str(tmp_path / "new" / "key"))
    assert is_own(launch())
    assert oct((tmp_path / "new" / "key").stat().st_mode & 0o777) == "0o600"
    assert os.path.getsize(tmp_path / "new" / "key") == 32
