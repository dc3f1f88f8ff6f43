import re

import pytest

from poise_lib.evaluation import trajectory
from poise_lib.proposal.catalogue import GRAMMAR
from poise_lib.proposal.grammar import REQUIRED_SLOTS, Parameter, Slot

KINDS = tuple(GRAMMAR.kinds.values())
every = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")


def code_of(kind):
    code = kind.code
    return "\n".join((code.reward, code.signal, code.token, code.loss, *code.helpers))


def test_every_family_and_slot_is_covered():
    assert len(KINDS) >= 60
    assert {kind.slot for kind in KINDS} == set(Slot)
    families = {kind.family.value for kind in KINDS}
    assert families == {
        "core-signal",
        "routing",
        "failure-control",
        "stabilisation",
        "length-shaping",
        "objective",
        "controller",
        "reward",
    }


@pytest.mark.parametrize("slot", REQUIRED_SLOTS)
def test_a_required_slot_falls_back_to_a_kind_that_needs_nothing(slot):
    neutral = GRAMMAR.neutral(slot)
    assert not neutral.requires
    assert not neutral.any_of


@every
def test_defaults_lie_inside_their_ranges(kind):
    for parameter in kind.parameters:
        assert parameter.low <= parameter.default <= parameter.high
        assert parameter.low < parameter.high
        assert not parameter.log or parameter.low > 0


@every
def test_the_switch_is_a_hyperparameter_that_the_kind_declares(kind):
    own = {parameter.name for parameter in kind.parameters} | ({kind.flag.name} if kind.flag else set())
    assert not kind.switch or kind.switch in own
    assert kind.flag is None or kind.flag.name == kind.switch
    if kind.switch and kind.flag is None:
        parameter = kind.parameter(kind.switch)
        assert not parameter.low <= kind.off <= parameter.high, "a tuned value must never switch the mechanism off"


@every
def test_every_hyperparameter_is_read_by_the_kinds_own_code(kind):
    code = code_of(kind) + kind.expression
    for name in [parameter.name for parameter in kind.parameters] + ([kind.flag.name] if kind.flag else []):
        assert f'hyper["{name}"]' in code or f"{{{name}}}" in code


@every
def test_texts_fit_where_they_are_rendered(kind):
    assert len(kind.claim) <= 100
    assert kind.claim.endswith(".")
    assert not kind.effect.endswith(".")
    assert '"' not in kind.claim + kind.label + kind.formula + kind.source


@every
def test_facts_and_conflicts_name_what_exists(kind):
    assert kind.conflicts <= GRAMMAR.kinds.keys()
    provided = {
        fact for other in KINDS if GRAMMAR.order(other.name) < GRAMMAR.order(kind.name) for fact in other.provides
    }
    assert kind.requires <= provided
    assert not kind.any_of or kind.any_of & provided
    if kind.controls:
        assert any(kind.controls in _PLACEHOLDER.findall(code_of(other)) for other in KINDS)
        assert kind.expression


def test_hyperparameters_of_different_slots_never_share_a_name():
    owners = {}
    for kind in KINDS:
        for parameter in kind.parameters:
            owners.setdefault(parameter.name, set()).add(kind.slot)
    assert {name for name, slots in owners.items() if len(slots) > 1} == set()


def test_kinds_of_one_slot_that_share_a_hyperparameter_exclude_each_other():
    for kind in KINDS:
        for other in KINDS:
            shared = {p.name for p in kind.parameters} & {p.name for p in other.parameters}
            if kind is not other and shared and kind.slot not in REQUIRED_SLOTS:
                assert other.name in kind.conflicts or kind.name in other.conflicts, (kind.name, other.name)


def test_controllers_read_metrics_that_engines_record():
    recorded = {value for name, value in vars(trajectory).items() if name.isupper() and isinstance(value, str)}
    for kind in KINDS:
        for metric in re.findall(r'\.get\("([a-z_]+/[a-z_]+)"', code_of(kind)):
            assert metric in recorded


@pytest.mark.parametrize("log", [False, True])
def test_positions_and_values_are_each_others_inverse(log):
    parameter = Parameter("x", 0.5, 0.01, 2.0, "", log=log)
    assert parameter.position(parameter.low) == pytest.approx(0.0)
    assert parameter.position(parameter.high) == pytest.approx(1.0)
    assert parameter.at(-3.0) == parameter.low
    assert parameter.at(7.0) == parameter.high
    assert parameter.at(parameter.position(0.1)) == pytest.approx(0.1, rel=1e-2)
    assert parameter.at(0.5) == (pytest.approx(0.141) if log else pytest.approx(1.0, rel=0.01))
