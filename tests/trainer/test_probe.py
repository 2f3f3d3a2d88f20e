import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from trainer.probe import Features, choose_l2, fit_linear, knn, linear_accuracy


@pytest.fixture(scope="module")
def digits():
    bunch = load_digits()
    order = np.random.default_rng(0).permutation(len(bunch.target))
    x, y = torch.tensor(bunch.data[order], dtype=torch.float32), torch.tensor(bunch.target[order])
    return Features(x[:1000], y[:1000]), Features(x[1000:1400], y[1000:1400]), Features(x[1400:], y[1400:])


@pytest.mark.parametrize("l2", [1e-1, 1e-2, 1e-3])
def test_the_linear_probe_finds_scikit_learns_optimum(digits, l2):
    train, _, test = digits
    scaler = StandardScaler().fit(train.x)
    theirs = LogisticRegression(C=1 / (l2 * len(train.x)), max_iter=2000, tol=1e-8).fit(scaler.transform(train.x), train.y)
    expected = 100 * theirs.score(scaler.transform(test.x), test.y)
    ours = fit_linear(train, 10, l2, iterations=500)
    assert linear_accuracy(ours, test) == pytest.approx(expected, abs=0.3)
    logits = torch.tensor(theirs.decision_function(scaler.transform(test.x)))
    agree = (ours.scores(test.x).softmax(1) - logits.softmax(1)).abs().max()
    assert agree < 0.02


def test_the_penalty_is_chosen_on_held_out_features(digits):
    train, val, _ = digits
    l2, accuracy = choose_l2(train, val, 10)
    fitted = {c: linear_accuracy(fit_linear(train, 10, c, iterations=300), val) for c in (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)}
    assert accuracy >= max(fitted.values()) - 1
    assert l2 in fitted


def test_a_fit_does_not_depend_on_where_it_began(digits):
    train, val, _ = digits
    for l2 in (1e-2, 1e-4, 1e-5):
        cold = fit_linear(train, 10, l2)
        warm = fit_linear(train, 10, l2, start=fit_linear(train, 10, 1e-1))
        assert linear_accuracy(cold, val) == pytest.approx(linear_accuracy(warm, val), abs=0.3)  # one of 400
        if l2 > 1e-5:  # below it the optimum is flat
            assert (cold.scores(val.x).softmax(1) - warm.scores(val.x).softmax(1)).abs().max() < 0.05


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
    assert linear_accuracy(fit_linear(noise, 10, 1e-2), other) < 20
    assert knn(noise, other, 10) < 20
    perfect = Features(torch.nn.functional.one_hot(y, 10).float(), y)
    assert linear_accuracy(fit_linear(perfect, 10, 1e-3), perfect) == 100
    assert knn(perfect, perfect, 10) == 100


def test_constant_features_do_no_harm():
    x = Features(torch.ones(100, 8), torch.arange(100) % 2)
    assert linear_accuracy(fit_linear(x, 2, 1e-3), x) == 50
