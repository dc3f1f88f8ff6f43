"""The statistics of the calibration, as pure functions of a score table.

A table is algorithms x seeds: every algorithm ran on every seed, and seeds are crossed with algorithms, since one seed
means the same problems and the same random numbers for all of them.  Hence paired differences, and a two-way ICC.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

Table = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A mean and the bounds of its confidence interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:+.1f} [{self.low:+.1f}, {self.high:+.1f}]"


def t_interval(values: Table, confidence: float = 0.95) -> Interval:
    """Student's interval of the mean of independent values [n]."""
    mean, half = float(values.mean()), float(stats.t.ppf(0.5 + confidence / 2, len(values) - 1) * stats.sem(values))
    return Interval(mean, mean - half, mean + half)


def icc_consistency(table: Table) -> float:
    """ICC(3,1): reliability of one seed, two-way mixed, consistency (Shrout and Fleiss 1979,
    doi:10.1037/0033-2909.86.2.420).

    A shift of a whole seed (easier problems) does not count against it; only what reorders the algorithms does.
    """
    rows, columns = table.shape
    grand = table.mean()
    by_row = columns * ((table.mean(1) - grand) ** 2).sum() / (rows - 1)
    residual = table - table.mean(1, keepdims=True) - table.mean(0, keepdims=True) + grand
    error = (residual**2).sum() / ((rows - 1) * (columns - 1))
    return float((by_row - error) / (by_row + (columns - 1) * error))


def upper_half(table: Table) -> NDArray[np.int64]:
    """Indices of the better half of the algorithms, by their mean over all seeds."""
    return np.argsort(-table.mean(1), kind="stable")[: (len(table) + 1) // 2]


def halves(columns: int) -> Iterator[tuple[list[int], list[int]]]:
    """Every way to split the seeds into two disjoint halves, each once."""
    for first in combinations(range(columns), columns // 2):
        second = [column for column in range(columns) if column not in first]
        if columns % 2 or 0 in first:
            yield list(first), second


def split_half_agreement(table: Table) -> list[float]:
    """Spearman's correlation of the two halves' mean scores, for every split into halves."""
    agreement = []
    for first, second in halves(table.shape[1]):
        agreement.append(float(stats.spearmanr(table[:, first].mean(1), table[:, second].mean(1)).statistic))
    return agreement


def paired_deviation(table: Table, baseline: int, rows: NDArray[np.int64]) -> float:
    """Standard deviation of one seed's difference to the baseline, pooled (root mean variance) over ``rows``."""
    differences = [table[row] - table[baseline] for row in rows if row != baseline]
    return float(np.sqrt(np.mean([difference.var(ddof=1) for difference in differences])))


def detectable_difference(deviation: float, seeds: int, comparisons: int = 1, power: float = 0.8) -> float:
    """The smallest true difference that a two-sided paired t-test at 5% (Bonferroni over ``comparisons``) finds by
    ``power``."""
    critical = stats.t.ppf(1 - 0.025 / comparisons, seeds - 1)

    def shortfall(effect: float) -> float:
        return float(stats.nct.sf(critical, seeds - 1, effect * np.sqrt(seeds))) - power

    return float(optimize.brentq(shortfall, 1e-6, 20.0)) * deviation
