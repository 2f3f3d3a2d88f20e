"""Objectives against the formulas: naive loops, Theorem 1, values worked out by hand."""

import math

import pytest
import torch

from trainer.alphas import CONSTRUCTORS
from trainer.losses import LOSSES, make_objective, objective_names

# φ, φ′, ψ, ψ′ straight from the table of the specification (arXiv 2201.12680, Table 1), on plain numbers.
TABLE = {
    "infonce": lambda t, eps=1.0: (
        lambda x: t * math.log(eps + x), lambda x: t / (eps + x), lambda x: math.exp(x / t), lambda x: math.exp(x / t) / t,
    ),
    "mine": lambda t: (math.log, lambda x: 1 / x, math.exp, math.exp),
    "triplet": lambda t, margin=0.5: (
        lambda x: x, lambda x: 1, lambda x: max(x + margin, 0), lambda x: float(x + margin > 0),
    ),
    "soft_triplet": lambda t, margin=0.5: (
        lambda x: t * math.log(1 + x), lambda x: t / (1 + x),
        lambda x: math.exp(x / t + margin), lambda x: math.exp(x / t + margin) / t,
    ),
    "n_plus_1_tuplet": lambda t: (lambda x: math.log(1 + x), lambda x: 1 / (1 + x), math.exp, math.exp),
    "lifted_structured": lambda t, margin=0.5: (
        lambda x: max(math.log(x), 0) ** 2, lambda x: 2 * max(math.log(x), 0) / x,
        lambda x: math.exp(x + margin), lambda x: math.exp(x + margin),
    ),
    "modified_triplet": lambda t, c=5.0: (
        lambda x: x, lambda x: 1, lambda x: 1 / (1 + math.exp(-c * x)),
        lambda x: c * math.exp(-c * x) / (1 + math.exp(-c * x)) ** 2,
    ),
    "triplet_contrastive": lambda t: (lambda x: x, lambda x: 1, lambda x: x, lambda x: 1),
}  # fmt: skip
ALTERNATIVES = {
    "infonce": {"eps": 0}, "triplet": {"margin": 0.1}, "soft_triplet": {"margin": -0.3}, "lifted_structured": {"margin": -0.7},
    "modified_triplet": {"c": 2.5},
}  # fmt: skip
CASES = [(name, {}) for name in TABLE] + list(ALTERNATIVES.items())


def call(name, parameters):
    return f"{name}({', '.join(f'{k}={v}' for k, v in parameters.items())})" if parameters else name


def naive(view1, view2):
    """For every anchor: d²_i and [d²_ij], by three nested loops."""
    z = torch.cat([view1, view2]).tolist()
    n = len(view1)

    def half_squared(a, b):
        total = 0.0
        for x, y in zip(a, b, strict=True):
            total += (x - y) ** 2 / 2
        return total

    for i in range(2 * n):
        negatives = [half_squared(z[i], z[j]) for j in range(2 * n) if j % n != i % n]
        yield half_squared(z[i], z[(i + n) % (2 * n)]), negatives


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


def bisect(function, low, high):
    """The root of an increasing function."""
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if function(middle) < 0 else (low, middle)
    return (low + high) / 2


def tsallis_weights(others, t, q):
    """α from the stationarity of its problem: d² − τ(1 − qα^(q−1))/(q(q−1)) = λ, λ by bisection on Σα = 1."""

    def weights(multiplier):
        bases = [(1 - q * (q - 1) * (other - multiplier) / t) / q for other in others]
        return [max(base, 0.0) ** (1 / (q - 1)) if base > 0 or q > 1 else math.inf for base in bases]

    multiplier = bisect(lambda m: sum(weights(m)) - 1, min(others) - 50 * t - 10, max(others) + 50 * t + 10)
    return weights(multiplier)


# Weights of an anchor's negatives before they are brought to sum 1, from the specification's table, on plain numbers.
WEIGHTS = {
    "uniform": lambda others, t: [1.0 for _ in others],
    "entropy": lambda others, t: [math.exp(-o / t) for o in others],
    "backprop": lambda others, t: [math.exp(-o / t) for o in others],
    "square": lambda others, t: [
        max(bisect(lambda m: sum(max(m - x, 0) / t for x in others) - 1, -99, 99) - o, 0) for o in others
    ],
    "inverse(k=2)": lambda others, t: [(o + t) ** -2 for o in others],
    "direct(p=3)": lambda others, t: [math.exp(-(math.sqrt(o) ** 3) / t) for o in others],
    "adnce(mu=0.3, sigma=0.7)": lambda others, t: [
        math.exp(-((1 - o - 0.3) ** 2) / (2 * 0.7**2)) / (0.7 * math.sqrt(2 * math.pi)) * math.exp((1 - o) / t) for o in others
    ],
    "tsallis(q=1.5)": lambda others, t: tsallis_weights(others, t, 1.5),
    "tsallis(q=0.6)": lambda others, t: tsallis_weights(others, t, 0.6),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_a_constructors_objective_equals_the_naive_loop(name, seed, views):
    for tau in (0.2, 0.5, 2.0):
        view1, view2 = views(seed)
        total = 0.0
        for own, others in naive(view1, view2):
            weights = WEIGHTS[name](others, tau)
            total += sum(w / sum(weights) * (own - other) for w, other in zip(weights, others, strict=True))
        assert make_objective(name, tau)(view1, view2).item() == pytest.approx(total / (2 * len(view1)), rel=1e-7, abs=1e-9)


def test_every_objective_has_its_naive_loop():
    covered = {name.partition("(")[0] for name in [*TABLE, *WEIGHTS]}
    assert covered == {n for n in objective_names() if n != "alpha_of"} - _plugged_in()


def _plugged_in():
    return {n for n, c in CONSTRUCTORS.items() if not c.function.__module__.startswith("trainer.")}


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
