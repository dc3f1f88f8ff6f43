import pytest
from hypothesis import given

from poise_lib.proposal.catalogue import GRAMMAR
from poise_lib.proposal.composition import (
    canonical,
    component,
    difference,
    distance,
    names,
    problems,
    signature,
)
from poise_lib.proposal.known import GRPO, KNOWN
from poise_lib.proposal.repair import repair
from poise_lib.resources.candidate import Component
from tests.unit.proposal.drawing import walks, with_kind


def test_canonical_orders_fills_and_forgets_what_it_does_not_know():
    loose = [component("token-mean"), component("rare-success"), Component(slot="reward", kind="by-hand")]
    assert [part.kind for part in canonical(loose)] == [
        "correctness",
        "group-mean",
        "unscaled",
        "rare-success",
        "ratio-clip",
        "token-mean",
    ]


def test_parameters_are_kept_in_their_ranges():
    assert component("ratio-clip", {"clip_ratio": 40.0}).parameters == {"clip_ratio": 0.5}
    with pytest.raises(KeyError, match="no parameter"):
        component("ratio-clip", {"width": 1.0})


@pytest.mark.parametrize(
    ("kinds", "complaint"),
    [
        (("entropy-target",), "needs that the loss has an entropy term"),
        (("difficulty-weighting", "rare-success"), "exclude each other"),
        (("advantage-clip",), "needs that advantages may exceed 1 by far"),
        (("silence-solved", "unscaled"), "needs that all-correct groups have a signal"),
        (("reference-kl", "kl-gate", "failure-gated-kl"), "both control kl_coef"),
        (("advantage-clip", "negative-clip", "group-normalisation"), "slot clip holds 2 components"),
        # A signal that comes into being after the place where it is needed does not count.
        (("silence-solved", "efficiency-stream"), "needs that all-correct groups have a signal"),
    ],
)
def test_problems_say_what_is_wrong(kinds, complaint):
    assert any(complaint in problem for problem in problems(canonical(component(kind) for kind in kinds)))


@pytest.mark.parametrize("kind", GRAMMAR.kinds)
def test_every_kind_can_be_brought_into_grpo(kind):
    composition = with_kind(kind)
    assert kind in names(composition)
    assert problems(composition) == ()


def test_repair_supplies_what_a_kept_kind_needs():
    repaired = repair([*GRPO, component("entropy-target")], keep=frozenset({"entropy-target"}))
    assert {"entropy-target", "entropy-bonus"} <= names(repaired)


def test_repair_drops_what_nobody_keeps():
    assert "entropy-target" not in names(repair([*GRPO, component("entropy-target")]))


def test_repair_gives_up_rather_than_the_change():
    assert (
        repair(
            [*GRPO, component("kl-gate"), component("failure-gated-kl")],
            keep=frozenset({"kl-gate", "failure-gated-kl"}),
        )
        is None
    )


def test_a_difference_names_every_change():
    child = [part for part in GRPO if part.kind not in ("ratio-clip", "reference-kl")]
    child += [component("clip-higher"), component("reference-kl", {"kl_coef": 0.01})]
    change = difference(GRPO, canonical(child))
    assert change.added == ("clip-higher",)
    assert change.removed == ("ratio-clip",)
    assert [(step.parameter, step.before, step.after) for step in change.retuned] == [("kl_coef", 0.001, 0.01)]
    assert change.retuned[0].shift > 0
    assert change.changed == ("ratio-clip", "clip-higher", "reference-kl")


@given(walks, walks)
def test_distance_is_a_bounded_symmetric_semimetric(one, other):
    assert distance(one, one) == 0.0
    assert distance(one, other) == pytest.approx(distance(other, one))
    assert 0.0 <= distance(one, other) <= 1.0
    assert (distance(one, other) == 0.0) == (signature(one) == signature(other))


@given(walks)
def test_a_repaired_composition_is_a_fixed_point(composition):
    assert repair(composition) == composition == canonical(reversed(composition))


@pytest.mark.parametrize("name", KNOWN)
def test_known_algorithms_are_consistent(name):
    assert problems(KNOWN[name]) == ()
