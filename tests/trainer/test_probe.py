import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from trainer.probe import L2_GRID, Features, choose_l2, fit_linear, knn, linear_accuracy, paper_accuracy


@pytest.fixture(scope="module")
def digits():
    bunch = load_digits()
    order = np.random.default_rng(0).permutation(len(bunch.target))
    x, y = torch.tensor(bunch.data[order], dtype=torch.float32), torch.tensor(bunch.target[order])
    return Features(x[:1000], y[:1000]), Features(x[1000:1400], y[1000:1400]), Features(x[1400:], y[1400:])


def value(fitted, data, l2):
    """The objective in float64."""
    x = ((data.x - fitted.mean) / fitted.std).double()
    logits = x @ fitted.weight[:-1].double() + fitted.weight[-1].double()
    return (torch.nn.functional.cross_entropy(logits, data.y) + l2 / 2 * fitted.weight[:-1].double().square().sum()).item()


@pytest.mark.parametrize("l2", [1e-1, 1e-2, 1e-3, 1e-4])
def test_the_linear_probe_finds_scikit_learns_optimum(digits, l2):
    train, _, test = digits
    scaler = StandardScaler().fit(train.x)
    theirs = LogisticRegression(C=1 / (l2 * len(train.x)), max_iter=5000, tol=1e-8).fit(scaler.transform(train.x), train.y)
    expected = 100 * theirs.score(scaler.transform(test.x), test.y)
    [ours] = fit_linear(train, 10, [l2])
    assert linear_accuracy(ours, test) == pytest.approx(expected, abs=0.3)
    logits = torch.tensor(theirs.decision_function(scaler.transform(test.x)))
    agree = (ours.scores(test.x).softmax(1) - logits.softmax(1)).abs().max()
    assert agree < 0.02
    weight = torch.tensor(np.concatenate([theirs.coef_.T, theirs.intercept_[None]]), dtype=torch.float32)
    assert value(ours, train, l2) <= value(ours._replace(weight=weight), train, l2) * (1 + 1e-4) + 1e-6


def test_the_penalty_is_chosen_on_held_out_features(digits):
    train, val, _ = digits
    l2, accuracy = choose_l2(train, val, 10)
    fitted = {c: linear_accuracy(fit_linear(train, 10, [c])[0], val) for c in L2_GRID}
    assert accuracy >= max(fitted.values()) - 1
    assert fitted[l2] >= max(fitted.values()) - 1


def test_penalties_fitted_together_are_those_fitted_alone(digits):
    train, val, _ = digits
    together = fit_linear(train, 10, [1e-1, 1e-2, 1e-3])
    for l2, fitted in zip([1e-1, 1e-2, 1e-3], together, strict=True):
        [alone] = fit_linear(train, 10, [l2])
        assert value(fitted, train, l2) == pytest.approx(value(alone, train, l2), rel=1e-3)
        assert linear_accuracy(fitted, val) == pytest.approx(linear_accuracy(alone, val), abs=0.3)  # one of 400


def test_features_that_depend_on_each_other_are_fitted_to_the_optimum(seed):
    """Singular covariance: a plain L-BFGS crawls here."""
    y = torch.arange(600) % 3
    x = torch.randn(600, 4) + torch.nn.functional.one_hot(y, 4)
    x = x @ torch.randn(4, 40) * torch.logspace(-3, 3, 40)
    [fitted] = fit_linear(Features(x, y), 3, [1e-3])
    theirs = LogisticRegression(C=1 / (1e-3 * 600), max_iter=20000, tol=1e-10, solver="newton-cg")
    theirs.fit(StandardScaler().fit_transform(x.double()), y)
    weight = torch.tensor(np.concatenate([theirs.coef_.T, theirs.intercept_[None]]), dtype=torch.float32)
    data = Features(x, y)
    assert value(fitted, data, 1e-3) == pytest.approx(value(fitted._replace(weight=weight), data, 1e-3), rel=1e-3)


def test_the_papers_probe_is_pytorchs_adam_and_the_best_epoch(digits):
    train, _, test = digits
    mean, std = train.x.mean(0), train.x.std(0, correction=0)
    std[std < 1e-6] = 1
    generator = torch.Generator().manual_seed(0)
    model = torch.nn.Linear(64, 10)
    with torch.no_grad():
        model.weight.copy_(0.125 * (2 * torch.rand(64, 10, generator=generator) - 1).T)
        model.bias.copy_(0.125 * (2 * torch.rand(10, generator=generator) - 1))
    adam = torch.optim.Adam(model.parameters(), lr=3e-4, weight_decay=1e-3)
    figures = []
    for _ in range(12):
        for index in torch.randperm(len(train.x), generator=generator).split(128):
            adam.zero_grad()
            torch.nn.functional.cross_entropy(model((train.x[index] - mean) / std), train.y[index]).backward()
            adam.step()
        figures.append(100 * (model((test.x - mean) / std).argmax(1) == test.y).float().mean().item())
    for epochs in (1, 12):
        assert paper_accuracy(train, test, 10, epochs) == pytest.approx(max(figures[:epochs]), abs=0.3)


def test_knn_agrees_with_scikit_learns(digits):
    train, _, test = digits

    def normal(x):
        return torch.nn.functional.normalize(x, dim=1).numpy()

    theirs = KNeighborsClassifier(20, weights=lambda d: np.exp((1 - d**2 / 2 - 1) / 0.1)).fit(normal(train.x), train.y)
    assert knn(train, test, 10, k=20) == pytest.approx(100 * theirs.score(normal(test.x), test.y), abs=0.5)


def test_probes_of_noise_are_at_chance_and_of_perfect_features_at_100(seed):
    y = torch.arange(1000) % 10
    noise = Features(torch.randn(1000, 16), y)
    other = Features(torch.randn(1000, 16), y)
    assert linear_accuracy(fit_linear(noise, 10, [1e-2])[0], other) < 20
    assert knn(noise, other, 10) < 20
    perfect = Features(torch.nn.functional.one_hot(y, 10).float(), y)
    assert linear_accuracy(fit_linear(perfect, 10, [1e-3])[0], perfect) == 100
    assert knn(perfect, perfect, 10) == 100


def test_constant_features_do_no_harm():
    x = Features(torch.ones(100, 8), torch.arange(100) % 2)
    assert linear_accuracy(fit_linear(x, 2, [1e-3])[0], x) == 50
