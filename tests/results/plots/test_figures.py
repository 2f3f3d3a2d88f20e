"""The pictures of a sweep: drawn without pyplot, and with what is there."""

import io
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from results.plots.figures import curves, heat_map, pictures_of, sensitivity
from results.plots.style import to_png
from results.record.reader import open_sweep
from results.tables.best_of_families import best_of_families
from results.tables.build import build_tables
from results.tables.series import series_of
from trainer.files import write_json

pytestmark = pytest.mark.slow


def history(value, epochs=5):
    rows = [{"epoch": e, "val/linear": value - epochs + e, "alpha/effective_negatives": 200.0 - e} for e in range(epochs + 1)]
    return {"history": rows}


@pytest.fixture
def made(sweep, figures):
    """``made([(objective, tau, seed, value)])`` → the sweep's trials, all finished with that accuracy."""

    def make(entries):
        settings = [({"objective": o, "tau": t, "seed": s, "epochs": 5}, figures(v, **history(v))) for o, t, s, v in entries]
        return open_sweep(sweep(settings), "s").trials()

    return make


def pictures(trials, unfinished=False):
    (table,) = build_tables(trials)
    return {p.name: p for p in pictures_of(table, table, unfinished)}


def is_drawn(figure):
    return len(np.unique(np.asarray(Image.open(io.BytesIO(to_png(figure))).convert("L")))) > 10


def test_a_grid_has_all_its_pictures(made):
    drawn = pictures(made([(o, t, s, 80 + 10 * t + s) for o in ("infonce", "direct") for t in (0.1, 0.5) for s in (0, 1)]))
    assert set(drawn) == {
        "accuracy_by_family",
        "accuracy",
        "accuracy_by_tau",
        "heat_map",
        "learning_curves",
        "effective_negatives",
    }
    assert all(is_drawn(p.figure) for p in drawn.values())
    assert all(p.caption for p in drawn.values())


def test_a_single_temperature_is_no_curve_over_it(made):
    assert set(pictures(made([("infonce", 0.5, s, 80.0 + s) for s in (0, 1)]))) == {
        "accuracy", "learning_curves", "effective_negatives"
    }  # fmt: skip


def test_the_line_is_the_mean_and_the_band_the_deviation_over_seeds(made):
    trials = made([("infonce", 0.5, 0, 80.0), ("infonce", 0.5, 1, 90.0), ("infonce", 1.0, 0, 70.0)])
    axes = sensitivity(series_of(trials, "tau", "test/linear"), trials, "tau", "test/linear").axes[0]
    assert axes.lines[0].get_xydata().tolist() == [[0.5, 85.0], [1.0, 70.0]]
    low, high = axes.collections[0].get_paths()[0].get_extents().get_points()[:, 1]
    assert (low, high) == pytest.approx((70.0, 85 + 50**0.5))


def test_a_family_without_tau_is_a_column_of_its_own(made):
    trials = made([("infonce", 0.5, 0, 90.0), ("infonce", 1.0, 0, 80.0), ("uniform", None, 0, 60.0)])
    heat = heat_map(series_of(trials, "tau", "test/linear"), "tau", "test/linear").axes[0]
    assert [t.get_text() for t in heat.get_xticklabels()] == ["none", "0.5", "1"]
    assert np.ma.filled(heat.images[0].get_array(), -1).tolist() == [[-1, 90.0, 80.0], [60.0, -1, -1]]


def test_many_taus_are_put_into_bins_and_none_is_lost(made):
    taus = [float(f"{t:.4g}") for t in np.geomspace(0.02, 2, 57)]
    trials = made([*(("infonce", t, 0, float(i)) for i, t in enumerate(taus)), ("direct", 0.5, 0, 50.0)])
    heat = heat_map(series_of(trials, "tau", "test/linear"), "tau", "test/linear").axes[0]
    assert len(heat.get_xticklabels()) == 12
    row = np.ma.filled(heat.images[0].get_array(), np.nan)[0]
    assert np.nanmax(row) == 56.0
    assert not np.isnan(row).any()


def test_a_search_has_no_legend_that_nobody_could_read(made):
    trials = made([(f"direct(p={1 + i / 10})", 0.1 + i / 100, 0, 50.0 + i) for i in range(30)])
    axes = sensitivity(series_of(trials, "tau", "test/linear"), trials, "tau", "test/linear").axes[0]
    assert axes.get_legend() is None
    assert [t.get_text() for t in axes.get_xticklabels()] == ["0.1", "0.2", "0.3"]  # round numbers
    assert len([a for a in curves(build_tables(trials)[0].rows[1:17], "val/linear").axes if a.get_visible()]) == 16


def test_trials_that_run_have_curves_where_they_are_asked_for_and_damaged_ones_have_none(fake_sweep):
    sweep = fake_sweep()
    first, second, third = sweep.digests[:3]
    sweep.run(first, range(2))
    sweep.run(second, range(2))
    sweep.run(third)
    trials = sweep.folder.record.trials()[:2]
    assert pictures(trials) == {}
    assert set(pictures(trials, unfinished=True)) == {"learning_curves", "effective_negatives"}
    write_json(sweep.folder.trials / third / "result.json", {"digest": third, "metrics": []})
    (table,) = build_tables(sweep.folder.record.trials()[:3])
    shown = curves(table.rows, "val/linear", unfinished=True)
    epochs = [axis.lines[-1].get_xdata().tolist() for axis in shown.axes if axis.get_visible() and axis.lines]
    assert epochs == [[0, 1]]


def test_the_best_of_each_family_is_what_the_curves_show(made):
    trials = made([(o, t, 0, 80 + 10 * t) for o in ("infonce", "direct") for t in (0.1, 0.5)])
    (table,) = build_tables(trials)
    drawn = {p.name: p.figure for p in pictures_of(table, best_of_families(table, "val/linear"))}
    titles = [a.get_title() for a in drawn["learning_curves"].axes if a.get_visible()]
    assert titles == ["infonce, tau 0.5", "direct, tau 0.5"]


def test_pyplot_is_never_loaded():
    code = "import sys, orchestrator.tracking.tracker, results.plots.figures; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0


def test_an_interval_is_students_and_a_title_is_wrapped():
    from results.plots.by_family import interval
    from results.plots.style import TITLE, add_title, new
    from results.tables.model import Cell

    assert interval(Cell((1.0, 2.0, 3.0))) == pytest.approx(4.302653 / 3**0.5, rel=1e-6)
    assert interval(Cell((1.0, 2.0))) is None
    _, (axis,) = new(3, 2)
    add_title(axis, "direct(p=4.814), tau 0.1407, lr 0.002889, batch_size 128")
    assert max(map(len, axis.get_title().splitlines())) <= TITLE


def test_what_is_pointed_at_is_told_in_the_picture():
    from results.plots.style import add_tip, new, to_svg

    figure, (axis,) = new(3, 2)
    (line,) = axis.plot([0, 1], [0, 1])
    add_tip(line, "a < b")
    assert re.search(r'<g id="x-tip-0" class="tip"><title>a &lt; b</title>', to_svg(figure, "x", "label"))


def test_many_series_are_a_cloud_and_the_best_of_them_lines(made):
    trials = made([(f"direct(p={p})", t, 0, 50.0 + p / 10) for p in range(1, 61) for t in (0.1, 0.5)])
    (axes,) = sensitivity(series_of(trials, "tau", "test/linear"), trials, "tau", "test/linear").axes[:1]
    cloud, *lines = [line for line in axes.lines if len(line.get_xdata()) > 1 and line.get_linestyle() in ("None", "-")]
    assert len(cloud.get_xdata()) == 120, "every mean is shown"
    assert cloud.get_rasterized(), "as one image, so that a page stays small"
    assert len(lines) == 24
    assert min(min(line.get_ydata()) for line in lines) == pytest.approx(53.7)
