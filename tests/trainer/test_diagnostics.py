import math

import pytest
import torch

from trainer import TrialConfig, diagnostics, run_trial
from trainer.objectives import make_objective
from trainer.pairs import pair_distances


def sphere(n, dim):
    return torch.nn.functional.normalize(torch.randn(n, dim), dim=1)


def test_uniform_and_one_hot_alphas_are_the_two_extremes():
    alpha = torch.full((4, 10), 0.1)
    one_hot = torch.eye(10)[:4]
    assert diagnostics.alpha_entropy(alpha) == pytest.approx(math.log(10), rel=1e-5)
    assert diagnostics.effective_negatives(alpha) == pytest.approx(10, rel=1e-5)
    assert diagnostics.alpha_entropy(one_hot) == 0
    assert diagnostics.effective_negatives(one_hot) == 1
    assert diagnostics.sparsity(one_hot) == pytest.approx(0.9)
    assert diagnostics.effective_negatives(torch.zeros(4, 10)) == 0


def test_the_scale_of_alpha_does_not_matter(seed):
    alpha = torch.rand(6, 8)
    assert diagnostics.alpha_entropy(7 * alpha) == pytest.approx(diagnostics.alpha_entropy(alpha), rel=1e-5)


def test_hardest_share():
    inter = torch.arange(200.0).repeat(3, 1)
    alpha = torch.zeros(3, 200)
    alpha[:, :2] = 0.25  # the nearest 1 % are two
    alpha[:, 150] = 0.5
    assert diagnostics.hardest_share(alpha, inter) == pytest.approx(0.5)


def test_collapse_is_visible(seed):
    spread, point = sphere(64, 16), sphere(1, 16).expand(64, -1)
    assert diagnostics.rank_me(point) == pytest.approx(1, abs=0.01)
    assert diagnostics.rank_me(spread) > 12
    d_spread, d_point = pair_distances(spread, spread).detach(), pair_distances(point, point).detach()
    assert diagnostics.uniformity(d_point) == pytest.approx(0, abs=1e-4)
    assert diagnostics.uniformity(d_spread) < -2
    assert diagnostics.alignment(d_spread) == pytest.approx(0, abs=1e-5)


def test_alignment_and_uniformity_by_their_definitions(seed):
    a, b = sphere(5, 3), sphere(5, 3)
    d = pair_distances(a, b).detach()
    assert diagnostics.alignment(d) == pytest.approx((a - b).square().sum(1).mean().item(), rel=1e-4)
    z = torch.cat([a, b])
    pairs = [math.exp(-2 * (z[i] - z[j]).square().sum().item()) for i in range(10) for j in range(10) if i % 5 != j % 5]
    assert diagnostics.uniformity(d) == pytest.approx(math.log(sum(pairs) / len(pairs)), rel=1e-4)


@pytest.mark.parametrize("name", ["infonce", "square", "triplet", "uniform"])
def test_all_figures_are_finite_and_the_energy_is_the_objectives(name, seed):
    a, b = sphere(16, 8), sphere(16, 8)
    objective = make_objective(name, 0.3)
    figures = diagnostics.diagnose(objective, a, b, torch.cat([a, b]))
    assert all(math.isfinite(v) for v in figures.values())
    if name in ("square", "uniform"):
        assert figures["alpha/energy"] == pytest.approx(-objective(a, b).item(), abs=1e-5)


def test_every_epoch_reports_them(data_root):
    reports = list(run_trial(TrialConfig(images=300, epochs=2, batch_size=64), threads=1))
    for report in reports[1:]:
        assert {"alpha/effective_negatives", "alpha/hardest_1pct", "embedding/rank", "feature/rank"} <= set(report.metrics)
    assert 1 <= reports[-1].metrics["alpha/effective_negatives"] <= 126
