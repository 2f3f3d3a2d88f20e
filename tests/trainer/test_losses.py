"""Objectives against the formulas: naive loops, Theorem 1, values worked out by hand."""

import math

import pytest
import torch

from tests.trainer.naive import NAIVE, TABLE, WEIGHTS, naive
from trainer.losses import LOSSES
from trainer.objectives import make_objective, objective_names

ALTERNATIVES = {
    "infonce": {"eps": 0}, "triplet": {"margin": 0.1}, "soft_triplet": {"margin": -0.3}, "lifted_structured": {"margin": -0.7},
    "modified_triplet": {"c": 2.5},
}  # fmt: skip
CASES = [(name, {}) for name in TABLE] + list(ALTERNATIVES.items())


def call(name, parameters):
    return f"{name}({', '.join(f'{k}={v}' for k, v in parameters.items())})" if parameters else name


@pytest.mark.parametrize(("name", "parameters"), CASES)
def test_a_loss_equals_the_naive_loop(name, parameters, seed, views):
    for tau in (0.1, 0.5, 2.0):
        view1, view2 = views(seed)
        phi, _, psi, _ = TABLE[name](tau, **parameters)
        expected = [phi(sum(psi(own - other) for other in others)) for own, others in naive(view1, view2)]
        value = make_objective(call(name, parameters), tau)(view1, view2)
        assert value.dtype == torch.float64
        assert value.item() == pytest.approx(sum(expected) / len(expected), rel=1e-10)


RANGES = {"eps": (0, 3), "margin": (-0.5, 1), "c": (0.5, 10)}


@pytest.mark.parametrize("name", TABLE)
def test_theorem_1_the_losses_gradient_is_that_of_minus_the_energy(name, seed, views):
    """∇L = −∇E_α for α = φ′(ξ)ψ′(·) held constant, α here from the table by hand; 25 random N, D, τ and hyper-parameters each."""
    for offset in range(25):
        tau = 10 ** torch.empty(()).uniform_(-1, 0.5).item()
        parameters = {k: round(torch.empty(()).uniform_(*RANGES[k]).item(), 3) for k in LOSSES[name].parameters}
        view1, view2 = (v.requires_grad_() for v in views(seed + offset))
        _, dphi, psi, dpsi = TABLE[name](tau, **parameters)
        z, n = torch.cat([view1, view2]), len(view1)
        squared = (z[:, None] - z[None]).square().sum(dim=2) / 2
        minus_energy = torch.zeros((), dtype=torch.float64)
        for i, (own, others) in enumerate(naive(view1.detach(), view2.detach())):
            xi = sum(psi(own - other) for other in others)
            negatives = [j for j in range(2 * n) if j % n != i % n]
            for j, other in zip(negatives, others, strict=True):
                minus_energy = minus_energy - dphi(xi) * dpsi(own - other) * (squared[i, j] - squared[i, (i + n) % (2 * n)])
        expected = torch.autograd.grad(minus_energy / (2 * n), (view1, view2))
        objective = make_objective(call(name, parameters), tau)
        found = torch.autograd.grad(objective(view1, view2), (view1, view2))
        implied = torch.autograd.grad(make_objective(f"alpha_of({call(name, parameters)})", tau)(view1, view2), (view1, view2))
        scale = max(g.abs().max().item() for g in expected)
        for e, f, i in zip(expected, found, implied, strict=True):
            assert (e - f).abs().max().item() <= 1e-10 * scale
            assert (e - i).abs().max().item() <= 1e-10 * scale


@pytest.mark.parametrize("name", WEIGHTS)
def test_a_constructors_objective_equals_the_naive_loop(name, seed, views):
    for tau in (0.2, 0.5, 2.0):
        view1, view2 = views(seed)
        total = 0.0
        for own, others in naive(view1, view2):
            weights = WEIGHTS[name](others, tau)
            total += sum(w / sum(weights) * (own - other) for w, other in zip(weights, others, strict=True))
        assert make_objective(name, tau)(view1, view2).item() == pytest.approx(total / (2 * len(view1)), rel=1e-7, abs=1e-9)


@pytest.mark.parametrize("name", [n for n, function in NAIVE.items() if function])
def test_an_objective_of_pairs_equals_the_naive_loop(name, seed, views):
    for tau in (0.2, 0.5, 2.0):
        view1, view2 = views(seed)
        values = NAIVE[name](list(naive(view1, view2)), tau)
        found = make_objective(name, tau)(view1, view2).item()
        assert found == pytest.approx(sum(values) / len(values), rel=1e-7, abs=1e-9)


def test_the_spectral_objective_has_the_gradient_of_its_loss(seed, views):
    view1, view2 = (v.requires_grad_() for v in views(seed))
    n = len(view1)
    similarities = torch.cat([view1, view2]) @ torch.cat([view1, view2]).T
    image = torch.arange(2 * n) % n
    negatives = similarities[image[:, None] != image[None]].view(2 * n, -1)
    # The sphere's own: similarities of unit vectors, whose distances d² = 1 − s also hold the vectors' lengths.
    loss = (-2 * similarities[torch.arange(2 * n), (torch.arange(2 * n) + n) % (2 * n)] + negatives.square().mean(dim=1)).mean()
    expected = torch.autograd.grad(loss, (view1, view2))
    found = torch.autograd.grad(make_objective("spectral")(view1, view2), (view1, view2))
    for e, f, v in zip(expected, found, (view1, view2), strict=True):
        along = [g - (g * v).sum(dim=1, keepdim=True) * v for g in (e, f)]  # what normalisation lets through
        torch.testing.assert_close(along[0], along[1], rtol=1e-9, atol=1e-12)


def test_the_hard_negatives_held_constant_are_entropy_at_a_lower_temperature(seed, views):
    """OBJECTIVES.md says so of ``hard_negatives``; the weights of the released code are computed by hand."""
    view1, view2 = views(seed)
    for (_, others), row in zip(naive(view1, view2), make_objective("entropy", 0.5 / 2.5).alpha(view1, view2), strict=True):
        n = [math.exp((1 - o) / 0.5) for o in others]
        weights = [x**1.5 * x for x in n]
        assert sorted(w / sum(weights) for w in weights) == pytest.approx(sorted(row.tolist()), rel=1e-9)


def test_kernel_infonce_of_a_gaussian_is_infonce_at_half_the_temperature(seed, views):
    pair = views(seed)
    found = make_objective("kernel_infonce(gamma=2)", 0.6)(*pair).item()
    assert found == pytest.approx(2 * make_objective("infonce", 0.3)(*pair).item(), rel=1e-9)


def test_vicreg_and_barlow_twins_equal_their_naive_loops(seed):
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.randn(2, 7, 4, generator=generator, dtype=torch.float64)
    rows, n, dims = (first.tolist(), second.tolist()), 7, 4

    def column(view, k):
        return [row[k] for row in rows[view]]

    def covariance(a, b, divisor):
        return sum((x - sum(a) / n) * (y - sum(b) / n) for x, y in zip(a, b, strict=True)) / divisor

    distance = sum((first[i, k] - second[i, k]).item() ** 2 for i in range(n) for k in range(dims)) / (n * dims)
    hinge = sum(max(0, 1 - math.sqrt(covariance(column(v, k), column(v, k), n - 1) + 1e-4)) for v in (0, 1) for k in range(dims))
    off = sum(
        covariance(column(v, k), column(v, m), n - 1) ** 2 for v in (0, 1) for k in range(dims) for m in range(dims) if k != m
    )
    expected = 2 * distance + 3 * hinge / dims / 2 + 0.5 * off / dims
    objective = make_objective("vicreg(invariance=2, variance=3, covariance=0.5)")
    assert objective(first, second).item() == pytest.approx(expected, rel=1e-9)

    def correlation(k, m):
        spread = [math.sqrt(covariance(column(v, c), column(v, c), n) + 1e-5) for v, c in ((0, k), (1, m))]
        return covariance(column(0, k), column(1, m), n) / (spread[0] * spread[1])

    expected = sum((1 - correlation(k, k)) ** 2 for k in range(dims))
    expected += 0.3 * sum(correlation(k, m) ** 2 for k in range(dims) for m in range(dims) if k != m)
    assert make_objective("barlow_twins(redundancy=0.3)")(first, second).item() == pytest.approx(expected, rel=1e-9)


PURE = ["adnce(eps=1)", "sinkhorn", "debiased(prior=0)"]  # of the objectives added to the family, those that are α-CL


@pytest.mark.parametrize("name", PURE)
def test_pure_alpha_cl_depends_on_gaps_alone(name, seed, views):
    """β_i = Σ_j α_ij: the loss does not change when all similarities of an anchor shift together (section 3)."""
    alpha, beta = make_objective(name, 0.5).alpha_beta(*views(seed, n=6, dim=4))
    if beta is not None:
        torch.testing.assert_close(beta[:, 0], alpha.sum(dim=1), rtol=1e-6, atol=1e-9)


def test_every_objective_has_its_naive_loop():
    covered = {name.partition("(")[0] for name in [*TABLE, *WEIGHTS]}
    assert covered | {n.partition("(")[0] for n in NAIVE} == set(objective_names()) - {"alpha_of", "formula"}


def test_infonce_is_cross_entropy_times_tau(seed, views):
    view1, view2 = (v.float() for v in views(seed, n=16, dim=8))
    z = torch.cat([view1, view2])
    logits = (z @ z.T / 0.2).fill_diagonal_(-math.inf)
    target = (torch.arange(32) + 16) % 32
    expected = 0.2 * torch.nn.functional.cross_entropy(logits, target)
    torch.testing.assert_close(make_objective("infonce", 0.2)(view1, view2), expected)


def test_entropy_has_the_gradient_of_the_decoupled_infonce(seed, views):
    view1, view2 = (v.requires_grad_() for v in views(seed))
    first, second = (
        torch.autograd.grad(make_objective(name, 0.3)(view1, view2), (view1, view2)) for name in ("entropy", "infonce(eps=0)")
    )
    torch.testing.assert_close(first, second, rtol=1e-10, atol=1e-14)


def test_three_images_worked_out_by_hand():
    """Two images at right angles, a third opposite the first; both views the same. Every anchor has d²_i = 0."""
    view = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)
    # Anchors 1 and 3 see distances (1, 1, 2, 2), anchor 2 sees (1, 1, 1, 1); so with the gaps −1 and −2:
    e1, e2 = math.exp(-1), math.exp(-2)
    by_hand = {
        "uniform": -(2 * 1.5 + 1.0) / 3,
        "triplet_contrastive": (2 * -6 - 4) / 3,
        "mine": (2 * math.log(2 * e1 + 2 * e2) + math.log(4 * e1)) / 3,
        "infonce": (2 * math.log(1 + 2 * e1 + 2 * e2) + math.log(1 + 4 * e1)) / 3,
        "entropy": -(2 * (2 * e1 * 1 + 2 * e2 * 2) / (2 * e1 + 2 * e2) + 1) / 3,
        "triplet(margin=1.5)": (2 * 2 * 0.5 + 4 * 0.5) / 3,
        # the projection of (−1, −1, −2, −2) on the simplex is (½, ½, 0, 0)
        "square": -(2 * 1 + 1) / 3,
        # weights 1/2 and 1/3 on the two distances
        "inverse(k=1)": -(2 * (1 / 2 * 1 + 1 / 3 * 2) * 2 / (2 * (1 / 2 + 1 / 3)) + 1) / 3,
    }
    for name, expected in by_hand.items():
        assert make_objective(name, 1.0)(view, view).item() == pytest.approx(expected, rel=1e-12), name


def test_backprop_has_entropys_value_and_another_gradient(seed, views):
    view1, view2 = (v.requires_grad_() for v in views(seed, n=6))
    held, through = make_objective("entropy", 0.3), make_objective("backprop", 0.3)
    assert held(view1, view2).item() == pytest.approx(through(view1, view2).item(), rel=1e-12)
    first, second = (torch.autograd.grad(o(view1, view2), view1)[0] for o in (held, through))
    assert (first - second).abs().max() > 1e-3 * first.abs().max()
    assert torch.autograd.gradcheck(through, (view1, view2))  # the true derivative of its value


def test_the_table_covers_every_loss():
    assert set(TABLE) == set(LOSSES)
    assert len(TABLE) == 8
