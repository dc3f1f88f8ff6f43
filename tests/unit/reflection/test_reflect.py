import pytest
from hypothesis import given
from hypothesis import strategies as st

from poise_lib.proposal import propose
from poise_lib.proposal.composition import canonical, component, names
from poise_lib.proposal.known import GRPO, KNOWN
from poise_lib.reflection import reflect
from poise_lib.reflection.effects import CLEAR, changes, decisions, verdict
from poise_lib.resources.candidate import CandidatePhase, Effect
from poise_lib.resources.search import Strategy
from tests.unit.proposal.drawing import choice, entry, walks
from tests.unit.reflection.test_diagnostics import SCORES, summary

PARENT = entry("p", GRPO, 40.0, title="GRPO", metrics=SCORES, trajectory=summary())


def child(utility, *kinds, **more):
    composition = canonical([*GRPO, *(component(kind) for kind in kinds)])
    values = {"title": "Child", "metrics": SCORES, "trajectory": summary(), **more}
    return entry("c", composition, utility, "p", **values)


def judged(reflection):
    return {item.mechanism: item.effect for item in reflection.mechanisms}


@pytest.mark.parametrize(
    ("gain", "effect"),
    [
        (4.0, Effect.HELPFUL),
        (-4.0, Effect.HARMFUL),
        (0.3, Effect.NEUTRAL),
        (2.0, Effect.UNCLEAR),
        (-2.0, Effect.UNCLEAR),
    ],
)
def test_a_single_change_gets_the_whole_difference(gain, effect):
    assert judged(reflect(child(40.0 + gain, "rare-success"), PARENT, PARENT)) == {"rare-success": effect}


def test_changes_made_together_are_unclear_unless_the_difference_is_large():
    both = "rare-success", "fork-weighting"
    assert set(judged(reflect(child(44.0, *both), PARENT, PARENT)).values()) == {Effect.UNCLEAR}
    assert set(judged(reflect(child(47.0, *both), PARENT, PARENT)).values()) == {Effect.HELPFUL}
    assert verdict(2 * CLEAR, 2) is Effect.HELPFUL
    assert verdict(None, 1) is Effect.UNCLEAR


def test_replacing_is_one_decision_and_what_gave_way_gets_the_opposite_verdict():
    replaced = canonical([part for part in GRPO if part.kind != "ratio-clip"] + [component("clip-higher")])
    other = entry("c", replaced, 44.0, "p")
    assert decisions(changes(other, PARENT)) == 1
    assert judged(reflect(other, PARENT, None)) == {"clip-higher": Effect.HELPFUL, "ratio-clip": Effect.HARMFUL}


def test_a_clear_loss_warns_of_what_was_added_and_a_small_one_does_not():
    avoided = [item for item in reflect(child(34.0, "rare-success"), PARENT, PARENT).advice if item.action == "Avoid"]
    assert [(item.slot, item.kind) for item in avoided] == [("routing", "rare-success")]
    assert "-6.0 points" in avoided[0].reason
    assert reflect(child(39.0, "rare-success"), PARENT, PARENT).advice == ()


def test_taking_something_out_to_ones_loss_speaks_for_it():
    without = entry("c", canonical(part for part in GRPO if part.kind != "reference-kl"), 34.0, "p")
    advice = reflect(without, PARENT, None).advice
    assert [(item.action, item.kind) for item in advice] == [("Try", "reference-kl")]


def test_the_diagnosis_has_the_numbers_that_support_it():
    sick = child(
        33.0, "rare-success", trajectory=summary(**{"actor/entropy.last": 0.04}), metrics={**SCORES, "mixed-8": 10.0}
    )
    parent = PARENT.model_copy(update={"metrics": {**SCORES, "mixed-8": 30.0}})
    found = reflect(sick, parent, entry("r", GRPO, 41.0, title="Root"))
    assert found.diagnosis.startswith(
        "Child scored 33.00, 7.00 points below its parent GRPO. Against Root that is -8.00."
    )
    assert "mixed-8 -20.0" in found.diagnosis
    assert "Entropy collapsed from 0.600 to 0.040 nats." in found.diagnosis
    assert found.findings == ("entropy-collapse",)
    values = {item.metric: (item.value, item.reference) for item in found.evidence}
    assert values["utility"] == (33.0, 40.0)
    assert values["actor/entropy.last"] == (0.04, 0.35)
    assert values["mixed-8"] == (10.0, 30.0)


def test_a_fault_weighs_half_where_the_candidate_gained_all_the_same():
    cut = {"response_length/clip_ratio.last": 0.2}
    strengths = [
        next(
            item.strength
            for item in reflect(child(u, "rare-success", trajectory=summary(**cut)), PARENT, None).advice
            if item.kind == "overlong-shaping"
        )
        for u in (42.0, 38.0)
    ]
    assert strengths[0] == strengths[1] / 2


def test_advice_of_a_strength_does_not_shrink_where_the_candidate_gained():
    solved = {"groups/all_correct.last": 0.7}
    strengths = [
        next(
            item.strength
            for item in reflect(child(u, "rare-success", trajectory=summary(**solved)), PARENT, None).advice
            if item.kind == "difficulty-weighting"
        )
        for u in (42.0, 38.0)
    ]
    assert strengths[0] == strengths[1] == 0.4


def test_a_root_and_an_unscored_candidate_have_a_reflection_too():
    assert reflect(PARENT, None, PARENT).diagnosis.startswith("GRPO scored 40.00.")
    failed = child(None, "rare-success", phase=CandidatePhase.FAILED, metrics={}, trajectory={})
    assert reflect(failed, PARENT, PARENT).diagnosis.startswith("Child was not scored (Failed).")


def test_without_compositions_the_named_mechanisms_are_judged():
    by_hand = entry("c", (), 45.0, "p", mechanisms=("moon-phase",))
    assert judged(reflect(by_hand, PARENT, None)) == {"moon-phase": Effect.HELPFUL}


@given(walks, walks, st.floats(-100, 100), st.dictionaries(st.sampled_from(sorted(summary())), st.floats(-1e6, 1e6)))
def test_any_pair_of_candidates_gives_a_reflection_within_the_bounds_of_the_api(one, other, utility, metrics):
    parent = entry("p", one, 40.0, metrics=SCORES, trajectory=summary())
    found = reflect(entry("c", other, utility, "p", trajectory={**summary(), **metrics}), parent, parent)
    assert len(found.mechanisms) <= 12
    assert len({(item.action, item.slot, item.kind) for item in found.advice}) == len(found.advice)


def test_what_a_reflection_advises_is_what_the_proposer_then_tries():
    lost = {"reward/format_valid.last": 0.6}
    healthy, sick = (
        entry("p", KNOWN["dr-grpo"], 40.0, metrics=SCORES, trajectory=summary(**changed), title="T")
        for changed in ({}, lost)
    )
    remedies = {"invalid-floor", "format-stream", "format-penalty", "graded-reward"}

    def tried(parent):
        parent = parent.model_copy(update={"reflection": reflect(parent, None, None)})
        firsts = (
            propose(choice("p"), [parent], Strategy(proposals_per_parent=1), round=1, slot=0, seed=s)[0]
            for s in range(20)
        )
        return sum(bool(remedies & names(proposal.composition)) for proposal in firsts)

    assert tried(sick) > tried(healthy) + 5
