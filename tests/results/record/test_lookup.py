import argparse
import json

import pytest

from results import importing
from results.importing import import_sweep
from results.options import add_source, read_source
from results.record.lookup import find_sweep, join, read_records
from results.record.reader import open_sweep
from results.table import main, sweep_table
from results.tables.build import build_tables
from trainer import TrialConfig, UserError, files


@pytest.fixture
def records(tmp_path, sweep, figures):
    """A folder of single runs' records: ``records({file name: (settings, value)})``."""

    def put(runs, folder="evidence"):
        root = tmp_path / folder
        root.mkdir()
        storage = sweep([(settings, figures(value)) for settings, value in runs.values()], storage=tmp_path / f"of-{folder}")
        for file, (settings, _) in zip(runs, runs.values(), strict=True):
            result = storage / "s" / "trials" / TrialConfig(**settings).digest / "result.json"
            (root / file).write_text(result.read_text())
        return root

    return put


def test_records_are_read_like_a_sweep(records):
    folder = records({"a.json": ({"seed": 0}, 50.0), "b.json": ({"seed": 1}, 52.0)})
    (table,) = build_tables(find_sweep(folder.parent, str(folder)).trials())
    assert table.rows[1].cells["test/linear"].values == (50, 52)


def test_records_that_can_not_be_believed_are_gaps(records):
    folder = records({n: ({"seed": i}, 50.0) for i, n in enumerate(("a.json", "b.json", "c.json", "d.json"))})
    (folder / "b.json").write_text((folder / "b.json").read_text()[:80])
    (folder / "c.json").write_text((folder / "c.json").read_text().replace('"lr": 0.001', '"lr": 0.5'))
    (folder / "e.json").write_text((folder / "d.json").read_text().replace("50.0", "99.0"))
    sweep = read_records(folder)
    assert sorted(t.status for t in sweep.trials()) == ["damaged", "damaged", "damaged", "finished"]
    text = sweep_table(sweep)
    for words in ("b.json is damaged", "c.json has been changed: its digest", "another record of this trial has other figures"):
        assert words in text
    assert "PARTIAL: 1 of 4 trials are finished" in text


def test_records_join_a_sweeps_table(records, sweep, figures, capsys):
    folder = records({"a.json": ({"seed": 1}, 60.0), "b.json": ({"seed": 0}, 99.0)})
    storage = sweep([({"seed": 0}, figures(50.0)), ({"seed": 1}, None)])
    assert main(["--sweep", "s", "--storage", str(storage), "--join", str(folder)]) == 0
    assert "| infonce | 0.5 | 2 | **55.00 ± 7.07** |" in capsys.readouterr().out  # the sweep's own figure counts, not another's
    assert len(join(open_sweep(storage, "s"), [read_records(folder)]).trials()) == 2


def test_import_of_a_sweep(sweep, figures, tmp_path, monkeypatch):
    theirs = sweep(
        [({"seed": 0}, figures(50.0)), ({"seed": 1}, 3)], storage=tmp_path / "theirs", yaml="x: 1", tracking_uri="http://x"
    )
    mine = tmp_path / "mine"
    (theirs / "s" / "secret").write_text("x")
    there = import_sweep(theirs / "s", mine)
    assert sweep_table(there).split("\n\n- ")[0] == sweep_table(open_sweep(theirs, "s")).split("\n\n- ")[0]
    assert (there.meta["imported_from"], there.meta["tracking_uri"], there.space) == ("s", None, "x: 1")
    assert [t.status for t in there.trials()] == ["finished", "stopped"]
    assert not (mine / "s" / "secret").exists()
    with pytest.raises(UserError, match=r"this same sweep is there already; choose another --name"):
        import_sweep(theirs / "s", mine)
    sweep([({"seed": 5}, figures(10.0))], storage=tmp_path / "others")
    with pytest.raises(UserError, match=r"another sweep 's' is there; choose another --name"):
        import_sweep(tmp_path / "others" / "s", mine)
    monkeypatch.setattr(importing, "UMASK", 0o077)
    assert import_sweep(tmp_path / "others" / "s", mine, "t").name == "t"
    assert [(mine / name).stat().st_mode & 0o777 for name in ("s", "t")] == [0o777 & ~files.UMASK, 0o700]
    searched = sweep([({"seed": 5}, figures(10.0))], storage=tmp_path / "searched", study_storage="postgresql://x/y")
    there = import_sweep(searched / "s", mine, "u")
    study = open_sweep(searched, "s").study_name
    assert (there.study_name, study) == (study, f"s {there.meta['id'][:8]}"), "resumed with that database, it finds its study"


def test_import_of_records(records, tmp_path):
    folder = records({"a.json": ({"seed": 0}, 50.0), "b.json": ({"seed": 1}, 52.0)})
    there = import_sweep(folder, tmp_path / "mine", "runs")
    assert "| infonce | 0.5 | 2 | **51.00 ± 1.41** |" in sweep_table(there)
    assert all(t.reports for t in there.trials())


def test_imports_that_are_refused(sweep, figures, records, tmp_path):
    mine = tmp_path / "mine"
    with pytest.raises(UserError, match="expected a sweep folder, or JSON records"):
        import_sweep(tmp_path / "nothing", mine)
    storage = sweep([({"seed": s}, figures(50.0)) for s in (0, 1)])
    with pytest.raises(UserError, match="--name: expected letters"):
        import_sweep(storage / "s", mine, "../up")
    trial = open_sweep(storage, "s").trials()[0].folder
    (trial / "result.json").write_text("{")
    with pytest.raises(UserError, match=r"1 of 2 trials are damaged, the first: .*result\.json is damaged.*--damaged"):
        import_sweep(storage / "s", mine)
    assert not list(mine.glob("*")) if mine.exists() else True
    assert [t.status for t in import_sweep(storage / "s", mine, damaged=True).trials()] == ["damaged", "finished"]
    (trial / "result.json").unlink()
    (trial / "result.json").symlink_to("/etc/hostname")
    with pytest.raises(UserError, match=r"damaged|got a link"):
        import_sweep(storage / "s", mine, "linked")
    later = {**json.loads((storage / "s" / "sweep.json").read_text()), "layout": 99}
    (storage / "s" / "sweep.json").write_text(json.dumps(later))
    with pytest.raises(UserError, match="expected layout 2, got 99"):
        import_sweep(storage / "s", mine, "later")


def test_an_import_that_is_interrupted_leaves_nothing(sweep, figures, tmp_path, monkeypatch):
    mine = tmp_path / "mine"
    storage = sweep([({"seed": s}, figures(50.0)) for s in (0, 1)])
    copy, copied = importing._copy, []

    def interrupted(source, target):
        copy(source, target)
        copied.append(target)
        if len(copied) == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(importing, "_copy", interrupted)
        with pytest.raises(KeyboardInterrupt):
            import_sweep(storage / "s", mine)
    assert list(mine.iterdir()) == []
    assert len(import_sweep(storage / "s", mine).trials()) == 2


@pytest.mark.slow
def test_a_sweep_read_back_from_mlflow(sweep, figures, tmp_path):
    """The runs are written by the tracker itself into a real SQLite store."""
    from orchestrator.tracking.addresses import default_uri
    from orchestrator.tracking.tracker import Tracker
    from results.record.sweep_writer import SweepWriter

    more = {"history": [{"epoch": 0, "val/linear": 29.0}, {"epoch": 7, "val/linear": 51.0}]}
    entries = [({"seed": s, "epochs": 7, "read_at": [3]}, figures(50.0 + s, **more)) for s in (0, 1)]
    entries.append(({"seed": 0, "epochs": 7, "objective": "direct(p=4)"}, "out of\nmemory"))
    storage = sweep(entries, yaml="description: x", environment={"commit": "abc", "torch": "2"})
    record = open_sweep(storage, "s")
    for trial in record.trials():
        if trial.result:
            last = {k: v for k, v in trial.result["metrics"].items() if not k.startswith("untrained")}
            first = {"epoch": 0, "at": 1.0, "val/linear": 29.0, "untrained/linear": 30.0, "untrained/knn": 20.0}
            rows = [first, {"epoch": 7, "at": 2.0, **last}]
            (trial.folder / "attempt-0001" / "reports.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    uri = default_uri(storage)
    tracker = Tracker(SweepWriter(open_sweep(storage, "s")), uri, "x")
    tracker.start()
    assert tracker.close("FINISHED")
    parser = argparse.ArgumentParser()
    add_source(parser)
    back = read_source(parser.parse_args(["s", "--from-mlflow", uri]))
    assert {t.digest: t.config for t in back.trials()} == {t.digest: t.config for t in record.trials()}
    assert sorted(t.status for t in back.trials()) == ["failed", "finished", "finished"]
    mine, theirs = (build_tables(r.trials())[0] for r in (record, back))
    assert [(r.settings, r.cells) for r in theirs.rows if r.done] == [(r.settings, r.cells) for r in mine.rows if r.done]
    assert back.meta["environment"]["commit"] == "abc"
    with pytest.raises(UserError, match=r"no sweep 't' in .*; known: s"):
        read_source(parser.parse_args(["t", "--from-mlflow", uri]))
    with pytest.raises(UserError, match="--from-mlflow: no database"):
        read_source(parser.parse_args(["s", "--from-mlflow", f"sqlite:///{tmp_path}/none.db"]))
