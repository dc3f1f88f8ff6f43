"""What the surrogate sees of a node.  The paper speaks of "archived node features"; these are ours, in five groups:

==========  ===========================================================================================================
metrics     the objective's metric vector: where the node is strong
gain        tanh((U - U of its first parent) / beta): whether the last step paid; 0 for a root
place       depth, log(1 + children), share of its children that were rejected or failed
structure   one indicator per part (slot and kind) of its composition, or per mechanism when it has no composition
training    the end of its learning curves: every ``.last`` value of the trajectory summary that half of the nodes have
==========  ===========================================================================================================

Numbers are centred at the median, scaled by the interquartile range to a deviation of about 1, and cut at three
deviations, so that one collapsed run does not squeeze all others together; an unknown number is the median.  Each group
is divided by the root of its width and all by the root of the number of groups: the groups weigh the same however many
benchmarks or slots there are, two unrelated nodes lie about sqrt(2) apart, and a length scale of 1 means the same in
every search.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from poise_lib.resources.candidate import CandidatePhase
from poise_lib.selection.pool import Pool

_FINAL = ".last"
"""Trajectory summaries hold ``<metric>.first``, ``.last``, ``.low`` and ``.high``."""
_NORMAL_QUARTILES = 1.349
"""Interquartile range of the standard normal."""
_CONSTANT = 1e-12
_TIMES = "timing"
"""Trajectory metrics of this kind depend on the machine, and a selection must not."""


def node_features(pool: Pool, beta: float) -> NDArray[np.float64]:
    """[N, F] features of the pool's nodes; ``beta`` scales gains as in the descendant gain."""
    groups = [
        _standardised(pool.vectors),
        _gain(pool, beta)[:, None],
        _standardised(_place(pool)),
        _structure(pool),
        _standardised(_training(pool)),
    ]
    used = [group / math.sqrt(group.shape[1]) for group in groups if group.shape[1]]
    return np.concatenate(used, axis=1) / math.sqrt(len(used))


def _gain(pool: Pool, beta: float) -> NDArray[np.float64]:
    known = pool.utility_by_name()
    gains = np.zeros(len(pool))
    for row, entry in enumerate(pool.entries):
        parents = pool.lineage.parents[entry.name]
        if parents and parents[0] in known:
            gains[row] = math.tanh((pool.utilities[row] - known[parents[0]]) / beta)
    return gains


def _place(pool: Pool) -> NDArray[np.float64]:
    depths = pool.lineage.depths()
    rows = np.zeros((len(pool), 3))
    for row, entry in enumerate(pool.entries):
        children = pool.lineage.children[entry.name]
        lost = sum(pool.statuses[child] is not CandidatePhase.ARCHIVED for child in children)
        rows[row] = depths[entry.name], math.log1p(len(children)), lost / max(len(children), 1)
    return rows


def _structure(pool: Pool) -> NDArray[np.float64]:
    """Indicators scaled so that two nodes without a common part lie sqrt(2) apart after the division by the width."""
    parts = pool.structures.parts
    if not parts.size or not parts.any():
        return np.zeros((len(pool), 0))
    return parts * math.sqrt(parts.shape[1] / parts.sum(axis=1).mean())


def _training(pool: Pool) -> NDArray[np.float64]:
    """Final values of the learning curves; NaN where a node has none."""
    counts: dict[str, int] = {}
    for entry in pool.entries:
        for name in entry.trajectory:
            if name.endswith(_FINAL) and _TIMES not in name:
                counts[name] = counts.get(name, 0) + 1
    columns = sorted(name for name, count in counts.items() if 2 * count >= len(pool))
    rows = [[entry.trajectory.get(name, math.nan) for name in columns] for entry in pool.entries]
    return np.array(rows, dtype=np.float64).reshape(len(pool), len(columns))


def _standardised(columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Median 0 and deviation about 1 by column, cut at 3; unknown values and constant columns become 0.

    Where more than half of the values agree the interquartile range may vanish; the standard deviation stands in.
    """
    if not columns.size:
        return columns
    known = np.where(np.isfinite(columns), columns, np.nan)
    first, middle, third = np.nanquantile(known, [0.25, 0.5, 0.75], axis=0)
    spread = (third - first) / _NORMAL_QUARTILES
    spread = np.where(spread > _CONSTANT, spread, np.nanstd(known, axis=0))
    scaled = (known - middle) / np.where(spread > _CONSTANT, spread, np.inf)
    cut: NDArray[np.float64] = np.clip(np.nan_to_num(scaled, nan=0.0), -3.0, 3.0)
    return cut
