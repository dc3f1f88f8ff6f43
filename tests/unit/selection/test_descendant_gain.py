"""Discounted Top-K Descendant Gain: by hand, and merged against walked."""

import math
import random
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poise_lib.archive.entry import Entry
from poise_lib.archive.lineage import Lineage
from poise_lib.resources.search import DescendantGain
from poise_lib.selection.descendant_gain import descendant_gains
from tests.unit.archive.builders import entry

SETTING = DescendantGain(top_k=2, gamma=0.5, beta=4.0)
#   d(50) -> low(49), good(54) -> best(58); good -> bad(40); leaf(51) under low
LINEAGE = Lineage.of(
    [
        entry("d"),
        entry("low", "d"),
        entry("good", "d"),
        entry("best", "good"),
        entry("bad", "good"),
        entry("leaf", "low"),
    ]
)
UTILITIES = {"d": 50.0, "low": 49.0, "good": 54.0, "best": 58.0, "bad": 40.0, "leaf": 51.0}


def test_by_hand() -> None:
    gains = descendant_gains(LINEAGE, UTILITIES, SETTING)
    assert gains["d"] == pytest.approx((0.25 * math.tanh(8 / 4) + 0.5 * math.tanh(4 / 4)) / 2)
    assert gains["good"] == pytest.approx(0.5 * (math.tanh(4 / 4) + math.tanh(-14 / 4)) / 2)
    assert gains["low"] == pytest.approx(0.5 * math.tanh(2 / 4))
    assert gains.keys() == {"d", "good", "low"}  # leaves have no descendants, hence no target


def test_k_1_takes_the_best_descendant_however_far() -> None:
    gains = descendant_gains(LINEAGE, UTILITIES, SETTING.model_copy(update={"top_k": 1}))
    assert gains["d"] == pytest.approx(0.25 * math.tanh(2))


def test_without_discount_depth_does_not_count() -> None:
    gains = descendant_gains(LINEAGE, UTILITIES, SETTING.model_copy(update={"gamma": 1.0, "top_k": 1}))
    assert gains["d"] == pytest.approx(math.tanh(2))


def test_a_node_that_was_never_evaluated_passes_its_descendants_on() -> None:
    known = {name: value for name, value in UTILITIES.items() if name != "good"}
    gains = descendant_gains(LINEAGE, known, SETTING)
    assert gains["d"] == pytest.approx((0.25 * math.tanh(8 / 4) + 0.25 * math.tanh(1 / 4)) / 2)
    assert "good" not in gains


def test_a_loss_everywhere_below_is_a_negative_gain() -> None:
    assert descendant_gains(LINEAGE, UTILITIES | {"best": 30.0}, SETTING)["good"] < -0.4


@given(st.integers(0, 10_000), st.integers(1, 4))
def test_merging_upwards_gives_what_walking_every_subtree_gives(seed: int, top_k: int) -> None:
    rng = random.Random(seed)
    nodes: list[Entry] = []
    for i in range(25):
        parents = rng.sample([node.name for node in nodes], min(len(nodes), rng.choice([0, 1, 1, 2])))
        nodes.append(entry(f"n{i:02d}", *parents))
    lineage = Lineage.of(nodes)
    utilities = {node.name: float(rng.randrange(6)) for node in nodes if rng.random() < 0.8}
    setting = DescendantGain(top_k=top_k, gamma=0.7, beta=2.0)
    expected = {}
    for name, own in utilities.items():
        below = {node: depth for node, depth in lineage.descendants(name).items() if node in utilities}
        top = sorted(below, key=lambda node: (-utilities[node], node))[:top_k]
        if top:
            expected[name] = fmean(0.7 ** below[node] * math.tanh((utilities[node] - own) / 2.0) for node in top)
    assert descendant_gains(lineage, utilities, setting) == pytest.approx(expected)
