"""Context tiers."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from poise_lib.archive.entry import Entry
from poise_lib.archive.pareto import frontier, strength
from poise_lib.resources.search import Objective, References
from poise_lib.selection.pool import Pool
from poise_lib.selection.references import Tiers, reference_tiers
from tests.unit.archive.builders import PAIR, composition, entry, grown_archive


def tiers(entries: list[Entry], parent: str, wanted: References | None = None, seed: str = "0") -> Tiers:
    pool = Pool.of(entries, Objective(), PAIR)
    on_frontier = np.isin(np.arange(len(pool)), frontier(pool.vectors))
    row = pool.names().index(parent)
    return reference_tiers(pool, row, strength(pool.vectors), on_frontier, wanted or References(), seed)


FAMILY = [
    entry("p", value=50.0, composition=composition(scale="x", baseline="m", clip="h")),
    entry("near", "p", value=51.0, composition=composition(scale="x", baseline="m", clip="s")),
    entry("far", value=52.5, composition=composition(reward="l")),
    entry("far-weak", value=10.0, composition=composition(token="t")),
    entry("mid", value=52.2, composition=composition(scale="x", baseline="o", clip="s")),
    entry("best", value=60.0, composition=composition(scale="x", baseline="m", clip="h")),
]


def test_each_tier_brings_what_it_is_for() -> None:
    found = tiers(FAMILY, "p", References(pareto=1, complementary=2, exploratory=8))
    assert found.pareto == ("best",)
    assert found.complementary == ("far", "mid")  # "far-weak" is as different, but from the worse half
    assert found.exploratory == ("far-weak",)  # "near" is a descendant


def test_the_worse_half_serves_when_nothing_else_is_left() -> None:
    found = tiers(FAMILY, "p", References(pareto=0, complementary=8, exploratory=0))
    assert found.complementary == ("far", "mid", "best", "far-weak", "near")


@given(st.integers(0, 50), st.integers(0, 59))
def test_tiers_never_repeat_never_hold_the_parent_and_explore_outside_its_lineage(seed: int, place: int) -> None:
    archive = grown_archive(60, seed)
    pool = Pool.of(archive, Objective(), PAIR)
    parent = pool.names()[place % len(pool)]
    found = tiers(archive, parent, References(pareto=3, complementary=3, exploratory=3))
    names = [*found.pareto, *found.complementary, *found.exploratory]
    assert len(set(names)) == len(names)
    assert parent not in names
    assert set(names) <= set(pool.names())
    family = pool.lineage.ancestors(parent).keys() | pool.lineage.descendants(parent).keys()
    assert not family & set(found.exploratory)


def test_the_exploratory_sample_follows_the_seed_only() -> None:
    archive = grown_archive(60, 1)
    wanted = References(pareto=0, complementary=0, exploratory=4)
    first = tiers(archive, "c000", wanted)
    assert tiers(archive[::-1], "c000", wanted) == first
    parent = next(e.name for e in archive if e.parents and e.metrics)
    samples = {tiers(archive, parent, wanted, seed=str(i)).exploratory for i in range(10)}
    assert len(samples) > 5
