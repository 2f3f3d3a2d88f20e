import csv
import io
import json
import statistics

import pytest

from results.record.reader import open_sweep
from results.table import main, sweep_table
from results.tables.build import build_tables
from results.tables.notes import comparison_notes
from results.tables.sweep import shown_tables, sweep_tables
from trainer import UserError


def test_means_and_deviations_over_seeds(sweep, figures):
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


def test_unlike_things_are_not_averaged(sweep, figures):
    entries = [({"seed": 0, "lr": lr, "epochs": e}, figures(50.0)) for lr in (0.1, 0.2) for e in (5, 10)]
    (table,) = build_tables(open_sweep(sweep(entries), "s").trials())
    assert table.settings == ["objective", "tau", "epochs", "lr"]
    assert len(table.rows) == 5
    assert {row.n for row in table.rows} == {"1"}


def test_untrained_encoders_that_were_probed_differently_have_rows_of_their_own(sweep, figures):
    storage = sweep([({"knn_k": k}, figures(50.0, **{"untrained/knn": v})) for k, v in ((1, 91.0), (20, 86.0))])
    (table,) = build_tables(open_sweep(storage, "s").trials())
    assert [(r.settings["objective"], r.settings["knn_k"]) for r in table.rows[:2]] == [("untrained encoder", k) for k in (1, 20)]
    assert [r.cells["test/knn"].mean for r in table.rows[:2]] == [91, 86]
    assert [r.cells["val/linear"].mean for r in table.rows[:2]] == [29, 29]  # the history's row 0


def test_gaps_are_marked(sweep, figures):
    storage = sweep([({"seed": 0}, figures(50.0)), ({"seed": 1}, None), ({"seed": 0, "objective": "uniform"}, None)])
    (table,) = build_tables(open_sweep(storage, "s").trials())
    assert [row.n for row in table.rows] == ["1 of 2", "1 of 2", "0 of 1"]
    assert table.rows[2].cells["test/linear"].text() == "–"
    assert table.best("test/linear") is None  # no row is complete


def test_figures_read_on_the_way(sweep, figures):
    metrics = figures(60.0, history=[{"epoch": 100, "test/linear": 55.0}, {"epoch": 300, "test/linear": 58.0}])
    storage = sweep([({"epochs": 500, "read_at": [100, 300]}, metrics)])
    (table,) = build_tables(open_sweep(storage, "s").trials())
    assert table.columns == ["test/linear@100", "test/linear@300", "test/linear", "test/knn", "val/linear"]
    assert [table.rows[1].cells[c].mean for c in table.columns[:3]] == [55, 58, 60]


def test_formats(sweep, figures, capsys):
    storage = sweep([({"seed": s, "dataset": d}, figures(50.0 + s)) for d in ("digits", "folder:a_b") for s in (0, 1)])
    record = open_sweep(storage, "s")
    assert "| infonce | 0.5 | 2 | **50.50 ± 0.71** |" in sweep_table(record, "md")
    rows = list(csv.DictReader(io.StringIO(sweep_table(record, "csv"))))
    assert [r["dataset"] for r in rows] == ["digits", "digits", "folder:a_b", "folder:a_b"]
    assert float(rows[1]["test/linear std"]) == pytest.approx(0.7071, abs=1e-4)
    tex = sweep_table(record, "tex")
    assert r"folder:a\_b" in tex
    assert r"\textbf{50.50} {\scriptsize$\pm$\,0.71}" in tex
    assert tex.count(r"\toprule") == 2
    assert "<b>50.50 ± 0.71</b>" in sweep_table(record, "html")
    assert main(["--sweep", "s", "--storage", str(storage)]) == 0
    assert capsys.readouterr().out.endswith(sweep_table(record, "md"))


def test_best_and_second_and_ties(sweep, figures):
    values = {"infonce": 80.0, "entropy": 82.0, "square": 82.0, "uniform": 79.0}
    storage = sweep([({"objective": o, "seed": s}, figures(v + s)) for o, v in values.items() for s in (0, 1)])
    (table,) = build_tables(open_sweep(storage, "s").trials())
    assert table.marks("test/linear") == ["", "second", "best", "best", ""]


def test_infonce_is_the_one_that_is_best_on_held_out_images(sweep, figures):
    # infonce at 0.1 is better on test, at 0.5 on the held-out images: that one is compared with
    entries = [({"tau": 0.1, "seed": s}, figures(90.0 + s, **{"val/linear": 50.0})) for s in range(3)]
    entries += [({"tau": 0.5, "seed": s}, figures(80.0 + s, **{"val/linear": 60.0})) for s in range(3)]
    entries += [({"objective": "entropy", "tau": 0.5, "seed": s}, figures(81.0 + 2 * s)) for s in range(3)]
    entries += [({"objective": "uniform", "seed": s, "epochs": 5}, figures(20.0)) for s in range(3)]
    table = build_tables(open_sweep(sweep(entries), "s").trials())[0]
    by = {row.label: row for row in table.rows}
    assert by["infonce, tau 0.5, epochs 100"].is_reference
    found = by["entropy, tau 0.5, epochs 100"].against["test/linear"]
    # differences 1, 2, 3: p = 0.0742; the other, infonce at 0.1, differs by 10 at every seed, which can't be tested
    assert (found.difference, found.n) == (2, 3)
    assert found.p == pytest.approx(0.0742, abs=1e-4)
    assert found.p_holm == pytest.approx(found.p)
    assert found.interval == pytest.approx((2 - 4.3027 / 3**0.5, 2 + 4.3027 / 3**0.5), abs=1e-3)  # t of 2 degrees, deviation 1
    assert not by["uniform, epochs 5"].against  # another protocol: nothing to compare with


def test_holms_correction_is_over_the_comparisons_of_all_protocols(sweep, figures):
    entries = []
    for epochs in (5, 10):  # two protocols, with a reference each
        entries += [({"seed": s, "epochs": epochs}, figures(80.0 + s)) for s in range(3)]
        entries += [({"objective": "uniform", "seed": s, "epochs": epochs}, figures(81.0 + 2 * s)) for s in range(3)]
    table = build_tables(open_sweep(sweep(entries), "s").trials())[0]
    found = [row.against["test/linear"] for row in table.rows if row.settings["objective"] == "uniform"]
    assert [c.p for c in found] == pytest.approx([0.0742, 0.0742], abs=1e-4)
    assert [c.p_holm for c in found] == pytest.approx([2 * 0.0742] * 2, abs=2e-4)
    assert "p after Holm's correction for 2 comparisons" in " ".join(comparison_notes(table))


def test_stopped_failed_and_damaged_trials_are_gaps_and_never_averaged(sweep, figures):
    entries = [
        ({"seed": 0}, figures(50.0)),
        ({"seed": 1}, 5),
        ({"seed": 2}, "Out of memory"),
        ({"seed": 3}, figures(90.0)),
        ({"seed": 4}, None),
    ]
    record = open_sweep(sweep(entries, yaml="x: 1"), "s")
    trial = record.trials()[3].folder / "result.json"
    trial.write_text(trial.read_text().replace("90.0", "190.0"))
    (table,) = sweep_tables(record)
    row = table.rows[1]
    assert (row.n, row.cells["test/linear"].values) == ("1 of 5", (50,))
    notes = "\n".join(table.notes)
    assert "PARTIAL: 1 of 5 trials are finished" in notes
    assert "Stopped early, so without a final figure: infonce, tau 0.5 on digits, seed 1; to run one to its end:" in notes
    assert "`python -m trainer --seed 1 --record" in notes
    assert "seed 2: failed: Out of memory; run: `alphacl retry s failed --storage" in notes
    assert "result.json is damaged: expected 0 <= test/linear <= 100, got 190.0" in notes
    assert "seed 4: not begun; run: `alphacl resume s --storage" in notes


def test_a_searchs_result_is_what_fresh_seeds_confirm(sweep, figures):
    entries = [({"tau": t, "seed": 0}, figures(v)) for t, v in ((0.1, 80.0), (0.5, 85.0))]
    entries += [({"tau": 0.5, "seed": s, "role": "confirm"}, figures(v)) for s, v in ((1, 82.0), (2, 83.0), (3, 84.0))]
    confirmed, tried = sweep_tables(open_sweep(sweep(entries, kind="search", trials=2), "s"))
    (row,) = [r for r in confirmed.rows if r.kind == "confirm"]
    assert row.cells["test/linear"].values == (82, 83, 84)  # the selected run's own 85 is not among them
    assert row.cells["val/linear at selection"].values == (86,)
    assert row.cells["val/linear"].mean == 84
    assert any("val/linear is −2.00 points from the figure at selection" in n for n in confirmed.notes)
    assert "not its result" in tried.title
    assert [r.n for r in tried.rows[1:]] == ["1", "1"]


def test_a_search_without_confirmation_says_what_its_best_is_worth(sweep, figures):
    storage = sweep([({"seed": 0}, figures(50.0))], kind="search", yaml="search: {metric: val/knn}")
    (table,) = sweep_tables(open_sweep(storage, "s"))
    assert any("best val/knn is the largest of many and flatters" in note for note in table.notes)


def test_runs_made_with_different_things_are_said(sweep, figures):
    entries = [
        ({"seed": s}, figures(50.0, environment={"commit": c, "precision": p}))
        for s, c, p in ((0, "a", "bf16"), (1, "b", "float32"))
    ]
    (table,) = build_tables(open_sweep(sweep(entries), "s").trials())
    assert table.notes == ["Made with more than one commit: a, b.", "Made with more than one precision: bf16, float32."]


def test_bad_input(sweep, figures, capsys):
    storage = sweep([({"seed": 0}, figures(50.0)), ({"seed": 1}, None)])
    assert main(["--sweep", "t", "--storage", str(storage)]) == 2
    assert capsys.readouterr().err.endswith("no sweep 't' in " + str(storage) + "; known: s\n")
    sweep([({"seed": 0}, None)], "empty")
    with pytest.raises(UserError, match="has no finished trial yet"):
        sweep_table(open_sweep(storage, "empty"))
    trial = open_sweep(storage, "s").trials()[0].folder
    whole = (trial / "result.json").read_text()
    changes = {
        whole[:50]: r"result\.json is damaged",
        whole.replace(trial.name, "0" * 16): "is the record of trial 0000000000000000, not of this one",
        whole.replace("50.0", "NaN"): r"expected 0 <= test/linear <= 100, got nan",
        whole.replace("50.0", "-1"): r"expected 0 <= test/linear <= 100, got -1",
        whole.replace('"lr": 0.001', '"lr": 0.01'): "its configuration is not that of config.json",
        json.dumps({**json.loads(whole), "metrics": None}): "metrics: expected a valid dictionary, got None",
    }
    for text, message in changes.items():
        (trial / "result.json").write_text(text)
        with pytest.raises(UserError, match=message):
            sweep_table(open_sweep(storage, "s"))


def test_a_configuration_edited_after_it_was_named(sweep, figures, capsys):
    storage = sweep([({"seed": 0}, figures(50.0)), ({"seed": 1}, figures(60.0))])
    trial = open_sweep(storage, "s").trials()[0].folder
    for name in ("config.json", "result.json"):
        (trial / name).write_text((trial / name).read_text().replace('"lr": 0.001', '"lr": 0.01'))
    assert main(["--sweep", "s", "--storage", str(storage)]) == 0
    out = capsys.readouterr().out
    assert f"its digest {trial.name} is not that of its configuration" in out
    assert "| infonce | 0.5 | 1 | **60.00** |" in out  # the rest is shown


def big_search(sweep, figures, count=130):
    """A finished search of many configurations, the best of which have the highest rates."""
    entries = [
        ({"objective": "infonce" if number == 3 else "square", "lr": 0.001 + number * 1e-5}, figures(20.0 + number / 10))
        for number in range(count)
    ]
    return open_sweep(sweep(entries, kind="search", yaml="search: {sampler: random}"), "s")


def test_a_large_search_shows_its_best_hundred_and_the_csv_has_all(sweep, figures):
    record = big_search(sweep, figures)
    (whole,), (shown,) = sweep_tables(record), shown_tables(record)
    best = sorted((r for r in whole.rows if r.kind != "untrained"), key=lambda r: -r.cells["val/linear"].mean)[:100]
    assert [r.label for r in shown.rows] == [whole.rows[0].label, "infonce, tau 0.5, lr 0.00103", *(r.label for r in best)]
    assert [r.cells for r in shown.rows[2:]] == [r.cells for r in best], "the same figures as in the whole table"
    assert shown.rows[1].is_reference, "what the others are compared with stays"
    assert shown.notes[0].startswith("The best 100 of 130 configurations by mean val/linear; `alphacl table s ")
    assert len(sweep_table(record, "csv").splitlines()) == 1 + 1 + 130
    assert sweep_table(record, "md").count("\n| square") == 100
    assert whole.top(130) is whole


def test_a_searchs_rows_are_sorted_and_its_stopped_ones_folded_until_all_are_asked_for(sweep, figures):
    entries = [({"tau": 0.1}, figures(50.0)), ({"tau": 0.2}, 3), ({"tau": 0.3}, figures(70.0)), ({"tau": 0.4}, "no memory")]
    record = open_sweep(sweep([*entries, ({"tau": 0.5}, 5)], kind="search", yaml="search: {sampler: random}"), "s")
    (shown,), (everything,) = shown_tables(record), shown_tables(record, everything=True)
    assert [row.settings.get("tau") for row in shown.rows] == [None, 0.3, 0.1, 0.4]
    assert shown.notes[0].startswith("… 2 more configurations stopped before the end, without a final figure; `alphacl table s ")
    assert shown.notes[0].endswith(" --all` shows them.")
    assert [row.n for row in everything.rows[1:]] == ["1", "1", "stopped", "0 of 1", "stopped"]
    assert sweep_table(record, everything=True).count("stopped |") == 2
