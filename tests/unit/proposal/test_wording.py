"""Texts of proposals: what is said of a change follows from the change, gains and losses alike."""

import pytest
from hypothesis import given

from poise_lib.proposal.catalogue import GRAMMAR
from poise_lib.proposal.composition import Difference, canonical, component, difference, names
from poise_lib.proposal.known import GRPO
from poise_lib.proposal.wording import expected_effect, hypothesis, title
from tests.unit.proposal.drawing import entry, walks

PARENT = entry("root", GRPO, 40.0, title="GRPO")


def changed(*added: object, without: frozenset[str] = frozenset()) -> Difference:
    parts = [part for part in GRPO if part.kind not in without]
    new = [component(*part) if isinstance(part, tuple) else component(str(part)) for part in added]
    return difference(GRPO, canonical([*parts, *new]))


def test_what_is_taken_out_is_expected_to_be_missed_not_to_act() -> None:
    removal = changed(without=frozenset({"reference-kl"}))
    assert title(removal, ()) == "No reference KL"
    assert hypothesis(PARENT, removal) == (
        "Starting from GRPO (root), this algorithm gives up reference KL. Going without reference KL tests whether this "
        "is needed at all: a KL term keeps the policy close to the reference."
    )
    assert expected_effect(removal) == "If what is gone was needed, this is lost: drift stays bounded."


def test_a_loss_beside_a_gain_is_spoken_of_too() -> None:
    both = changed("rare-success", without=frozenset({"reference-kl"}))
    assert "Going without reference KL tests whether" in hypothesis(PARENT, both)
    assert expected_effect(both) == (
        "If the hypothesis holds, pass@k rises on the hardest benchmark. "
        "If what is gone was needed, this is lost: drift stays bounded."
    )


def test_what_gave_way_to_another_of_its_slot_is_named_and_no_experiment() -> None:
    replaced = changed("soft-gate", without=frozenset({"ratio-clip"}))
    assert "gives up PPO clip" in hypothesis(PARENT, replaced)
    assert "Going without" not in hypothesis(PARENT, replaced)
    assert "is lost" not in expected_effect(replaced)


def test_a_setting_that_turns_beside_a_gain_has_an_effect_too() -> None:
    turned = changed("rare-success", ("reference-kl", {"kl_coef": 0.01}), without=frozenset({"reference-kl"}))
    assert expected_effect(turned) == (
        "If the hypothesis holds, pass@k rises on the hardest benchmark. "
        "If the setting matters, this is seen to another degree: drift stays bounded."
    )


@pytest.mark.parametrize("kind", GRAMMAR.kinds)
def test_labels_read_well_after_brings_in_and_no(kind: str) -> None:
    label, claim = GRAMMAR.kinds[kind].label, GRAMMAR.kinds[kind].claim
    assert not label.startswith("no ")
    assert claim.endswith(".")
    assert claim[0].isupper()


@given(walks)
def test_every_change_is_said_in_the_hypothesis_and_expected_to_show(composition) -> None:
    change = difference(GRPO, composition)
    said, expected = hypothesis(PARENT, change), expected_effect(change)
    for name in (*change.added, *change.removed):
        assert GRAMMAR.kinds[name].label in said
    for name in {*change.added, *(step.kind for step in change.retuned)} & names(composition):
        assert GRAMMAR.kinds[name].effect in expected
