"""Every figure here is worked out by hand, or by scipy's own test."""

import math
import random

import pytest
from scipy import stats

from results.tables.significance import (
    Comparison,
    compare,
    correct,
    holm,
    paired_t,
    sign_flip,
    welch,
)


def test_paired_t_by_hand():
    # differences 1, 2, 3: mean 2, std 1, t = 2 / (1/√3) = 3.4641 with 2 degrees of freedom; p = 1 − t/√(t² + 2) for df = 2
    found = paired_t([1.0, 2.0, 3.0])
    t = 2 * math.sqrt(3)
    assert found.difference == pytest.approx(2)
    assert found.p == pytest.approx(1 - t / math.sqrt(t**2 + 2))
    assert (found.test, found.n, found.df) == ("paired t", 3, 2)
    # 4.3027 is the 97.5 % point of t with 2 degrees of freedom
    assert found.detectable(1) == pytest.approx(4.3027 / math.sqrt(3), abs=1e-4)
    assert found.detectable(10) > found.detectable(1)


def test_tests_agree_with_scipy(seed):
    random.seed(seed)
    a, b = ([random.gauss(80, 1) for _ in range(6)] for _ in "ab")
    paired = compare(dict(enumerate(a)), dict(enumerate(b)))
    assert paired.p == pytest.approx(stats.ttest_rel(a, b).pvalue)
    exact = stats.permutation_test(
        (a, b), lambda x, y, axis: (x - y).mean(axis=axis), permutation_type="samples", vectorized=True, n_resamples=10_000
    )
    assert paired.p_exact == pytest.approx(exact.pvalue)
    unpaired = compare(dict(enumerate(a)), {100 + i: v for i, v in enumerate(b[:4])})
    assert unpaired.test == "Welch"
    assert unpaired.p == pytest.approx(stats.ttest_ind(a, b[:4], equal_var=False).pvalue)
    assert unpaired.df == pytest.approx(stats.ttest_ind(a, b[:4], equal_var=False).df)


def test_the_exact_test_can_not_reject_with_few_seeds():
    assert sign_flip([1, 2, 3]) == 2 / 8
    assert sign_flip([1, 2, 3, 4, 5]) == 2 / 32
    assert sign_flip([1.0, -1.0]) == 1
    assert sign_flip([1.0] * 17) is None


def test_holm_by_hand():
    # sorted 0.01 ×4 = 0.04, 0.02 ×3 = 0.06, 0.03 ×2 = 0.06, 0.5 ×1; never below the one before, never above 1
    assert holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_only_what_was_tested_counts_for_the_correction():
    untested = Comparison(1.0, 2, reason="2 seeds")
    found = correct([Comparison(1.0, 3, "paired t", p=0.02), untested, None, Comparison(1.0, 3, "paired t", p=0.04)])
    assert [c and c.p_holm for c in found] == [0.04, None, None, 0.04]
    assert found[0].significant
    assert not untested.significant


def test_no_test_where_there_can_be_none():
    assert compare({}, {0: 1.0}) is None
    two = compare({0: 81.0, 1: 82.0}, {0: 80.0, 1: 80.0})
    assert (two.difference, two.p) == (1.5, None)
    assert "a test needs 3" in two.reason
    same = compare({0: 81.0, 1: 82.0, 2: 83.0}, {0: 80.0, 1: 81.0, 2: 82.0})
    assert (same.difference, same.p) == (1.0, None)
    assert "can't be estimated" in same.reason
    assert welch([1.0, 1.0, 1.0], [2.0, 2.0, 2.0]).p is None
