"""Tests whether two configurations differ by more than their seeds do, paired or unpaired, corrected for many comparisons.

Runs that share a seed share their held-out slice, their order of images and their initial weights, so they are compared in pairs.
The test is Student's paired t: with the three to five seeds that are usual, an exact permutation test has only 2ⁿ outcomes, so
its smallest two-sided p is 2/2ⁿ (0.25 for 3 seeds, 0.0625 for 5) and it can never reject. The price is the assumption that the
differences are normal, which so few seeds can't confirm; the exact p is kept beside it.
"""

from __future__ import annotations

import functools
import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LEVEL = 0.05
LEAST = 3  # seeds for a test: with two, one degree of freedom remains, and a difference must be 12.7 standard errors
MOST_EXACT = 16  # pairs whose 2ⁿ sign flips are enumerated


@dataclass(frozen=True)
class Comparison:
    """The comparison of a configuration with a reference, and the test of their difference.

    Args:
        difference: the difference of means, in percentage points.
        n: the number of pairs, or the size of the smaller sample.
        test: ``paired t``, ``Welch``, or empty where there is none.
        reason: why there is no test; empty where there is one.
        p: the two-sided p of the test.
        p_exact: the exact p of all sign flips, for pairs.
        p_holm: ``p`` after Holm's correction.
        error: the difference's standard error, in percentage points.
        df: the test's degrees of freedom.
    """

    difference: float
    n: int
    test: str = ""
    reason: str = ""
    p: float | None = None
    p_exact: float | None = None
    p_holm: float | None = None
    error: float | None = None
    df: float | None = None

    @property
    def significant(self) -> bool:
        """Tell whether p stays below 5 % after Holm's correction."""
        return self.p_holm is not None and self.p_holm < LEVEL

    @property
    def interval(self) -> tuple[float, float] | None:
        """Return the difference's 95 % interval by Student's t, in points, for one comparison by itself; None without a test."""
        if self.error is None or self.df is None:
            return None
        half = t_quantile(1 - LEVEL / 2, self.df) * self.error
        return self.difference - half, self.difference + half

    def detectable(self, comparisons: int) -> float | None:
        """Return the smallest difference, in points, that this spread would let pass as significant among so many comparisons."""
        if self.error is None or self.df is None:
            return None
        return t_quantile(1 - LEVEL / (2 * comparisons), self.df) * self.error


def t_quantile(share: float, df: float) -> float:
    """Return Student's t below which this share of its distribution with ``df`` degrees of freedom lies."""
    from scipy.special import stdtrit  # scipy.stats has the same with a second of imports

    return float(stdtrit(df, share))


def compare(values: Mapping[int, float], reference: Mapping[int, float]) -> Comparison | None:
    """Compare scores by seed with the reference's: in pairs where :data:`LEAST` seeds are shared, else unpaired.

    Returns None where either side has no score, and a comparison without a test where there are too few seeds for one.
    """
    if not values or not reference:
        return None
    n = min(len(values), len(reference))
    shared = sorted(set(values) & set(reference)) if n >= LEAST else []
    if len(shared) >= LEAST:
        return paired_t([values[s] - reference[s] for s in shared])
    difference = statistics.fmean(values.values()) - statistics.fmean(reference.values())
    if n >= LEAST:
        return welch(list(values.values()), list(reference.values()))
    return Comparison(difference, n, reason=f"{n} seed{'s' * (n != 1)}: a test needs {LEAST}")


def paired_t(differences: Sequence[float]) -> Comparison:
    """Run Student's paired t-test on the differences of pairs, of which there must be at least two."""
    n, mean = len(differences), statistics.fmean(differences)
    spread = math.fsum((d - mean) ** 2 for d in differences) / (n - 1)
    error = math.sqrt(spread / n)
    if error < 1e-9:
        return Comparison(mean, n, reason="the same difference at every seed: its spread can't be estimated")
    p = _two_sided(mean / error, n - 1)
    return Comparison(mean, n, "paired t", p=p, p_exact=sign_flip(differences), error=error, df=n - 1)


def _two_sided(t: float, df: float) -> float:
    """Return the two-sided p of a value of Student's t."""
    from scipy.special import stdtr

    return 2 * float(stdtr(df, -abs(t)))


def sign_flip(differences: Sequence[float]) -> float | None:
    """Return the exact two-sided p of the mean difference under all 2ⁿ sign flips; None above :data:`MOST_EXACT` pairs."""
    if len(differences) > MOST_EXACT:
        return None
    import numpy as np

    sums = np.abs(_signs(len(differences)) @ np.asarray(differences))
    return float((sums >= abs(math.fsum(differences)) - 1e-9).mean())


@functools.cache
def _signs(n: int) -> NDArray[np.float64]:
    """Return all 2ⁿ rows of n signs."""
    import numpy as np

    return np.array(list(itertools.product((1.0, -1.0), repeat=n)))


def welch(a: Sequence[float], b: Sequence[float]) -> Comparison:
    """Run Welch's t-test on two unpaired samples of at least two values each."""
    difference, n = statistics.fmean(a) - statistics.fmean(b), min(len(a), len(b))
    va, vb = statistics.variance(a) / len(a), statistics.variance(b) / len(b)
    error = math.sqrt(va + vb)
    if error < 1e-9:
        return Comparison(difference, n, reason="no spread over seeds on either side")
    df = (va + vb) ** 2 / (va**2 / (len(a) - 1) + vb**2 / (len(b) - 1))
    return Comparison(difference, n, "Welch", p=_two_sided(difference / error, df), error=error, df=df)


def holm(p: Sequence[float]) -> list[float]:
    """Adjust p-values by Holm's step-down method, so that the chance of even one false positive is at most the level used."""
    order = sorted(range(len(p)), key=p.__getitem__)
    adjusted, highest = [0.0] * len(p), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p) - rank) * p[index]))
        adjusted[index] = highest
    return adjusted


def correct(comparisons: Sequence[Comparison | None]) -> list[Comparison | None]:
    """Return the same comparisons with ``p_holm`` filled in; those without a test do not count."""
    tested = [c.p for c in comparisons if c is not None and c.p is not None]
    adjusted = iter(holm(tested))
    return [replace(c, p_holm=next(adjusted)) if c is not None and c.p is not None else c for c in comparisons]
