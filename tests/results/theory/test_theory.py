"""The scripts of the max player's theory: their pieces against definitions, and short runs of the whole."""

import pytest
import torch

from results.theory import draw_alphas, pca, relu_rank
from results.theory.patches import (
    contrastive_covariance,
    fixed_alpha,
    patch_energy,
    photo_patches,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def patches():
    first, second = photo_patches(30, seed=1)
    return first, second, fixed_alpha(first, second, "direct(p=4)", 0.2)


def test_patches_are_real_and_centred(patches):
    first, second, _ = patches
    assert first.shape == second.shape == (30, 64)
    assert torch.cat([first, second]).mean(dim=0).abs().max() < 1e-12
    together = torch.nn.functional.cosine_similarity(first, second, dim=1).mean()
    apart = torch.nn.functional.cosine_similarity(first, second.roll(1, 0), dim=1).mean()
    assert together > apart + 0.3


def test_alpha_leaves_out_the_anchor_and_its_positive(patches):
    _, _, alpha = patches
    assert torch.equal(alpha.diagonal(), torch.zeros(60, dtype=alpha.dtype))
    assert all(alpha[i, (i + 30) % 60] == 0 for i in range(60))
    torch.testing.assert_close(alpha.sum(dim=1), torch.ones(60, dtype=alpha.dtype))


def test_half_the_trace_of_the_covariance_is_the_energy(patches):
    first, second, alpha = patches
    assert contrastive_covariance(first, second, alpha).trace().item() / 2 == pytest.approx(patch_energy(first, second, alpha))
    w = torch.randn(5, 64, dtype=torch.float64)
    through = contrastive_covariance(first, second, alpha)
    assert ((w @ through) * w).sum().item() / 2 == pytest.approx(patch_energy(first @ w.T, second @ w.T, alpha))
    batch = contrastive_covariance(torch.stack([first, 2 * first]), torch.stack([second, 2 * second]), alpha)
    torch.testing.assert_close(batch[1], 4 * through)


def test_a_deep_linear_network_does_pca(tmp_path, capsys):
    assert pca.main(["--starts", "8", "--steps", "300", "--out", str(tmp_path / "p.png")]) == 0
    out = capsys.readouterr().out
    assert "confirms" in out
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


def test_the_verdict_can_be_the_other(patches):
    first, second, alpha = patches
    short = pca.maximise(contrastive_covariance(first, second, alpha), depth=3, starts=4, steps=2, seed=0)
    assert "contradicts" in pca.verdict({"x": [short]})


def test_relu_networks_reach_higher_ranks(tmp_path):
    x, y = relu_rank.one_hot_patterns()
    alpha = fixed_alpha(x, y, "uniform", 1.0)
    cases = [relu_rank.maximise("p", x, y, alpha, "rows", relu, 4, 600, 0) for relu in (False, True)]
    linear, relu = (case.rank[case.at_fixed_point] for case in cases)
    assert len(linear) >= 2
    assert len(relu) >= 2
    assert linear.max() == 1
    assert relu.min() > 1
    assert "confirms" in relu_rank.verdict(cases)
    assert "contradicts" in relu_rank.verdict(cases[:1])
    relu_rank.draw(cases, tmp_path / "r.png")
    assert "| p | rows | ReLU |" in relu_rank.table(cases)


def test_the_picture_of_alphas_shows_every_constructor_and_loss(tmp_path):
    from trainer.alphas import CONSTRUCTORS
    from trainer.losses import LOSSES

    shown = {name.partition("(")[0] for name in draw_alphas.SHOWN}
    built_in = {n for n, c in {**CONSTRUCTORS, **LOSSES}.items() if c.function.__module__.startswith("trainer.")}
    assert shown == built_in - set(draw_alphas.LEFT_OUT)
    assert draw_alphas.main(["--out", str(tmp_path / "a.png")]) == 0
