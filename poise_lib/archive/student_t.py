"""Student's t without SciPy: quantiles and the power of a two-sided test, in plain Python.

The planner concludes confirmations and must stay light (SciPy alone takes longer to import than a whole plan), and
a verdict should not depend on the version of a numerical library.  Accurate to about 1e-10, which the tests check
against SciPy.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

_NORMAL = NormalDist()


def cdf(t: float, degrees: float) -> float:
    """P(T <= t) for Student's t with ``degrees`` > 0 degrees of freedom."""
    tail = 0.5 * _regularised_beta(degrees / (degrees + t * t), 0.5 * degrees, 0.5)
    return 1.0 - tail if t > 0 else tail


def quantile(probability: float, degrees: float) -> float:
    """The t with ``cdf(t, degrees) == probability``.

    Raises:
        ValueError: the probability does not lie strictly between 0 and 1, or there are no degrees of freedom.
    """
    if not 0.0 < probability < 1.0 or degrees <= 0:
        raise ValueError(f"no quantile for probability {probability} and {degrees} degrees of freedom")
    if probability < 0.5:
        return -quantile(1.0 - probability, degrees)
    high = 1.0
    while cdf(high, degrees) < probability:
        high *= 2.0
    return _root(lambda t: cdf(t, degrees) - probability, 0.0, high)


def power(shift: float, degrees: int, confidence: float) -> float:
    """Probability that a two-sided t test at ``confidence`` rejects when its statistic is noncentral by ``shift``.

    ``shift`` is the true difference over its standard error.  With S = sqrt(chi2 / degrees), the noncentral t exceeds c
    exactly when Z + shift > c S; the expectation over S is taken by Simpson's rule.
    """
    critical = quantile(0.5 + 0.5 * confidence, degrees)
    constant = math.log(2.0) + 0.5 * degrees * math.log(0.5 * degrees) - math.lgamma(0.5 * degrees)

    def integrand(s: float) -> float:
        if s == 0.0:
            density = math.exp(constant) if degrees == 1 else 0.0
        else:
            density = math.exp(constant + (degrees - 1) * math.log(s) - 0.5 * degrees * s * s)
        return density * (_NORMAL.cdf(shift - critical * s) + _NORMAL.cdf(-shift - critical * s))

    steps, top = 2000, 1.0 + 9.0 / math.sqrt(degrees)
    width = top / steps
    inner = sum((4 if i % 2 else 2) * integrand(i * width) for i in range(1, steps))
    return (integrand(0.0) + inner + integrand(top)) * width / 3.0


def shift_for_power(wanted: float, degrees: int, confidence: float) -> float:
    """The noncentrality at which :func:`power` reaches ``wanted``.

    Raises:
        ValueError: ``wanted`` does not lie between the level of the test and 1.
    """
    if not 1.0 - confidence < wanted < 1.0:
        raise ValueError(f"power must lie between {1.0 - confidence:.4g} and 1, got {wanted}")
    high = 1.0
    while power(high, degrees, confidence) < wanted:
        high *= 2.0
    return _root(lambda shift: power(shift, degrees, confidence) - wanted, 0.0, high, tolerance=1e-9)


def _root(function: Callable[[float], float], low: float, high: float, tolerance: float = 1e-13) -> float:
    """Bisection of an increasing function with a root between ``low`` and ``high``."""
    while high - low > tolerance * max(1.0, high):
        middle = 0.5 * (low + high)
        if middle in (low, high):
            break
        low, high = (middle, high) if function(middle) < 0 else (low, middle)
    return 0.5 * (low + high)


def _regularised_beta(x: float, a: float, b: float) -> float:
    """I_x(a, b) by Lentz's continued fraction (Abramowitz and Stegun 26.5.8), on the side where it converges fast."""
    if x <= 0.0 or x >= 1.0:
        return float(x >= 1.0)
    if x > (a + 1.0) / (a + b + 2.0):
        return 1.0 - _regularised_beta(1.0 - x, b, a)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)) / a
    tiny = 1e-300
    c, d = 1.0, 1.0 / _away_from_zero(1.0 - (a + b) * x / (a + 1.0), tiny)
    fraction = d
    for m in range(1, 1000):
        for numerator in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1.0 / _away_from_zero(1.0 + numerator * d, tiny)
            c = _away_from_zero(1.0 + numerator / c, tiny)
            fraction *= c * d
        if abs(c * d - 1.0) < 1e-15:
            break
    return front * fraction


def _away_from_zero(value: float, tiny: float) -> float:
    return tiny if abs(value) < tiny else value
