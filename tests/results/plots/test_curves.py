"""The pictures: drawn without pyplot, and with what is there."""

import io
import subprocess
import sys

import numpy as np
import optuna
import pytest
from PIL import Image

from orchestrator.tracking.study_plots import draw_search
from results.plots.curves import (
    CURVES,
    Curve,
    accuracy_against_tau,
    draw_figures,
    family_by_tau,
    learning_curves,
    read_curves,
)


def curve(family="infonce", tau=0.5, final=90.0, dataset="digits", seed=0, epochs=5):
    series = {name: {epoch: 10.0 * epoch + seed for epoch in range(epochs)} for name in CURVES}
    return Curve(family, f"{family} · tau {tau}", dataset, tau, 254, final, series)


def is_drawn(figure):
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return len(np.unique(np.asarray(Image.open(out).convert("L")))) > 10


def test_every_dataset_has_its_pictures():
    curves = [curve(f, t, 80 + 10 * t, d) for f in ("infonce", "direct") for t in (0.1, 0.5) for d in ("digits", "folder:/a/b c")]
    figures = draw_figures(curves)
    names = ("accuracy_by_tau", "heat_map", "learning_curves", "effective_negatives")
    assert set(figures) == {f"{d}/{n}.png" for d in ("digits", "a_b_c") for n in names}
    assert all(is_drawn(figure) for figure in figures.values())


def test_nothing_is_drawn_of_nothing_and_unfinished_trials_have_curves_only():
    assert draw_figures([]) == {}
    assert set(draw_figures([curve(final=None)])) == {"digits/learning_curves.png", "digits/effective_negatives.png"}


def test_the_line_is_the_mean_and_the_band_the_deviation_over_trials():
    axes = accuracy_against_tau([curve(final=80.0), curve(final=90.0), curve(tau=1.0, final=70.0)]).axes[0]
    assert axes.lines[0].get_xydata().tolist() == [[0.5, 85.0], [1.0, 70.0]]
    low, high = axes.collections[0].get_paths()[0].get_extents().get_points()[:, 1]
    assert (low, high) == pytest.approx((70.0, 85 + 50**0.5))


def test_a_family_without_tau_is_a_line_across_and_a_column_of_its_own():
    curves = [curve(), curve("uniform", None, 60.0)]
    axes = accuracy_against_tau(curves).axes[0]
    assert axes.lines[1].get_label() == "uniform (no tau)"
    assert list(axes.lines[1].get_ydata()) == [60.0, 60.0]
    heat = family_by_tau(curves).axes[0]
    assert [t.get_text() for t in heat.get_xticklabels()] == ["none", "0.5"]
    assert np.ma.filled(heat.images[0].get_array(), -1).tolist() == [[-1, 90.0], [60.0, -1]]


def test_many_taus_are_put_into_bins_and_none_is_lost():
    curves = [curve(tau=float(tau), final=float(place)) for place, tau in enumerate(np.geomspace(0.02, 2, 57))]
    heat = family_by_tau(curves).axes[0]
    assert len(heat.get_xticklabels()) == 10
    assert accuracy_against_tau([curve(tau=0.3) for _ in range(20)]) is not None


def test_many_lines_are_drawn_by_family():
    assert len(learning_curves([curve(tau=t / 10) for t in range(1, 6)]).axes[0].lines) == 5
    assert len(learning_curves([curve(tau=t / 10) for t in range(1, 20)]).axes[0].lines) == 1


def test_curves_are_read_from_a_sweep_and_damaged_trials_left_out(fake_sweep):
    sweep = fake_sweep()
    first, second, third = sweep.digests[:3]
    sweep.run(first)
    sweep.run(second, range(2))
    sweep.run(third)
    (sweep.folder.trials / third / "result.json").write_text("[]")
    one, two = read_curves(sweep.folder.record.trials())
    assert (one.family, one.tau, one.negatives, sorted(one.series["val/linear"])) == ("infonce", 0.1, 254, [0, 1, 2, 3])
    assert one.final == sweep.folder.read(first).result["metrics"]["test/linear"]
    assert (two.final, sorted(two.series["val/linear"])) == (None, [0, 1])


def searched(trials):
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    for number in range(trials):
        trial = study.ask()
        objective = trial.suggest_categorical("objective", ["direct", "infonce", "uniform"])
        lr = trial.suggest_float("lr", 1e-4, 1e-1, log=True)
        tau = trial.suggest_float("tau", 0.1, 1) if objective != "uniform" else 0.5
        p = trial.suggest_float("direct.p", 1, 8) if objective == "direct" else 0
        state = {3: optuna.trial.TrialState.PRUNED, 5: optuna.trial.TrialState.FAIL}.get(number)
        study.tell(trial, None if state else -abs(np.log10(lr) + 2) + 0.1 * tau + 0.001 * p, state=state)
    return study


def test_a_search_shows_its_history_and_what_mattered():
    figures = draw_search(searched(40))
    assert set(figures) == {"search/history.png", "search/importance.png"}
    assert all(is_drawn(figure) for figure in figures.values())
    labels = [t.get_text() for t in figures["search/importance.png"].axes[0].get_yticklabels()]
    assert labels[-1] == "lr"  # the most important is on top
    assert set(labels) == {"lr", "tau", "objective"}  # few trials have a p
    best = figures["search/history.png"].axes[0].lines[1].get_ydata()
    assert list(best) == sorted(best)


def test_a_search_that_has_just_begun_has_no_importance():
    assert draw_search(None) == {}
    assert draw_search(searched(0)) == {}
    assert set(draw_search(searched(2))) == {"search/history.png"}


def test_pyplot_is_never_loaded():
    code = "import sys, orchestrator.tracking.tracker; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0
