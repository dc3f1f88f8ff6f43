"""The acquisition: terms by hand, batches, invariances, weights that matter."""

import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poise_lib.archive.entry import Entry
from poise_lib.artifacts.digest import digest_of
from poise_lib.resources.candidate import CandidatePhase
from poise_lib.resources.search import (
    AcquisitionWeights,
    Direction,
    GaussianProcess,
    Metric,
    Objective,
    References,
    Selection,
    Strategy,
)
from poise_lib.selection.acquisition import performance, potential, select
from poise_lib.selection.diversity import NEIGHBOURS, diversity, novelty
from poise_lib.selection.pool import Pool, normalised
from tests.unit.archive.builders import PAIR, composition, entry, grown_archive


def only(term: str, **fields: object) -> Strategy:
    """All weight on one term."""
    weights = dict.fromkeys(("pareto", "performance", "diversity", "bayes"), 0.0) | {term: 1.0}
    return Strategy.model_validate({"acquisition": weights, **fields})


def chosen(
    entries: list[Entry], strategy: Strategy | None = None, count: int | None = None, seed: int = 0
) -> Selection:
    return select(entries, strategy or Strategy(), Objective(), PAIR, round=3, seed=seed, count=count)


def names(selection: Selection) -> list[str]:
    return [parent.name for parent in selection.parents]


def test_the_baseline_alone_fills_every_place() -> None:
    selection = chosen([entry("grpo", value=50.0)])
    assert names(selection) == ["grpo"] * 3
    assert selection.round == 3
    assert all(not (p.pareto or p.complementary or p.exploratory) for p in selection.parents)


def test_parents_repeat_only_when_nodes_run_out() -> None:
    archive = [entry("a", value=50.0), entry("b", value=40.0), entry("c", value=45.0, phase=CandidatePhase.FAILED)]
    assert sorted(names(chosen(archive, count=2))) == ["a", "b"]
    assert Counter(names(chosen(archive, count=5))).most_common() in ([("a", 3), ("b", 2)], [("b", 3), ("a", 2)])


def test_only_archived_nodes_with_a_utility_are_eligible() -> None:
    archive = [
        entry("rejected", value=90.0, phase=CandidatePhase.REJECTED),
        entry("failed", value=90.0, phase=CandidatePhase.FAILED),
        entry("unscored"),
        entry("half", metrics={"a": 90.0}),
        entry("ok", value=1.0),
    ]
    assert set(names(chosen(archive))) == {"ok"}
    assert chosen(archive[:-1]).parents == ()


def test_terms_lie_in_the_unit_interval_and_add_up_to_the_score() -> None:
    weights = AcquisitionWeights()
    for parent in chosen(grown_archive(50, 4), count=20).parents:
        t = parent.terms
        parts = (t.pareto, t.performance, t.diversity, t.bayes)
        assert all(0.0 <= part <= 1.0 for part in parts)
        total = np.dot(parts, (weights.pareto, weights.performance, weights.diversity, weights.bayes))
        assert t.score == pytest.approx(total, abs=1e-6)
        assert t.round == 3


def test_performance_by_hand_with_a_collapsed_run() -> None:
    # quartiles 46 and 50, fence 40: the run at 14 counts like one at the fence
    values = performance(np.array([14.0, 46.0, 48.0, 50.0, 52.0]))
    assert values.tolist() == pytest.approx([0.0, 6 / 12, 8 / 12, 10 / 12, 1.0])
    assert performance(np.array([5.0, 5.0])).tolist() == [0.5, 0.5]


def test_only_performance_ranks_by_utility_and_ties_fall_to_the_smaller_name() -> None:
    archive = [entry("d", value=50.0), entry("b", value=52.0), entry("c", value=52.0), entry("a", value=51.0)]
    assert names(chosen(archive, only("performance"), count=4)) == ["b", "c", "a", "d"]


def test_only_pareto_prefers_the_all_rounder() -> None:
    archive = [
        entry("all-round", metrics={"a": 50.0, "b": 50.0}),
        entry("specialist", metrics={"a": 20.0, "b": 60.0}),
        entry("beaten", metrics={"a": 49.0, "b": 49.0}),
        entry("beaten-too", metrics={"a": 48.0, "b": 48.0}),
    ]
    assert names(chosen(archive, only("pareto"), count=4)) == ["all-round", "specialist", "beaten", "beaten-too"]


def test_only_diversity_prefers_the_odd_one_and_the_unused() -> None:
    twins = [entry(f"t{i}", value=50.0, composition=composition(scale="x", clip="h")) for i in range(4)]
    odd = entry("odd", value=50.0, composition=composition(reward="ladder"))
    assert names(chosen([*twins, odd], only("diversity"), count=1)) == ["odd"]
    children = [entry(f"k{i}", "odd", value=50.0, composition=composition(reward="ladder")) for i in range(3)]
    assert names(chosen([*twins, odd, *children], only("diversity"), count=1)) != ["odd"]


def test_only_bayes_prefers_the_kind_of_node_whose_descendants_gained() -> None:
    archive: list[Entry] = []
    for i in range(8):
        kind, gain = ("fertile", 4.0) if i % 2 else ("barren", -4.0)
        archive.append(entry(f"p{i}", value=50.0, composition=composition(scale=kind)))
        archive.append(entry(f"c{i}", f"p{i}", value=50.0 + gain, composition=composition(scale="other"), round=1))
    archive += [entry(f"new-{kind}", value=50.0, composition=composition(scale=kind)) for kind in ("fertile", "barren")]
    pool = Pool.of(archive, Objective(), PAIR)
    alpha = dict(zip(pool.names(), potential(pool, only("bayes", gaussianProcess={"kappa": 0.0})), strict=True))
    assert alpha["new-fertile"] > alpha["new-barren"] + 0.2


def test_without_known_gains_the_surrogate_stays_neutral() -> None:
    archive = [entry("root", value=50.0), *(entry(f"c{i}", "root", value=50.0 + i) for i in range(6))]
    assert {parent.terms.bayes for parent in chosen(archive, count=7).parents} == {0.5}


def test_every_weight_changes_the_choice() -> None:
    archive = grown_archive(60, 11)
    rankings = {term: tuple(names(chosen(archive, only(term), count=6))) for term in AcquisitionWeights.model_fields}
    assert len(set(rankings.values())) == 4


def test_the_settings_of_surrogate_and_gain_change_its_term() -> None:
    archive = grown_archive(60, 11)

    def bayes(**fields: object) -> list[tuple[str, float]]:
        parents = chosen(archive, only("bayes", **fields), count=6).parents
        return [(parent.name, parent.terms.bayes) for parent in parents]

    base = bayes()
    for fields in (
        {"gaussianProcess": {"kappa": 5.0}},
        {"gaussianProcess": {"kernel": "RBF"}},
        {"gaussianProcess": {"lengthScale": 9.0}},
        {"gaussianProcess": {"noise": 3.0}},
        {"gaussianProcess": {"maxNodes": 8}},
        {"descendantGain": {"topK": 1}},
        {"descendantGain": {"gamma": 0.1}},
        {"descendantGain": {"beta": 40.0}},
    ):
        assert bayes(**fields) != base, fields


def test_one_round_does_not_choose_the_same_algorithm_twice_under_two_names() -> None:
    archive = grown_archive(30, 2)
    best = chosen(archive, count=1).parents[0].name
    original = next(e for e in archive if e.name == best)
    digest = digest_of(b"same outputs")
    marked = [e.model_copy(update={"behaviour_digest": digest}) if e.name == best else e for e in archive]
    twin = original.model_copy(update={"name": "twin", "behaviour_digest": digest, "composition": (), "metrics": {}})
    twin = twin.model_copy(update={"metrics": {name: value + 1.0 for name, value in original.metrics.items()}})
    picked = names(chosen([*marked, twin], count=10))
    assert len({"twin", best} & set(picked)) == 1


def test_a_nudged_copy_waits_until_no_other_is_left() -> None:
    archive = [
        entry("best", value=60.0, composition=composition(scale="x")),
        entry("copy", value=60.0, composition=composition(scale="x")),
        entry("weak", value=40.0, composition=composition(scale="y")),
        entry("weaker", value=30.0, composition=composition(scale="z")),
    ]
    assert names(chosen(archive, only("performance"), count=4)) == ["best", "weak", "weaker", "copy"]


def test_the_distance_to_what_was_chosen_enters_diversity() -> None:
    archive = grown_archive(40, 5)
    pool = Pool.of(archive, Objective(), PAIR)
    alone = diversity(pool)
    first = int(alone.argmax())
    apart = pool.distances([first], slice(None))[0]
    apart[first] = 0.0
    second = int((alone * apart).argmax())
    assert names(chosen(archive, only("diversity"), count=2)) == [pool.names()[first], pool.names()[second]]
    assert np.argsort(alone)[-2] != second  # without the distance another would have come next


@settings(max_examples=15)
@given(st.integers(0, 1000), st.randoms(use_true_random=False))
def test_the_order_of_entries_does_not_count(seed: int, rng: random.Random) -> None:
    archive = grown_archive(40, seed)
    first = chosen(archive)
    rng.shuffle(archive)
    assert chosen(archive) == first


def test_the_seed_moves_the_exploratory_tier_and_nothing_else() -> None:
    archive = grown_archive(60, 8)
    one, same, two = (chosen(archive, seed=seed) for seed in (1, 1, 2))
    assert one == same
    assert [p.exploratory for p in one.parents] != [p.exploratory for p in two.parents]
    drop = {"exploratory": ()}
    assert [p.model_copy(update=drop) for p in one.parents] == [p.model_copy(update=drop) for p in two.parents]


def test_repeated_parents_explore_differently() -> None:
    archive = [entry("root", value=50.0), *(entry(f"c{i}", value=float(i)) for i in range(12))]
    strategy = only("performance", references=References(pareto=0, complementary=0, exploratory=3).to_document())
    parents = chosen([*archive], strategy, count=26).parents
    twice = [p.exploratory for p in parents if p.name == "c5"]
    assert len(twice) == 2
    assert twice[0] != twice[1]


def test_an_objective_of_ones_own_decides() -> None:
    archive = [
        entry("long", metrics={"a": 60.0, "b": 60.0, "response_length": 30.0}),
        entry("short", metrics={"a": 50.0, "b": 50.0, "response_length": 10.0}),
    ]
    shorter = Objective(metrics=(Metric(name="response_length", weight=1.0, direction=Direction.MINIMIZE),))
    selection = select(archive, only("performance"), shorter, PAIR, round=1, seed=0, count=1)
    assert names(selection) == ["short"]


def test_novelty_is_the_mean_distance_to_the_nearest() -> None:
    entries = [entry(f"n{i}", value=float(i * i), composition=composition(scale=str(i % 3))) for i in range(9)]
    pool = Pool.of(entries, Objective(), PAIR)
    distances = pool.distances(slice(None), slice(None))
    np.fill_diagonal(distances, np.inf)
    expected = np.sort(distances, axis=1)[:, :NEIGHBOURS].mean(axis=1)
    assert novelty(pool) == pytest.approx(expected)
    assert diversity(pool) == pytest.approx(0.5 * normalised(expected) + 0.5)  # nobody has children


def test_every_child_takes_from_its_parents_diversity() -> None:
    entries = [
        entry("p", value=1.0),
        entry("q", "p", value=2.0),
        entry("r", "p", value=3.0),
        entry("s", "q", value=4.0),
    ]
    pool = Pool.of(entries, Objective(), PAIR)
    unused = diversity(pool) - 0.5 * normalised(novelty(pool))
    assert unused == pytest.approx([0.5 / 3, 0.5 / 2, 0.5, 0.5])


def test_novelty_against_landmarks_stays_close_to_novelty_against_all(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Pool.of(grown_archive(300, 6), Objective(), PAIR)
    exact = novelty(pool)
    monkeypatch.setattr("poise_lib.selection.diversity.MAX_LANDMARKS", 100)
    assert np.corrcoef(exact, novelty(pool))[0, 1] > 0.6


def test_an_archive_edited_by_hand_is_selected_from_all_the_same() -> None:
    archive = [e for e in grown_archive(40, 9) if e.name not in ("c000", "c004")]
    archive.append(entry("loop-a", "loop-b", value=50.0))
    archive.append(entry("loop-b", "loop-a", value=51.0))
    assert len(chosen(archive).parents) == 3


def test_a_selection_holds_no_more_than_its_resource() -> None:
    with pytest.raises(ValueError, match="at most 32"):
        chosen([entry("a", value=1.0)], count=33)


def test_nothing_depends_on_max_nodes_while_few_are_known() -> None:
    archive = grown_archive(40, 3)
    wide = Strategy(gaussian_process=GaussianProcess(max_nodes=2000))
    assert chosen(archive) == chosen(archive, wide)
