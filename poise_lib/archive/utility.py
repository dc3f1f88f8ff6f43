"""Scalar utility U(y), the oriented metric vector and constraints: how metrics become something to compare.

An objective that names no metrics means the suite's own benchmarks at the suite's weights; for the paper's suite
that is Overall = .2 AIME24 + .2 AIME25 + .15 (AMC + MATH + Minerva + Olympiad).  Metrics are percentage points, or
tokens for lengths; a metric's scale is what counts as one point of it, 1 unless the objective says otherwise.

Pure Python without NumPy, so that the planner can afford to import it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from poise_lib.resources.objective import Direction, Objective
from poise_lib.resources.suites import Suite


def utility(metrics: Mapping[str, float], objective: Objective, suite: Suite) -> float | None:
    """U(y): the weighted sum over the objective's metrics; those to be minimised count negative.

    None when a metric is missing or not finite, so that a broken evaluation can never look like a good one.
    """
    terms = [
        weight * sign * metrics.get(name, math.nan) / scale for name, weight, sign, scale in _terms(objective, suite)
    ]
    total = math.fsum(terms) if all(map(math.isfinite, terms)) else math.nan
    return total if math.isfinite(total) else None


def metric_vector(metrics: Mapping[str, float], objective: Objective, suite: Suite) -> tuple[float, ...]:
    """The objective's metrics in its order, each oriented so that more is better; weights and scales play no part.

    A metric of weight 0 is a dimension too: that is how an objective watches a trade-off without paying for it.

    Raises:
        ValueError: a metric is missing or not finite.
    """
    terms = _terms(objective, suite)
    vector = tuple(sign * metrics.get(name, math.nan) for name, _, sign, _ in terms)
    for (name, *_), value in zip(terms, vector, strict=True):
        if not math.isfinite(value):
            raise ValueError(f"metric {name!r} is missing or not finite")
    return vector


def feasible(metrics: Mapping[str, float], objective: Objective) -> bool:
    """Whether every constraint holds; one on a metric that is missing or not finite does not."""
    for constraint in objective.constraints:
        value = metrics.get(constraint.metric, math.nan)
        if not math.isfinite(value):
            return False
        if constraint.minimum is not None and value < constraint.minimum:
            return False
        if constraint.maximum is not None and value > constraint.maximum:
            return False
    return True


def _terms(objective: Objective, suite: Suite) -> list[tuple[str, float, float, float]]:
    """Name, weight, sign and scale of the objective's metrics, or of the suite's benchmarks when it names none."""
    if not objective.metrics:
        return [(benchmark.name, benchmark.weight, 1.0, 1.0) for benchmark in suite.benchmarks]
    return [
        (metric.name, metric.weight, -1.0 if metric.direction is Direction.MINIMIZE else 1.0, metric.scale or 1.0)
        for metric in objective.metrics
    ]
