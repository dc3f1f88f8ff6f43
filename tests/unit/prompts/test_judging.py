"""Rules over the model's word: screening, intent, reflections, principles."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from poise_lib.algorithms.contract import Family
from poise_lib.plain import clean
from poise_lib.prompts.judging import (
    SCREENING_WEIGHTS,
    checked_principles,
    checked_reflection,
    intent_gaps,
    judged,
    ranked,
    rules_on,
    screening_of,
)
from poise_lib.prompts.responses import (
    Citation,
    Critique,
    Judgement,
    Lesson,
    MechanismReflection,
    MechanismVerdict,
    Principle,
    Principles,
    ProposalDraft,
    ReflectionDraft,
    Scored,
    bounded,
)
from poise_lib.proposal.screening import WEIGHTS
from poise_lib.resources.candidate import CandidatePhase, Effect
from tests.unit.prompts import world


def _critique(score: float = 0.9, fatal: str = "") -> Critique:
    scored = Scored(reason="It says why.", score=score)
    return Critique(consistency=scored, feasibility=scored, novelty=scored, expected_gain=scored, fatal=fatal)


def test_weights_are_those_of_the_library() -> None:
    assert dict(SCREENING_WEIGHTS) == WEIGHTS


def test_scores_are_the_critics_within_the_bounds_of_the_rules() -> None:
    draft = world.draft()
    free = screening_of(_critique(), rules_on(draft, world.archive()))
    assert free.score == pytest.approx(0.9)
    assert "critic on novelty: It says why." in free.reasons
    twin = world.entry("demo-003-0", "demo-000-0", utility=50.0).model_copy(
        update={"title": draft.title, "mechanisms": draft.changed}
    )
    rules = rules_on(draft, [*world.archive(), twin])
    assert rules.refused
    bound = screening_of(_critique(1.0), rules)
    assert bound.novelty == 0.0
    assert bound.score == 0.0
    assert any("demo-003-0 of the archive" in reason for reason in bound.reasons)


def test_what_failed_before_and_what_is_crowded_is_less_feasible() -> None:
    draft = world.draft()
    failed = world.entry("demo-003-0").model_copy(
        update={"mechanisms": draft.changed, "phase": CandidatePhase.REJECTED, "reason": "TrainingFailed"}
    )
    assert rules_on(draft, [failed]).ceilings["feasibility"] == 0.5
    assert "feasibility" not in rules_on(draft, world.archive()).ceilings
    assert rules_on(draft, [], [draft]).ceilings["novelty"] == 0.0


def test_a_fatal_flaw_bounds_and_no_critique_is_neutral() -> None:
    rules = rules_on(world.draft(), [])
    fatal = screening_of(_critique(1.0, "It reads the text."), rules)
    assert fatal.consistency == fatal.feasibility == 0.2
    assert fatal.reasons[0].endswith("It reads the text.")
    assert screening_of(None, rules).score == 0.5
    assert ranked([screening_of(None, rules), screening_of(_critique(), rules), fatal]) == (1, 2, 0)


def test_the_judge_alone_passes_nothing_that_rules_refuse() -> None:
    verdicts = (MechanismVerdict(mechanism="rare-success", reason="as said", verdict="Implemented"),)
    praise = Judgement(mechanisms=verdicts, faithful=True)
    assert judged(False, praise, ["rare-success"]) == (False, ())
    assert judged(True, praise, ["rare-success"]) == (True, ())
    assert judged(False, None, []) == (False, ())
    assert judged(True, None, []) == (True, ())


def test_the_judge_sends_back_what_is_missing() -> None:
    missing = MechanismVerdict(mechanism="rare-success", reason="nothing reads focus", verdict="Missing")
    passed, findings = judged(
        True, Judgement(mechanisms=(missing,), hint="use focus", faithful=False), ["rare-success"]
    )
    assert not passed
    assert findings[0].evidence == "rare-success missing: nothing reads focus"
    assert findings[0].hint == "use focus"
    # Of mechanisms that nobody asked for, and without a name, it may only warn.
    passed, findings = judged(True, Judgement(mechanisms=(missing,), faithful=False), ["other"])
    assert passed
    assert [item.status for item in findings] == ["warned"]


def test_a_mechanism_that_the_module_does_not_declare_fails_by_rule() -> None:
    assert [item.status for item in intent_gaps(["a", "b"], {"a"})] == ["failed"]
    assert "b, which MECHANISMS does not declare" in intent_gaps(["b"], {"a"})[0].evidence


def _reflection(diagnosis: str, text: str = "") -> ReflectionDraft:
    return ReflectionDraft(
        evidence=(Citation(metric="overall", note=f"up {text}"), Citation(metric="nothing such")),
        diagnosis=diagnosis,
        mechanisms=(
            MechanismReflection(mechanism="group-normalisation", note=f"scale {text}", effect=Effect.HELPFUL),
            MechanismReflection(mechanism="of another", note="", effect=Effect.HARMFUL),
        ),
        lessons=(
            Lesson(action="Try", family=Family.ROUTING, what="rare success", reason=f"fails {text}", strength=0.5),
        ),
    )


def test_a_reflection_keeps_the_numbers_of_the_evidence() -> None:
    checked = checked_reflection(
        _reflection("It gained 2.1 points, to 49.9."), world.evidence(), ["group-normalisation"]
    )
    assert checked.reflection is not None
    assert [(item.metric, item.value, item.reference) for item in checked.reflection.evidence] == [
        ("overall", 49.9, 47.8)
    ]
    assert [item.mechanism for item in checked.reflection.mechanisms] == ["group-normalisation"]
    assert checked.reflection.advice[0].slot == "routing"


@pytest.mark.parametrize("where", ["diagnosis", "note"])
def test_a_reflection_that_invents_a_number_is_refused(where: str) -> None:
    draft = _reflection("It gained 61.2.") if where == "diagnosis" else _reflection("It gained.", "61.2")
    checked = checked_reflection(draft, world.evidence())
    assert checked.reflection is None
    assert checked.invented == ("61.2",)


def test_principles_cite_candidates_that_exist() -> None:
    draft = Principles(
        principles=(
            Principle(
                statement="s", supports=("demo-001-0", "invented-1", "demo-001-1"), contradicts=("demo-001-1", "x")
            ),
            Principle(statement="t", supports=("invented-2",)),
        )
    )
    kept = checked_principles(draft, world.archive()).principles
    assert [(item.supports, item.contradicts) for item in kept] == [(("demo-001-0",), ("demo-001-1",))]


def test_a_draft_becomes_a_proposal_within_its_bounds() -> None:
    draft = world.draft("\x1b[2J\u202e" + "word " * 300)
    proposal = draft.to_proposal(screening_of(_critique(), rules_on(draft, [])))
    assert len(proposal.title) <= 96
    assert proposal.title.endswith("…")
    assert proposal.mechanisms == ("rare-success",)
    for text in (proposal.title, proposal.hypothesis, proposal.rationale, proposal.expected_effect):
        assert clean(text) == text


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"changed": ("other",)}, "does not list"),
        ({"hyperparameters": ()}, "hyperparameters"),
        ({"mechanisms": ({"hyperparameter": "gone"},)}, "does not list gone"),
        ({"mechanisms": ({"off": 9.0},)}, "off = 9"),
        ({"mechanisms": ({"off": 1.0},)}, "differ from the default"),
        ({"mechanisms": ({"name": "Not a name"},)}, "name"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_draft_that_does_not_hang_together_is_refused(change: dict[str, object], complaint: str) -> None:
    document = world.draft().model_dump(mode="json")
    for key, value in change.items():
        if key == "mechanisms":
            assert isinstance(value, tuple)
            document[key] = [document[key][0] | value[0]]
        else:
            document[key] = value
    with pytest.raises(ValidationError, match=complaint):
        ProposalDraft.model_validate(document)


def test_texts_are_cut_between_words() -> None:
    assert bounded("one two three", 13) == "one two three"
    assert bounded("one two three", 10) == "one two…"
    assert bounded("x" * 20, 10) == "x" * 9 + "…"
    assert bounded(" a\n\tb\x00 ", 10) == "a b"
