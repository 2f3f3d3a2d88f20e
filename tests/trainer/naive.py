"""The objectives of the specification on plain numbers, by loops over anchors and pairs."""

import math

import torch

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


def softplus(x):
    return x + math.log1p(math.exp(-x)) if x > 0 else math.log1p(math.exp(x))


def naive_debiased(own, others, t, prior, b=0.0):
    p, k = math.exp((1 - own) / t), len(others)
    n = [math.exp((1 - o) / t) for o in others]
    hard = k * sum(x ** (1 + b) for x in n) / sum(x**b for x in n)
    return -t * math.log(p / (p + max((hard - k * prior * p) / (1 - prior), k * math.exp(-1 / t))))


def naive_adnce(own, others, t, mu, sigma):
    """The authors' loss: log(p/(p + Σ w n)), w over its mean, here as a value; its gradient holds w constant."""
    p = math.exp((1 - own) / t)
    w = [math.exp(-((1 - o - mu) ** 2) / (2 * sigma**2)) / (sigma * math.sqrt(2 * math.pi)) for o in others]
    wn = [x / (sum(w) / len(w)) * math.exp((1 - o) / t) for x, o in zip(w, others, strict=True)]
    return sum(x / (p + sum(wn)) * (own - o) for x, o in zip(wn, others, strict=True))


def naive_sinkhorn(pairs, t, rounds):
    """Rows and columns brought to sum 1 in turn, as a table of plain numbers; the value of Σ α (d²_i − d²_ij)."""
    n = len(pairs) // 2
    plan = [[0.0] * (2 * n) for _ in range(2 * n)]
    places = [[j for j in range(2 * n) if j % n != i % n] for i in range(2 * n)]
    for i, (_, others) in enumerate(pairs):
        for j, other in zip(places[i], others, strict=True):
            plan[i][j] = math.exp(-other / t)
    for step in range(2 * rounds + 1):
        if step % 2 == 0:
            plan = [[x / sum(row) for x in row] for row in plan]
        else:
            sums = [sum(row[j] for row in plan) for j in range(2 * n)]
            plan = [[x / sums[j] for j, x in enumerate(row)] for row in plan]
    return [
        sum(plan[i][j] * (own - other) for j, other in zip(places[i], others, strict=True))
        for i, (own, others) in enumerate(pairs)
    ]


def naive_dclw(pairs, t, sigma):
    total = sum(math.exp((1 - own) / sigma) for own, _ in pairs)
    values = []
    for own, others in pairs:
        weights = [math.exp(-o / t) for o in others]
        pushed = sum(w / sum(weights) * o for w, o in zip(weights, others, strict=True))
        values.append((2 - len(pairs) * math.exp((1 - own) / sigma) / total) * own - pushed)
    return values


def naive_uniformity(pairs, weight, t):
    n = len(pairs) // 2
    potentials = [[], []]
    for i, (_, others) in enumerate(pairs):
        indices = [j for j in range(2 * n) if j % n != i % n]
        same = [o for j, o in zip(indices, others, strict=True) if (j < n) == (i < n)]
        potentials[i >= n] += [math.exp(-t * 2 * o) for o in same]
    logs = [math.log(sum(p) / len(p)) for p in potentials]
    return [2 * own + weight * logs[i >= n] for i, (own, _) in enumerate(pairs)]


def naive_kernel(own, others, t, gamma):
    k = [math.exp(-(math.sqrt(2 * d) ** gamma) / t) for d in (own, *others)]
    return -t * math.log(k[0] / sum(k))


# Values of the anchors from their sources' formulas, on plain numbers: (anchors' distances, τ) → a list.
NAIVE = {
    "adnce(mu=0.3, sigma=0.7, eps=1)": lambda pairs, t: [naive_adnce(*p, t, 0.3, 0.7) for p in pairs],
    "debiased(prior=0.2)": lambda pairs, t: [naive_debiased(*p, t, 0.2) for p in pairs],
    "debiased(prior=0)": lambda pairs, t: [naive_debiased(*p, t, 0.0) for p in pairs],
    "hard_negatives(b=1.5, prior=0.1)": lambda pairs, t: [naive_debiased(*p, t, 0.1, 1.5) for p in pairs],
    "kernel_infonce(gamma=1.3)": lambda pairs, t: [naive_kernel(*p, t, 1.3) for p in pairs],
    "sinkhorn(rounds=3)": lambda pairs, t: naive_sinkhorn(pairs, t, 3),
    "dclw(sigma=0.4)": lambda pairs, t: naive_dclw(pairs, t, 0.4),
    "alignment_uniformity(weight=0.7, t=3)": lambda pairs, _: naive_uniformity(pairs, 0.7, 3),
    "sigmoid(bias=-2)": lambda pairs, t: [
        t * (softplus(-((1 - own) / t - 2)) + sum(softplus((1 - o) / t - 2) for o in others)) for own, others in pairs
    ],
    # α (d²_ij) − β d²_i of its constant α = 2s/K and β = 2, and not the loss's value
    "spectral": lambda pairs, _: [2 * own - sum(2 * (1 - o) * o for o in others) / len(others) for own, others in pairs],
    "vicreg(invariance=2, variance=3, covariance=0.5)": None,  # see below: they are no loops over pairs
    "barlow_twins(redundancy=0.3)": None,
}
