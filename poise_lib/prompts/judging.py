"""What is made of a model's answers: rules first, the model's word second, and never the other way round.

* Screening (phase I of arXiv:2603.23951): rules bound the scores that a critic may give, and both give their reasons.
* Intent against code (phase II): what rules refuse stays refused, whatever the judge says; what rules pass the judge may
  still send back.
* Reflections: every number must stand in the evidence, or the reflection is not used (:mod:`poise_lib.prompts.evidence`).
* Principles: the candidates that they cite must exist.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from poise_lib.archive.entry import Entry
from poise_lib.prompts.directions import SLOT_FAMILIES
from poise_lib.prompts.evidence import Evidence, invented
from poise_lib.prompts.exhibits import word_set
from poise_lib.prompts.responses import (
    LONG,
    SHORT,
    Critique,
    Judgement,
    Principle,
    Principles,
    ProposalDraft,
    ReflectionDraft,
    bounded,
)
from poise_lib.resources.candidate import (
    Advice,
    CheckResult,
    EvidenceItem,
    MechanismEffect,
    Reflection,
    Screening,
)

SCREENING_WEIGHTS: Final[Mapping[str, float]] = {
    "consistency": 0.15,
    "feasibility": 0.15,
    "novelty": 0.2,
    "expected_gain": 0.5,
}
"""Those of the Library proposer (:mod:`poise_lib.proposal.screening`), so that scores of both can be compared."""
CROWDED: Final = 6
"""Changed mechanisms beyond this many cannot be told apart afterwards."""
FATAL_CEILING: Final = 0.2
"""What consistency and feasibility may be at most when the critic names a fatal flaw."""
SAME: Final = 0.8
"""Share of common words at which a title and its mechanisms count as another's."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What rules say of a proposal: the most that each score may be, and why."""

    ceilings: Mapping[str, float] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()
    refused: bool = False
    """The archive has it already: nothing is to be learnt from it."""


def rules_on(draft: ProposalDraft, archive: Sequence[Entry], siblings: Sequence[ProposalDraft] = ()) -> Rules:
    """Bounds on a draft's scores from what can be seen without a model.

    Args:
        draft: the proposal.
        archive: all finished candidates, for novelty.
        siblings: proposals ranked before it in the same population.
    """
    ceilings: dict[str, float] = {}
    reasons: list[str] = []

    def bound(name: str, ceiling: float, reason: str) -> None:
        ceilings[name] = min(ceilings.get(name, 1.0), round(max(0.0, ceiling), 4))
        reasons.append(f"{name.replace('_', ' ')}: {reason}")

    if len(draft.changed) > CROWDED:
        bound(
            "feasibility",
            1.0 - 0.1 * (len(draft.changed) - CROWDED),
            f"{len(draft.changed)} changes at once cannot be told apart",
        )
    idle = {item.name for item in draft.hyperparameters} - {item.hyperparameter for item in draft.mechanisms}
    text = " ".join(item.computation for item in draft.mechanisms)
    if unread := sorted(name for name in idle if name not in text):
        bound("consistency", 0.7, f"no mechanism reads {', '.join(unread)}")
    own = _marks(draft)
    refused = False
    alike, name = max(((_share(own, _entry_marks(entry)), entry.name) for entry in archive), default=(0.0, ""))
    if alike >= SAME:
        same = next(entry for entry in archive if entry.name == name)
        bound("novelty", 1.0 - alike, f"{name} of the archive has {alike:.0%} of its words")
        refused = alike >= 1.0 and set(draft.changed) == set(same.mechanisms)
    for sibling in siblings:
        share = _share(own, _marks(sibling))
        if share >= SAME:
            bound(
                "novelty",
                1.0 - share,
                f"a proposal of this list, {bounded(sibling.title, 60)!r}, has {share:.0%} of its words",
            )
    for entry in archive:
        if entry.at_fault and set(draft.changed) and set(draft.changed) <= set(entry.mechanisms):
            bound("feasibility", 0.5, f"{entry.name} with the same changes ended {entry.reason}")
    return Rules(ceilings, tuple(reasons), refused)


def screening_of(critique: Critique | None, rules: Rules) -> Screening:
    """Scores of the critic within the bounds of the rules, the weighted total, and the reasons of both.

    Without a critique (the model gave none that could be read) the scores are neutral, within the same bounds.
    """
    scores, reasons = {}, list(rules.reasons)
    for name in SCREENING_WEIGHTS:
        given = getattr(critique, name) if critique is not None else None
        score = given.score if given is not None else 0.5
        if critique is not None and critique.fatal and name in ("consistency", "feasibility"):
            score = min(score, FATAL_CEILING)
        scores[name] = round(min(score, rules.ceilings.get(name, 1.0)), 4)
        if given is not None and given.reason:
            reasons.append(f"critic on {name.replace('_', ' ')}: {given.reason}")
    if critique is None:
        reasons.append("no critique could be read; scores are neutral")
    elif critique.fatal:
        reasons.insert(0, f"critic names a fatal flaw: {critique.fatal}")
    total = round(sum(weight * scores[name] for name, weight in SCREENING_WEIGHTS.items()), 4)
    kept = tuple(bounded(reason, LONG) for reason in reasons[:16])
    return Screening(**scores, score=0.0 if rules.refused else total, reasons=kept)


def ranked(screenings: Sequence[Screening]) -> tuple[int, ...]:
    """Places of the proposals, best first; equal scores keep their order."""
    return tuple(sorted(range(len(screenings)), key=lambda at: (-screenings[at].score, at)))


def intent_gaps(changed: Iterable[str], declared: Collection[str]) -> tuple[CheckResult, ...]:
    """The rules' part of intent against code: mechanisms that the proposal changes and the module does not declare.

    Args:
        changed: mechanisms of the proposal.
        declared: names in the module's MECHANISMS, read by the static policy and never by running it.
    """
    return tuple(
        CheckResult(
            name="intent",
            status="failed",
            evidence=bounded(f"the proposal changes {name}, which MECHANISMS does not declare", LONG),
            hint=bounded(f"implement {name} and declare it under this name", LONG),
        )
        for name in changed
        if name not in declared
    )


def judged(
    rules_passed: bool, judgement: Judgement | None, changed: Collection[str]
) -> tuple[bool, tuple[CheckResult, ...]]:
    """Rules and judge together: a candidate passes only if the rules pass it and the judge finds nothing missing.

    Args:
        rules_passed: whether every check of verification passed.
        judgement: the judge's word; None when there was none, which changes nothing.
        changed: mechanisms of the proposal; what is said of others does not count.

    Returns:
        Whether it passes, and the judge's findings in the form of a verification report.
    """
    if judgement is None:
        return rules_passed, ()
    findings = []
    for item in judgement.mechanisms:
        if item.verdict != "Implemented" and item.mechanism in changed:
            findings.append(
                CheckResult(
                    name="judge",
                    status="failed",
                    evidence=bounded(f"{item.mechanism} {item.verdict.lower()}: {item.reason}", LONG),
                    hint=bounded(judgement.hint, LONG),
                )
            )
    if not judgement.faithful and not findings:
        said = judgement.undeclared or judgement.hint or "the judge finds the code unfaithful and names no mechanism"
        # A verdict that names nothing cannot be repaired, so it warns and refuses nothing.
        findings.append(
            CheckResult(name="judge", status="warned", evidence=bounded(said, LONG), hint=bounded(judgement.hint, LONG))
        )
    failed = any(item.status == "failed" for item in findings)
    return rules_passed and not failed, tuple(findings[:16])


@dataclass(frozen=True, slots=True)
class CheckedReflection:
    """A reflection that may be kept, or the numbers for which it is refused."""

    reflection: Reflection | None
    invented: tuple[str, ...] = ()


def checked_reflection(draft: ReflectionDraft, evidence: Evidence, changed: Collection[str] = ()) -> CheckedReflection:
    """Turn a draft into a reflection, unless it quotes a number that the evidence does not hold.

    Numbers of the evidence items are taken from the evidence by name, never from the draft; items that name no row are
    dropped, as is what is said of mechanisms that were not ``changed`` (when that is known).
    """
    wrong = invented(draft.texts(), evidence)
    if wrong:
        return CheckedReflection(None, wrong)
    items = []
    for citation in draft.evidence:
        row = evidence.row(citation.metric)
        if row is not None:
            items.append(
                EvidenceItem(
                    metric=_metric_name(row.name),
                    value=row.value,
                    reference=row.reference,
                    note=bounded(citation.note, LONG),
                )
            )
    effects = tuple(
        MechanismEffect(mechanism=bounded(item.mechanism, SHORT), effect=item.effect, note=bounded(item.note, LONG))
        for item in draft.mechanisms
        if not changed or item.mechanism in changed
    )
    slots = {family: slot for slot, family in reversed(SLOT_FAMILIES.items())}
    advice = tuple(
        Advice(
            action=item.action,
            slot=slots[item.family],
            strength=item.strength,
            reason=bounded(f"{item.what}: {item.reason}", LONG),
        )
        for item in draft.lessons
    )
    return CheckedReflection(
        Reflection(
            diagnosis=bounded(draft.diagnosis, LONG),
            evidence=tuple(items)[:16],
            mechanisms=effects[:12],
            advice=advice[:12],
        )
    )


def checked_principles(draft: Principles, archive: Iterable[Entry]) -> Principles:
    """Principles whose candidates exist: unknown names are taken out, and a principle that nothing supports is dropped.

    A candidate that is named on both sides counts against the principle: who claims both has shown neither.
    """
    names = {entry.name for entry in archive}
    kept = []
    for item in draft.principles:
        against = tuple(dict.fromkeys(name for name in item.contradicts if name in names))
        support = tuple(dict.fromkeys(name for name in item.supports if name in names and name not in against))
        if support:
            kept.append(
                Principle(
                    statement=bounded(item.statement, LONG),
                    supports=support,
                    contradicts=against,
                    conditions=bounded(item.conditions, LONG),
                )
            )
    return Principles(principles=tuple(kept))


def _marks(draft: ProposalDraft) -> frozenset[str]:
    return word_set((draft.title, *draft.changed))


def _entry_marks(entry: Entry) -> frozenset[str]:
    return word_set((entry.title, *entry.mechanisms))


def _share(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / len(one | other) if one or other else 0.0


def _metric_name(name: str) -> str:
    """A row's name as a resource takes it."""
    return "".join(letter if letter.isalnum() or letter in "_./@-" else "_" for letter in name)[:64]
