"""Constructors against the problems they solve: KKT conditions, random feasible points, special cases, naive loops."""

import math

import pytest
import torch

from trainer.alphas import CONSTRUCTORS, adnce, direct, entropy, inverse, square, tsallis, uniform
from trainer.pairs import Pairs

QS = [0.3, 0.7, 1.0, 1.3, 2.0, 3.0]


def problem(seed, rows=40, columns=None):
    """Distances to negatives on the sphere, some rows with ties and coincidences."""
    g = torch.Generator().manual_seed(seed)
    columns = columns or int(torch.randint(2, 30, (), generator=g))
    inter = 2 * torch.rand(rows, columns, generator=g, dtype=torch.float64)
    inter[0] = 0.7  # all alike
    inter[1, : columns // 2 + 1] = 0.0  # coincide with the anchor
    return Pairs(inter, torch.rand(rows, 1, generator=g, dtype=torch.float64))


def tsallis_entropy(alpha, q):
    if q == 1:
        return torch.special.entr(alpha).sum(dim=1)
    return (alpha - alpha.pow(q)).sum(dim=1) / (q * (q - 1))


def cost(alpha, d, tau, q):
    """What the min player minimises: Σ α d² − τ H_q(α)."""
    return (alpha * d.inter).sum(dim=1) - tau * tsallis_entropy(alpha, q)


def solutions(d, tau):
    yield "entropy", entropy(d, tau), 1.0
    yield "square", square(d, tau), 2.0
    for q in QS:
        yield f"tsallis(q={q})", tsallis(d, tau, q), q


@pytest.mark.parametrize("tau", [0.03, 0.3, 3.0])
def test_kkt_conditions(tau, seed):
    d = problem(seed)
    for name, alpha, q in solutions(d, tau):
        assert (alpha >= 0).all(), name
        torch.testing.assert_close(alpha.sum(dim=1), torch.ones(len(alpha), dtype=alpha.dtype), rtol=1e-12, atol=0)
        # Stationarity: d² − τ H_q′(α) equals the multiplier on the support and is no smaller off it.
        inside = alpha > 1e-9
        safe = torch.where(inside, alpha, torch.ones_like(alpha))
        slope = -safe.log() - 1 if q == 1 else (1 - q * safe.pow(q - 1)) / (q * (q - 1))
        gradient = d.inter - tau * slope
        multiplier = torch.where(inside, gradient, gradient.new_full((), -math.inf)).amax(dim=1, keepdim=True)
        lowest = torch.where(inside, gradient, gradient.new_full((), math.inf)).amin(dim=1, keepdim=True)
        assert (multiplier - lowest).max() < 1e-6, name
        if q > 1:  # the entropy's slope at 0 is finite: α may be exactly 0 there
            at_zero = d.inter - tau / (q * (q - 1))
            assert (torch.where(alpha == 0, at_zero - multiplier, torch.zeros_like(alpha)) >= -1e-6).all(), name


@pytest.mark.parametrize("tau", [0.05, 0.5])
def test_no_feasible_alpha_does_better(tau, seed):
    d = problem(seed)
    g = torch.Generator().manual_seed(seed)
    for name, alpha, q in solutions(d, tau):
        best = cost(alpha, d, tau, q)
        for _ in range(50):
            other = torch.distributions.Dirichlet(torch.full((d.inter.shape[1],), 0.3, dtype=torch.float64)).sample((len(alpha),))
            step = 10 ** (-4 * torch.rand((), generator=g).item())
            mixed = (1 - step) * alpha + step * other
            assert (cost(mixed, d, tau, q) >= best - 1e-12).all(), name


def test_special_cases_coincide(seed):
    d = problem(seed)
    for tau in (0.05, 0.5, 5.0):
        for one, other in (
            (tsallis(d, tau, 1.0), entropy(d, tau)),
            (tsallis(d, tau, 2.0), square(d, tau)),
            (direct(d, tau, 2.0), entropy(d, tau)),
        ):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-9)
        torch.testing.assert_close(tsallis(d, tau, 1 + 1e-7), entropy(d, tau), rtol=0, atol=1e-5)  # and continuously so


def test_square_is_the_projection_on_the_simplex_by_brute_force(seed):
    """Among all supports, the one whose solution is feasible and nearest."""
    from itertools import combinations

    d = problem(seed, rows=6, columns=5)
    found = square(d, 0.4)
    for row, alpha in zip(-d.inter / 0.4, found, strict=True):
        candidates = []
        for size in range(1, 6):
            for support in combinations(range(5), size):
                shift = (1 - row[list(support)].sum()) / size
                candidate = torch.zeros(5, dtype=torch.float64)
                candidate[list(support)] = row[list(support)] + shift
                if (candidate >= 0).all():
                    candidates.append(candidate)
        nearest = min(candidates, key=lambda c: (c - row).square().sum().item())
        torch.testing.assert_close(alpha, nearest, rtol=0, atol=1e-10)


def test_square_is_sparse_and_tsallis_below_one_heavy_tailed(seed):
    d = problem(seed, columns=25)
    assert (square(d, 0.05)[2:] == 0).any(dim=1).all()
    far = d.inter[2:].argmax(dim=1, keepdim=True)
    tails = [alpha[2:].gather(1, far) for alpha in (tsallis(d, 0.1, 0.5), entropy(d, 0.1), tsallis(d, 0.1, 1.5))]
    assert (tails[0] > tails[1]).all()
    assert (tails[1] > tails[2]).all()


def test_naive_formulas(seed):
    d = problem(seed, rows=5, columns=4)
    tau = 0.3
    formulas = {
        "uniform": (uniform(d), lambda x: 1.0),
        "entropy": (entropy(d, tau), lambda x: math.exp(-x / tau)),
        "inverse": (inverse(d, tau, 2.0), lambda x: (x + tau) ** -2),
        "direct": (direct(d, tau, 3.0), lambda x: math.exp(-(math.sqrt(x) ** 3) / tau)),
        "adnce": (adnce(d, tau, 0.4, 0.8), lambda x: math.exp(-((1 - x - 0.4) ** 2) / (2 * 0.8**2)) * math.exp((1 - x) / tau)),
    }
    for name, (alpha, weight) in formulas.items():
        for i, row in enumerate(d.inter.tolist()):
            weights = [weight(x) for x in row]
            for j, w in enumerate(weights):
                assert alpha[i, j].item() == pytest.approx(w / sum(weights), rel=1e-9), name


def test_every_constructor_says_what_it_is():
    for component in CONSTRUCTORS.values():
        assert "α" in component.summary, component.name
