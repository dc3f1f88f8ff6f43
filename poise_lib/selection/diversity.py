"""U_div: how far a node lies from the others, how little it was used, and how far from what the round already chose.

The paper names a diversity signal and leaves it open.  Before anything is chosen::

    U_div(d) = 1/2 * novelty(d) + 1/2 * 1 / (1 + children of d)

where novelty is the mean distance to the five nearest other nodes, normalised over the pool, and distance is half
structure (:mod:`poise_lib.archive.structure`), half behaviour (metric ranks).  The second half keeps late bloomers
alive: a parent used once keeps half of it, so that no single parent is mined for ever.  Within a round, U_div is
multiplied by the distance to the nearest parent already chosen (1 for the farthest node), and nodes nearly
identical to a chosen parent wait until no other is left.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from poise_lib.selection.pool import Pool, normalised

NEIGHBOURS: Final = 5
MAX_LANDMARKS: Final = 512
"""Novelty is measured against at most this many nodes, spread evenly over the history: exact up to there."""
NEAR_IDENTICAL: Final = 0.02
"""Distance below which two nodes count as the same: a parameter was nudged and the scores hardly moved."""
_CHUNK: Final = 1024


def diversity(pool: Pool) -> NDArray[np.float64]:
    """U_div of every node in [0, 1], [N], before the round chose anything."""
    children = np.array([len(pool.lineage.children[name]) for name in pool.names()], dtype=np.float64)
    return 0.5 * normalised(novelty(pool)) + 0.5 / (1.0 + children)


def novelty(pool: Pool) -> NDArray[np.float64]:
    """Mean distance of every node to its nearest other nodes, [N]; 0 for a node that is alone."""
    count = len(pool)
    landmarks = np.unique(np.linspace(0, count - 1, min(count, MAX_LANDMARKS)).round().astype(np.int64))
    neighbours = min(NEIGHBOURS, len(landmarks) - 1)
    if neighbours < 1:
        return np.zeros(count)
    nearest = np.empty(count)
    for start in range(0, count, _CHUNK):
        rows = np.arange(start, min(start + _CHUNK, count))
        distances = pool.distances(rows, landmarks)
        distances[rows[:, None] == landmarks[None, :]] = np.inf
        nearest[rows] = np.partition(distances, neighbours - 1, axis=1)[:, :neighbours].mean(axis=1)
    return nearest


class Round:
    """What one round has chosen so far, and what that means for the nodes that are left."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._nearest = np.full(len(pool), np.inf)
        self.taken: NDArray[np.int64] = np.zeros(len(pool), dtype=np.int64)
        """[N] how often the node was chosen, counted twice, and how often one nearly identical to it."""

    def choose(self, row: int) -> None:
        """Record a choice."""
        pool, chosen = self._pool, self._pool.entries[row]
        distances = pool.distances([row], slice(None))[0]
        distances[row] = 0.0
        self._nearest = np.minimum(self._nearest, distances)
        twins = distances < NEAR_IDENTICAL
        for digest in ("source_digest", "behaviour_digest"):
            if (value := getattr(chosen, digest)) is not None:
                twins |= np.array([getattr(entry, digest) == value for entry in pool.entries])
        self.taken += twins
        self.taken[row] += 1

    def distance_factor(self) -> NDArray[np.float64]:
        """[N] distance to the nearest choice over the largest such distance; 1 before the first choice."""
        if np.isinf(self._nearest).all():
            return np.ones(len(self._pool))
        farthest = self._nearest.max()
        return self._nearest / farthest if farthest > 0 else np.zeros(len(self._pool))
