import csv
import io
import json
import statistics

import pytest

from results.records import open_sweep
from results.table import build_tables, main, sweep_table
from trainer import TrialConfig, UserError


@pytest.fixture
def sweep(tmp_path):
    """A sweep folder with given figures: ``sweep([(config, metrics or None)])`` → storage folder."""

    def put(entries, name="s"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "sweep.json").write_text(json.dumps({"name": name, "id": "x", "kind": "grid", "trials": len(entries)}))
        for place, (settings, metrics) in enumerate(entries):
            config = TrialConfig(**settings)
            trial = folder / "trials" / config.digest
            trial.mkdir(parents=True)
            (trial / "config.json").write_text(json.dumps({"digest": config.digest, "place": place, "config": config.to_dict()}))
            if metrics is not None:
                history = metrics.pop("history", [])
                record = {"digest": config.digest, "config": config.to_dict(), "metrics": metrics, "history": history}
                (trial / "result.json").write_text(json.dumps(record))
        return tmp_path

    return put


def figures(value, **more):
    return {
        "test/linear": value,
        "test/knn": value - 1,
        "val/linear": value + 1,
        "untrained/linear": 30.0,
        "untrained/knn": 20.0,
        **more,
    }


def test_means_and_deviations_over_seeds(sweep):
    values = {("infonce", 0.1): [80.0, 82.0, 84.5], ("infonce", 0.5): [70.0, 71.0, 72.0]}
    storage = sweep(
        [({"objective": o, "tau": t, "seed": s}, figures(v)) for (o, t), vs in values.items() for s, v in enumerate(vs)]
    )
    (table,) = build_tables(open_sweep(storage, "s").trials())
    assert [row.settings["objective"] for row in table.rows] == ["untrained encoder", "infonce", "infonce"]
    for row, vs in zip(table.rows[1:], values.values(), strict=True):
        assert row.cells["test/linear"].mean == pytest.approx(statistics.mean(vs))
        assert row.cells["test/linear"].std == pytest.approx(statistics.stdev(vs))
        assert row.n == "3"
    assert table.rows[0].cells["test/linear"].text() == "30.00 ± 0.00"
    assert table.best("test/linear") is table.rows[1]


def test_unlike_things_are_not_averaged(sweep):
    entries = [({"seed": 0, "lr": lr, "epochs": e}, figures(50.0)) for lr in (0.1, 0.2) for e in (5, 10)]
    (table,) = build_tables(open_sweep(sweep(entries), "s").trials())
    assert table.settings == ["objective", "tau", "epochs", "lr"]
    assert len(table.rows) == 5
    assert {row.n for row in table.rows} == {"1"}


def test_the_untrained_row_is_left_out_where_probes_differ(sweep):
    storage = sweep([({"knn_k": k}, figures(50.0, **{"untrained/knn": v})) for k, v in ((1, 91.0), (20, 86.0))])
    (table,) = build_tables(open_sweep(storage, "s").trials())
    assert [row.settings["objective"] for row in table.rows] == ["infonce", "infonce"]


def test_gaps_are_marked(sweep):
    storage = sweep([({"seed": 0}, figures(50.0)), ({"seed": 1}, None), ({"seed": 0, "objective": "uniform"}, None)])
    (table,) = build_tables(open_sweep(storage, "s").trials())
    assert [row.n for row in table.rows] == ["1 of 2", "1 of 2", "0 of 1"]
    assert table.rows[2].cells["test/linear"].text() == "–"
    assert table.best("test/linear") is None  # no row is complete


def test_figures_read_on_the_way(sweep):
    metrics = figures(60.0, history=[{"epoch": 100, "test/linear": 55.0}, {"epoch": 300, "test/linear": 58.0}])
    storage = sweep([({"epochs": 500, "read_at": [100, 300]}, metrics)])
    (table,) = build_tables(open_sweep(storage, "s").trials())
    assert table.columns == ["test/linear@100", "test/linear@300", "test/linear", "test/knn", "val/linear"]
    assert [table.rows[1].cells[c].mean for c in table.columns[:3]] == [55, 58, 60]


def test_formats(sweep, capsys):
    storage = sweep([({"seed": s, "dataset": d}, figures(50.0 + s)) for d in ("digits", "folder:a_b") for s in (0, 1)])
    record = open_sweep(storage, "s")
    assert "| infonce | 0.5 | 2 | **50.50 ± 0.71** |" in sweep_table(record, "md")
    rows = list(csv.DictReader(io.StringIO(sweep_table(record, "csv"))))
    assert [r["dataset"] for r in rows] == ["digits", "digits", "folder:a_b", "folder:a_b"]
    assert float(rows[1]["test/linear std"]) == pytest.approx(0.7071, abs=1e-4)
    tex = sweep_table(record, "tex")
    assert r"folder:a\_b" in tex
    assert r"\textbf{50.50 $\pm$ 0.71}" in tex
    assert tex.count(r"\toprule") == 2
    assert "<b>50.50 ± 0.71</b>" in sweep_table(record, "html")
    assert main(["--sweep", "s", "--storage", str(storage)]) == 0
    assert capsys.readouterr().out.endswith(sweep_table(record, "md"))


def test_bad_input(sweep, capsys):
    storage = sweep([({"seed": 0}, figures(50.0)), ({"seed": 1}, None)])
    assert main(["--sweep", "t", "--storage", str(storage)]) == 2
    assert capsys.readouterr().err.endswith("no sweep 't' in " + str(storage) + "; known: s\n")
    sweep([({"seed": 0}, None)], "empty")
    with pytest.raises(UserError, match="has no finished trial yet"):
        sweep_table(open_sweep(storage, "empty"))
    trial = open_sweep(storage, "s").trials()[0].folder
    whole = (trial / "result.json").read_text()
    (trial / "result.json").write_text(whole[:50])
    with pytest.raises(UserError, match=r"result\.json is damaged"):
        sweep_table(open_sweep(storage, "s"))
    (trial / "result.json").write_text(whole.replace(trial.name, "0" * 16))
    with pytest.raises(UserError, match="is the record of trial 0000000000000000, not of this one"):
        sweep_table(open_sweep(storage, "s"))
