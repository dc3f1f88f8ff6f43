import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poise_lib.proposal.composition import difference, names, problems
from poise_lib.proposal.credit import Credit, Estimate
from poise_lib.proposal.known import GRPO, KNOWN
from poise_lib.proposal.moves import Move, MoveType, Reference, appeal, apply, available, probabilities
from tests.unit.proposal.drawing import REFERENCES, walks


def rng():
    return np.random.default_rng(0)


@given(walks, st.integers(0, 1000))
def test_any_move_gives_a_consistent_composition_that_shows_the_change(composition, seed):
    random = np.random.default_rng(seed)
    moves = available(composition, REFERENCES)
    move = moves[int(random.integers(len(moves)))]
    after = apply(composition, (move,), random)
    if after is None:
        return
    assert problems(after) == ()
    change = difference(composition, after)
    if move.type is MoveType.RETUNE:
        step = next(step for step in change.retuned if step.kind == move.kind)
        assert np.sign(step.shift) == move.direction
    elif move.type is MoveType.REMOVE:
        assert move.kind in change.removed
    else:
        assert move.kind in change.added
        assert not move.replaced or move.replaced in change.removed


def test_adding_brings_what_the_mechanism_needs():
    after = apply(GRPO, (Move(MoveType.ADD, "entropy-target"),), rng())
    assert {"entropy-target", "entropy-bonus"} <= names(after)


def test_removing_takes_along_what_rested_on_it():
    after = apply(KNOWN["vm-av"], (Move(MoveType.REMOVE, "entropy-bonus"),), rng())
    assert not {"entropy-bonus", "entropy-target"} & names(after)


def test_moves_that_contradict_each_other_are_refused():
    both = (Move(MoveType.ADD, "kl-gate"), Move(MoveType.ADD, "failure-gated-kl"))
    assert apply(GRPO, both, rng()) is None


def test_crossing_brings_the_references_parameters():
    reference = Reference("c1", "complementary", KNOWN["rf"])
    move = next(
        m for m in available(GRPO, [reference]) if m.type is MoveType.CROSS and m.kind == "damped-normalisation"
    )
    part = next(part for part in apply(GRPO, (move,), rng()) if part.kind == "damped-normalisation")
    assert part.parameters == {"damping": 0.1}
    assert move.tier == "complementary"


def test_crossings_come_from_references_only():
    assert not [move for move in available(GRPO, []) if move.type is MoveType.CROSS]


def chance(credit, kind, kinds=(MoveType.ADD,)):
    moves = available(GRPO, [])
    weights = probabilities(moves, credit)
    return sum(weight for move, weight in zip(moves, weights, strict=True) if move.kind == kind and move.type in kinds)


def test_probabilities_follow_credit_and_never_vanish():
    plain = Credit()
    earned = Credit(effects={("rare-success", ""): Estimate(0.8, 0.2, 4)})
    spoilt = Credit(effects={("rare-success", ""): Estimate(-0.8, 0.2, 4)})
    assert chance(earned, "rare-success") > 2 * chance(plain, "rare-success")
    assert 0.0 < chance(spoilt, "rare-success") < 0.5 * chance(plain, "rare-success")
    weights = probabilities(available(GRPO, REFERENCES), earned)
    assert weights.sum() == pytest.approx(1.0)


def test_advice_for_and_against_a_kind_changes_its_chance():
    towards = Credit(advice={("routing", "rare-success"): 0.6})
    away = Credit(advice={("routing", "rare-success"): -0.6})
    assert chance(towards, "rare-success") > 1.5 * chance(Credit(), "rare-success")
    assert chance(away, "rare-success") < 0.7 * chance(Credit(), "rare-success")


def test_a_kind_in_doubt_is_removed_or_retuned_rather_than_kept():
    doubt = Credit(effects={("reference-kl", ""): Estimate(-0.9, 0.2, 5)})
    for kind in (MoveType.REMOVE, MoveType.RETUNE):
        assert chance(doubt, "reference-kl", (kind,)) > chance(Credit(), "reference-kl", (kind,))


def test_retuning_leans_to_the_direction_that_paid():
    credit = Credit(effects={("ratio-clip", "clip_ratio"): Estimate(1.5, 0.3, 3)})
    up, down = (Move(MoveType.RETUNE, "ratio-clip", parameter="clip_ratio", direction=d) for d in (1.0, -1.0))
    assert appeal(up, credit) > appeal(down, credit)
