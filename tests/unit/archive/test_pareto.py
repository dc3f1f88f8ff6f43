"""Dominance against its definition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poise_lib.archive.pareto import dominance_counts, frontier, strength

# Few distinct values, so that ties and equal vectors are frequent.
VECTORS = st.integers(1, 4).flatmap(
    lambda width: st.lists(st.tuples(*[st.integers(-2, 3).map(float)] * width), max_size=24)
)


def dominates(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return all(x >= y for x, y in zip(a, b, strict=True)) and a != b


@given(VECTORS)
def test_frontier_and_counts_are_what_the_definition_says(vectors: list[tuple[float, ...]]) -> None:
    dominators = [sum(dominates(other, own) for other in vectors) for own in vectors]
    dominated = [sum(dominates(own, other) for other in vectors) for own in vectors]
    counts = dominance_counts(vectors)
    assert counts[0].tolist() == dominators
    assert counts[1].tolist() == dominated
    assert frontier(vectors) == tuple(i for i, count in enumerate(dominators) if count == 0)


def test_counts_do_not_depend_on_the_size_of_the_chunks() -> None:
    vectors = np.random.default_rng(0).integers(0, 40, size=(700, 3)).astype(float)
    dominators, dominated = dominance_counts(vectors)
    assert dominators.sum() == dominated.sum() > 0
    assert frontier(vectors) == tuple(np.flatnonzero(dominators == 0).tolist())


def test_strength_puts_the_frontier_above_and_an_all_rounder_on_top() -> None:
    #          all-rounder  specialist  beaten by one  by two      by all
    vectors = [(5.0, 5.0), (1.0, 9.0), (4.0, 5.0), (3.0, 4.0), (0.0, 0.0)]
    assert strength(vectors).tolist() == pytest.approx(
        [1.0, 0.5 + 0.5 * 1 / 3, 0.5 * (1 - 1 / 4), 0.5 * (1 - 2 / 4), 0.0]
    )


def test_strength_of_trivial_archives() -> None:
    assert strength([]).tolist() == []
    assert strength([(1.0, 2.0)]).tolist() == [1.0]
    assert strength([(1.0, 2.0), (2.0, 1.0)]).tolist() == [1.0, 1.0]


def test_what_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        frontier([(1.0, float("nan"))])
