"""Discounted Top-K Descendant Gain: how much better than a node its best descendants became.

The target of the paper's surrogate, for a node d with at least one evaluated descendant::

    y_d = mean over the top K descendants c of  gamma^depth(c, d) * tanh((U(c) - U(d)) / beta)

"Top" is by utility (ties by name), depth(c, d) counts generations on the shortest way from d down to c.  The mean runs
over min(K, number of evaluated descendants); with none, nothing is known of d's potential and there is no target.
y_d lies in (-1, 1): negative where not even the best descendant reached d.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping
from statistics import fmean

from poise_lib.archive.lineage import Lineage
from poise_lib.resources.search import DescendantGain


def descendant_gains(lineage: Lineage, utilities: Mapping[str, float], setting: DescendantGain) -> dict[str, float]:
    """y_d of every node that has a utility and an evaluated descendant.

    Args:
        lineage: who descends from whom; nodes without a utility (rejected, failed) pass their descendants on.
        utilities: U of the evaluated nodes, in utility points.
        setting: K, gamma and beta.
    """
    gains = {}
    for name, best in _top_descendants(lineage, utilities, setting.top_k).items():
        if best and name in utilities:
            own = utilities[name]
            gains[name] = fmean(
                setting.gamma**depth * math.tanh((utilities[child] - own) / setting.beta)
                for child, depth in best.items()
            )
    return gains


def _top_descendants(lineage: Lineage, utilities: Mapping[str, float], top_k: int) -> dict[str, dict[str, int]]:
    """The best K descendants of each node with their depth below it.

    Merged upwards from the leaves, so that it costs K steps a link instead of a walk over every subtree.  That is
    exact: whatever is among the best K below a node is among the best K below the child through which it is
    reached.
    """
    best: dict[str, dict[str, int]] = {}
    for name in reversed(lineage.order):
        depths: dict[str, int] = {}
        for child in lineage.children[name]:
            if child in utilities:
                depths[child] = 1
            for descendant, depth in best[child].items():
                depths[descendant] = min(depth + 1, depths.get(descendant, depth + 1))
        kept = heapq.nsmallest(top_k, depths, key=lambda descendant: (-utilities[descendant], descendant))
        best[name] = {descendant: depths[descendant] for descendant in kept}
    return best
