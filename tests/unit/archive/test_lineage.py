"""Lineage: distances, depths, edited archives."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poise_lib.archive.entry import Entry
from poise_lib.archive.lineage import Lineage, best_by_depth, cumulative_best
from tests.unit.archive.builders import entry

TREE = [entry("root"), entry("l", "root"), entry("r", "root"), entry("ll", "l"), entry("lll", "ll")]


def test_a_tree_is_walked_both_ways() -> None:
    lineage = Lineage.of(TREE)
    assert lineage.children["root"] == ("l", "r")
    assert lineage.descendants("root") == {"l": 1, "r": 1, "ll": 2, "lll": 3}
    assert lineage.ancestors("lll") == {"ll": 1, "l": 2, "root": 3}
    assert lineage.depths() == {"root": 0, "l": 1, "r": 1, "ll": 2, "lll": 3}
    assert lineage.line("ll") == ("root", "l", "ll")
    assert lineage.root("lll") == "root"
    assert lineage.roots() == ("root",)


def test_a_crossed_child_counts_below_both_parents_and_is_as_deep_as_its_first() -> None:
    lineage = Lineage.of([*TREE, entry("x", "lll", "r")])
    assert lineage.descendants("r") == {"x": 1}
    assert lineage.descendants("root")["x"] == 2
    assert lineage.depths()["x"] == 4
    assert lineage.line("x") == ("root", "l", "ll", "lll", "x")


def test_a_parent_that_was_deleted_leaves_a_root() -> None:
    lineage = Lineage.of([entry("kept", "gone"), entry("child", "kept")])
    assert lineage.parents["kept"] == ()
    assert lineage.root("child") == "kept"
    assert lineage.depths() == {"kept": 0, "child": 1}


def test_the_next_known_parent_takes_over_the_line_of_a_deleted_one() -> None:
    lineage = Lineage.of([entry("second"), entry("child", "gone", "second")])
    assert lineage.line("child") == ("second", "child")


def test_links_of_a_cycle_are_dropped_and_the_rest_is_kept() -> None:
    nodes = [
        entry("a", "c"),
        entry("b", "a"),
        entry("c", "b"),
        entry("below", "c"),
        entry("self", "self"),
        entry("top"),
    ]
    nodes.append(entry("kept", "top", "b"))
    lineage = Lineage.of(nodes)
    assert [lineage.parents[name] for name in ("a", "b", "c", "self")] == [(), (), (), ()]
    assert lineage.parents["below"] == ("c",)
    assert lineage.parents["kept"] == ("top", "b")
    assert lineage.depths()["below"] == 1


def test_a_node_on_a_cycle_keeps_its_other_parents() -> None:
    lineage = Lineage.of([entry("top"), entry("a", "b", "top"), entry("b", "a")])
    assert lineage.parents == {"top": (), "a": ("top",), "b": ()}


def test_names_are_unique() -> None:
    with pytest.raises(ValueError, match="two entries are named 'a'"):
        Lineage.of([entry("a"), entry("a")])


NAMES = [f"n{i}" for i in range(8)]


@given(
    st.lists(st.lists(st.sampled_from([*NAMES, "gone"]), max_size=3, unique=True), min_size=8, max_size=8),
    st.randoms(use_true_random=False),
)
def test_any_links_at_all_give_the_same_acyclic_lineage_in_any_order(
    links: list[list[str]], rng: random.Random
) -> None:
    nodes = [Entry(name=name, parents=tuple(parents)) for name, parents in zip(NAMES, links, strict=True)]
    lineage = Lineage.of(nodes)
    rng.shuffle(nodes)
    assert Lineage.of(nodes) == lineage
    assert sorted(lineage.order) == NAMES
    position = {name: place for place, name in enumerate(lineage.order)}
    for name in NAMES:
        assert all(position[parent] < position[name] for parent in lineage.parents[name])
        assert name not in lineage.descendants(name)
        assert all(lineage.ancestors(below)[name] == depth for below, depth in lineage.descendants(name).items())
        assert len(lineage.line(name)) == lineage.depths()[name] + 1


def test_best_by_depth_and_when_a_new_best_was_reached() -> None:
    utilities = {"root": 5.0, "l": 4.0, "r": 6.0, "ll": 6.0, "lll": 9.0}
    steps = best_by_depth(Lineage.of(TREE), utilities)
    assert steps == ((0, "root", 5.0), (1, "r", 6.0), (2, "ll", 6.0), (3, "lll", 9.0))
    assert cumulative_best(steps) == ((0, "root", 5.0), (1, "r", 6.0), (3, "lll", 9.0))
    del utilities["root"]
    assert best_by_depth(Lineage.of(TREE), utilities)[0] == (1, "r", 6.0)
    assert cumulative_best(()) == ()
