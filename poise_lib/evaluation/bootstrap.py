"""Intervals of a score by the bootstrap over problems.

A benchmark is a sample of the problems that it might have held; thirty contest problems say less than five hundred.
Problems are drawn with replacement within each benchmark (Efron and Tibshirani 1993, ch. 13, percentile intervals); the
overall score takes its weighted mean in every draw.  Training seeds are another source of chance, which this leaves out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from poise_lib.names import METRIC_OVERALL

RESAMPLES: Final = 2000


def intervals(
    values: Mapping[str, Sequence[float]],
    weights: Mapping[str, float],
    *,
    seed: int,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
) -> dict[str, tuple[float, float]]:
    """Lower and upper end for each benchmark and for ``overall``, in the unit of ``values``.

    Args:
        values: by benchmark, one number a problem.
        weights: by benchmark, summing to 1.
        seed: of the draws; each benchmark draws by its own name, so that leaving one out moves no other.
        confidence: of each interval by itself.
        resamples: draws.

    Raises:
        ValueError: a benchmark of ``weights`` has no values.
    """
    overall = np.zeros(resamples)
    found: dict[str, tuple[float, float]] = {}
    edges = (50.0 * (1.0 - confidence), 50.0 * (1.0 + confidence))
    for name, weight in weights.items():
        column = np.asarray(values.get(name, ()), dtype=np.float64)
        if column.size == 0:
            raise ValueError(f"no problems of {name} to draw from")
        generator = np.random.default_rng([seed, *name.encode()])
        means = column[generator.integers(0, column.size, (resamples, column.size))].mean(axis=1)
        overall += weight * means
        found[name] = _percentiles(means, edges)
    found[METRIC_OVERALL] = _percentiles(overall, edges)
    return found


def _percentiles(draws: NDArray[np.float64], edges: tuple[float, float]) -> tuple[float, float]:
    low, high = np.percentile(draws, edges)
    return float(low), float(high)
