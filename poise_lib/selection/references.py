"""Context tiers: which other algorithms the proposer of a parent gets to see.

(i) Pareto: the strongest of the frontier.  (ii) Complementary: of the better half of the archive, those built most
differently from the parent; from the better half because a contrast is there to be crossed with, and what failed
reaches the proposer through reflections.  (iii) Exploratory: a seeded sample from outside the direct lineage (neither
ancestor nor descendant).  The parent itself is never among them, and no algorithm appears in two tiers.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from poise_lib.resources.search import References
from poise_lib.selection.pool import Pool

_DECIMALS = 9
"""Distances and strengths are compared after rounding, so that ties are ties on every machine."""


@dataclass(frozen=True, slots=True)
class Tiers:
    """Names of the references of one parent."""

    pareto: tuple[str, ...]
    complementary: tuple[str, ...]
    exploratory: tuple[str, ...]


def reference_tiers(
    pool: Pool,
    parent: int,
    strength: NDArray[np.float64],
    on_frontier: NDArray[np.bool_],
    wanted: References,
    seed: str,
) -> Tiers:
    """The three tiers of one parent.

    Args:
        pool: eligible nodes.
        parent: row of the parent.
        strength: [N] Pareto strength.
        on_frontier: [N] whether the node is on the frontier.
        wanted: how many of each tier; fewer are given when the archive has no more.
        seed: whatever the exploratory sample shall depend on.
    """
    names = pool.names()
    used = {parent}

    strongest, useful = strength.round(_DECIMALS), pool.utilities.round(_DECIMALS)
    front = sorted(
        (row for row in np.flatnonzero(on_frontier).tolist() if row not in used),
        key=lambda row: (-strongest[row], -useful[row], names[row]),
    )[: wanted.pareto]
    used.update(front)

    built = pool.structures.distances([parent], slice(None))[0].round(_DECIMALS)
    scored = pool.behaviour_distances([parent], slice(None))[0].round(_DECIMALS)
    weaker = pool.utilities < np.median(pool.utilities)
    contrast = sorted(
        (row for row in range(len(pool)) if row not in used),
        key=lambda row: (weaker[row], -built[row], -scored[row], names[row]),
    )[: wanted.complementary]
    used.update(contrast)

    own = names[parent]
    lineage = pool.lineage.ancestors(own).keys() | pool.lineage.descendants(own).keys()
    outside = sorted(name for row, name in enumerate(names) if row not in used and name not in lineage)
    sample = random.Random(f"{seed}/{own}").sample(outside, min(wanted.exploratory, len(outside)))

    return Tiers(tuple(names[row] for row in front), tuple(names[row] for row in contrast), tuple(sample))
