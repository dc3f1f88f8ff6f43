"""Parent acquisition: s(d) = w_pareto U_pareto(d) + w_perf U_perf(d) + w_div U_div(d) + w_bayes alpha_GP(d).

The paper's formula; every term is brought to [0, 1] before it is weighted:

- U_pareto: Pareto strength over the metric vector (:func:`poise_lib.archive.pareto.strength`).
- U_perf: the utility, linear from 0 at the lower Tukey fence (first quartile - 1.5 interquartile ranges, or the
  minimum if that is higher) to 1 at the best.  Over the plain minimum one collapsed run would make all others look
  alike.
- U_div: :mod:`poise_lib.selection.diversity`.
- alpha_GP: :mod:`poise_lib.selection.surrogate`, normalised over the pool; 1/2 for all while too few gains are known.

A round is chosen greedily: after each parent U_div is multiplied by the distance to what was chosen, and nodes
identical or nearly so to a chosen parent come last.  Parents repeat only when there are more places than distinct
nodes, so that a round always has all its children, even when nothing but the baseline exists.

Terms are rounded to six decimals before they are compared and ties fall to the smaller name: the same archive and
seed give the same selection on every machine, in whatever order the entries come.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from poise_lib.archive.entry import Entry
from poise_lib.archive.pareto import frontier, strength
from poise_lib.resources.candidate import SelectionTerms
from poise_lib.resources.search import AcquisitionWeights, Objective, ParentChoice, Selection, Strategy
from poise_lib.resources.suites import Suite
from poise_lib.selection.descendant_gain import descendant_gains
from poise_lib.selection.diversity import Round, diversity
from poise_lib.selection.features import node_features
from poise_lib.selection.pool import Pool, normalised
from poise_lib.selection.references import reference_tiers
from poise_lib.selection.surrogate import training_rows, upper_confidence

DECIMALS: Final = 6


def select(
    entries: Sequence[Entry],
    strategy: Strategy,
    objective: Objective,
    suite: Suite,
    *,
    round: int,
    seed: int,
    count: int | None = None,
) -> Selection:
    """The parents of a round, each with the terms that chose it and its reference sets.

    Args:
        entries: the archive; only archived entries with a utility can be chosen, the others count as evidence.
        strategy: weights, surrogate, tiers, parents a round.
        objective: what the utility is made of.
        suite: gives weights when the objective names no metrics.
        round: round that is selected for, from 1.
        seed: seed of the search; only the exploratory references are random.
        count: parents wanted, in place of ``strategy.parents_per_round``.

    Returns:
        As many choices as wanted, in the order they were made; none when nothing is eligible.

    Raises:
        ValueError: two entries have the same name, or more parents are wanted than a selection holds (32).
    """
    pool = Pool.of(entries, objective, suite)
    wanted = strategy.parents_per_round if count is None else count
    if not len(pool):
        return Selection(round=round, parents=())
    on_frontier = np.zeros(len(pool), dtype=bool)
    on_frontier[list(frontier(pool.vectors))] = True
    terms = acquisition_terms(pool, strategy)
    by_name = np.argsort(np.argsort(np.array(pool.names())))
    chosen, parents = Round(pool), []
    for place in range(wanted):
        current = terms.copy()
        current[2] *= chosen.distance_factor()
        current = current.round(DECIMALS)
        score = scores(current, strategy.acquisition)
        row = int(np.lexsort((by_name, -score, chosen.taken))[0])
        chosen.choose(row)
        tiers = reference_tiers(pool, row, terms[0], on_frontier, strategy.references, f"{seed}/{round}/{place}")
        parents.append(
            ParentChoice(
                name=pool.entries[row].name,
                terms=_terms(round, score[row], current[:, row]),
                pareto=tiers.pareto,
                complementary=tiers.complementary,
                exploratory=tiers.exploratory,
            )
        )
    return Selection(round=round, parents=tuple(parents))


def acquisition_terms(pool: Pool, strategy: Strategy) -> NDArray[np.float64]:
    """U_pareto, U_perf, U_div and alpha_GP of N nodes before a round chose anything, each in [0, 1], [4, N]."""
    return np.stack([strength(pool.vectors), performance(pool.utilities), diversity(pool), potential(pool, strategy)])


def scores(terms: NDArray[np.float64], weights: AcquisitionWeights) -> NDArray[np.float64]:
    """s(d) of every node, rounded, [N]."""
    shares = np.array([weights.pareto, weights.performance, weights.diversity, weights.bayes])
    return (shares @ terms).round(DECIMALS)


def performance(utilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """U_perf in [0, 1]: 1 for the best, 0 at the lower Tukey fence and below; 1/2 when all are equal."""
    first, third = np.quantile(utilities, [0.25, 0.75])
    return normalised(np.maximum(utilities, first - 1.5 * (third - first)))


def potential(pool: Pool, strategy: Strategy) -> NDArray[np.float64]:
    """alpha_GP in [0, 1] of every node; 1/2 for all while too few descendant gains are known."""
    gains = descendant_gains(pool.lineage, pool.utility_by_name(), strategy.descendant_gain)
    rows = training_rows(pool, gains, strategy.gaussian_process.max_nodes)
    names = pool.names()
    bound = upper_confidence(
        node_features(pool, strategy.descendant_gain.beta),
        rows,
        [gains[names[row]] for row in rows],
        strategy.gaussian_process,
    )
    return np.full(len(pool), 0.5) if bound is None else normalised(bound)


def _terms(round: int, score: float, terms: NDArray[np.float64]) -> SelectionTerms:
    pareto, best, diverse, bayes = terms.tolist()
    return SelectionTerms(
        round=round, score=float(score), pareto=pareto, performance=best, diversity=diverse, bayes=bayes
    )
