"""Benchmark metrics: the unbiased pass@k, and the weighted overall score."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

PAPER_WEIGHTS: Final = {"AIME24": 0.2, "AIME25": 0.2, "AMC": 0.15, "MATH": 0.15, "Minerva": 0.15, "Olympiad": 0.15}
"""arXiv:2603.23951, experimental setting; the weighted mean reproduces the Overall column of its Table 2."""


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """Unbiased estimate of the chance that at least one of k samples is correct (Chen et al. 2021,
    arXiv:2107.03374, eq. 1).

    Args:
        samples: n, responses drawn.
        correct: c, correct ones among them.
        k: at most n.

    Raises:
        ValueError: not 1 <= k <= n or not 0 <= c <= n.
    """
    if not (1 <= k <= samples and 0 <= correct <= samples):
        raise ValueError(
            f"pass@k needs 1 <= k <= samples and 0 <= correct <= samples; got {k=}, {samples=}, {correct=}"
        )
    return 1.0 - math.comb(samples - correct, k) / math.comb(samples, k)


def overall(metrics: Mapping[str, float], weights: Mapping[str, float]) -> float:
    """Weighted mean of the benchmarks named in ``weights``.

    Raises:
        ValueError: the weights do not sum to 1 (tolerance 1e-6), or a benchmark is missing.
    """
    if abs(sum(weights.values()) - 1.0) > 1e-6:
        raise ValueError(f"weights must sum to 1, got {sum(weights.values()):.6f} over {', '.join(weights)}")
    if missing := sorted(set(weights) - set(metrics)):
        raise ValueError(f"no score for {', '.join(missing)}")
    return sum(weight * metrics[name] for name, weight in weights.items())
