"""What each role may answer: frozen models whose JSON schema goes to the endpoint and whose words are checked here.

An answer is untrusted.  Its texts have the bounds that the resources have, with room for a model that runs on a little:
what goes into a resource is cleaned and cut by :func:`bounded`.  Fields stand in the order in which they are best
thought about: reasons before scores, so that the score follows from them.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from poise_lib.algorithms.allowed import MAX_CHARACTERS, MAX_HYPERPARAMETERS, MAX_MECHANISMS
from poise_lib.algorithms.contract import Family
from poise_lib.plain import clean
from poise_lib.resources.candidate import Effect, Proposal, Screening

SHORT: Final = 256
LONG: Final = 2000
"""Characters of ShortText and Text of the resources."""

Identifier = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=64)]
MechanismName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=64)]
Line = Annotated[str, StringConstraints(max_length=2 * SHORT)]
Prose = Annotated[str, StringConstraints(max_length=2 * LONG)]
Score = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
Number = Annotated[float, Field(allow_inf_nan=False)]


def bounded(text: str, limit: int) -> str:
    """Cleaned text of at most ``limit`` characters, cut with an ellipsis at a word's end where there is one."""
    plain = " ".join(clean(text).split())
    if len(plain) <= limit:
        return plain
    head = plain[: limit - 1]
    return (head[: head.rfind(" ")] if " " in head[limit // 2 :] else head) + "…"


class Answer(BaseModel):
    """Frozen, refuses fields that nobody asked for."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ProposedMechanism(Answer):
    """One idea of a proposal, with the hyperparameter that switches it off."""

    name: MechanismName = Field(
        description="Lower-case words joined by hyphens; MECHANISMS of the module uses the same."
    )
    family: Family = Field(description="The family it belongs to.")
    claim: Line = Field(description="One sentence: what it is good for.")
    computation: Prose = Field(description="What is computed, in formulas over the contract's fields.")
    hyperparameter: Identifier = Field(description="The hyperparameter that switches it off.")
    off: Number = Field(description="The value at which it has no effect, and nothing else changes.")


class ProposedHyperparameter(Answer):
    """A number of the algorithm."""

    name: Identifier = Field(description="As HYPERPARAMETERS of the module will call it.")
    default: Number = Field(description="Where the search starts.")
    low: Number = Field(description="Smallest value that makes sense.")
    high: Number = Field(description="Largest value that makes sense.")
    description: Line = Field("", description="What it does.")

    @model_validator(mode="after")
    def _in_range(self) -> ProposedHyperparameter:
        if not self.low <= self.default <= self.high or self.low == self.high:
            raise ValueError(
                f"{self.name}: low <= default <= high and low < high, got {self.low}, {self.default}, {self.high}"
            )
        return self


class ProposalDraft(Answer):
    """A new algorithm along one direction: z of arXiv:2603.23951 before it is screened."""

    rationale: Prose = Field(description="Which evidence of the archive leads here; name candidates and quote numbers.")
    title: Line = Field(description="Short name of the algorithm, a few words, no name of the archive.")
    hypothesis: Prose = Field(description="Why it should work, as a claim that training can refute.")
    mechanisms: tuple[ProposedMechanism, ...] = Field(
        min_length=1, max_length=MAX_MECHANISMS, description="Every mechanism of the algorithm, new ones first."
    )
    changed: tuple[MechanismName, ...] = Field(
        min_length=1,
        max_length=MAX_MECHANISMS,
        description="Names of the mechanisms that the parent does not have, or has otherwise.",
    )
    hyperparameters: tuple[ProposedHyperparameter, ...] = Field(
        min_length=1, max_length=MAX_HYPERPARAMETERS, description="All that the mechanisms name, and the rest."
    )
    expected_effect: Prose = Field(description="What metrics and trajectory will show if the hypothesis holds.")
    risk: Prose = Field("", description="How it is most likely to fail, and what would show it.")

    @model_validator(mode="after")
    def _hangs_together(self) -> ProposalDraft:
        names = [mechanism.name for mechanism in self.mechanisms]
        declared = {item.name: item for item in self.hyperparameters}
        if len(set(names)) != len(names) or len(declared) != len(self.hyperparameters):
            raise ValueError("give each mechanism and each hyperparameter a name of its own")
        if strangers := [name for name in self.changed if name not in names]:
            raise ValueError(f"changed names {', '.join(strangers)}, which mechanisms does not list")
        for mechanism in self.mechanisms:
            switch = declared.get(mechanism.hyperparameter)
            if switch is None:
                raise ValueError(
                    f"mechanism {mechanism.name}: hyperparameters does not list {mechanism.hyperparameter}"
                )
            if not switch.low <= mechanism.off <= switch.high or mechanism.off == switch.default:
                raise ValueError(
                    f"mechanism {mechanism.name}: off = {mechanism.off:g} must lie within [{switch.low:g}, {switch.high:g}] "
                    f"and differ from the default {switch.default:g}"
                )
        return self

    def to_proposal(self, screening: Screening | None = None) -> Proposal:
        """The proposal as a Candidate keeps it; the risk goes with the expected effect."""
        effect = f"{self.expected_effect} Risk: {self.risk}" if self.risk else self.expected_effect
        return Proposal(
            title=bounded(self.title, 96) or "Untitled",
            hypothesis=bounded(self.hypothesis, LONG),
            expected_effect=bounded(effect, LONG),
            rationale=bounded(self.rationale, LONG),
            mechanisms=tuple(dict.fromkeys(self.changed)),
            screening=screening,
        )


class Scored(Answer):
    """A score with what it rests on."""

    reason: Prose = Field(description="What speaks for and against it, in one or two sentences.")
    score: Score = Field(description="From 0, the worst, to 1, the best.")


class Critique(Answer):
    """The critic's view of one proposal: the four criteria of the paper's screening (phase I)."""

    consistency: Scored = Field(description="Do the mechanisms fit each other and the hypothesis.")
    feasibility: Scored = Field(description="Can it be written against the contract, at bearable cost.")
    novelty: Scored = Field(description="How far it is from everything in the archive and the literature.")
    nearest: Line = Field(
        "", description="Name of the closest candidate of the archive or paper; empty if none is close."
    )
    expected_gain: Scored = Field(description="Expected improvement over the parent; 0.5 is none.")
    fatal: Prose = Field("", description="A flaw that no implementation could mend; empty if there is none.")


class PlanStep(Answer):
    """One piece of the implementation."""

    function: Literal["rewards", "advantages", "policy_loss", "schedule", "declarations"] = Field(
        description="Where the code goes."
    )
    mechanism: Line = Field("", description="Name of the mechanism that it realises; empty for the rest.")
    what: Prose = Field(description="What is computed, with shapes, from which fields, by which helpers.")


class Plan(Answer):
    """How a proposal becomes a module, before any code is written."""

    steps: tuple[PlanStep, ...] = Field(
        min_length=1, max_length=32, description="In the order in which they are computed."
    )
    aggregation: Line = Field(description="One of AGGREGATIONS, and why.")
    needs: tuple[Literal["reference", "entropy"], ...] = Field((), max_length=2, description="NEEDS of the module.")
    edge_cases: Prose = Field(
        description="Groups of one, all-fail and all-correct groups, invalid and empty responses, padding."
    )


class Code(Answer):
    """A candidate module."""

    notes: Prose = Field(
        "", description="What a reader should know: deviations from the plan, what was repaired and how."
    )
    source: Annotated[str, StringConstraints(min_length=1, max_length=MAX_CHARACTERS)] = Field(
        description="The whole module as plain Python, no Markdown around it."
    )


class MechanismVerdict(Answer):
    """Whether the code does what the proposal says of one mechanism."""

    mechanism: Line = Field(description="Name as in the proposal.")
    reason: Prose = Field(description="What the code does, with the names that it uses.")
    verdict: Literal["Implemented", "Deviates", "Missing"] = Field(description="Compared with the proposal.")


class Judgement(Answer):
    """Intent against code (arXiv:2603.23951, phase II): a judge's word, which rules may overrule and never the reverse."""

    mechanisms: tuple[MechanismVerdict, ...] = Field(
        max_length=MAX_MECHANISMS, description="Each mechanism of the proposal."
    )
    undeclared: Prose = Field("", description="What the code does that the proposal does not say; empty if nothing.")
    hint: Prose = Field("", description="What to change so that code and proposal agree; empty if they do.")
    faithful: bool = Field(description="Whether the code as a whole does what the proposal says.")


class MechanismReflection(Answer):
    """What the evidence says of one mechanism."""

    mechanism: Line = Field(description="Name as in the proposal.")
    note: Prose = Field(description="Why; quote only numbers of the evidence.")
    effect: Effect = Field(description="Unclear when several changed together and nothing tells them apart.")


class Citation(Answer):
    """A row of the evidence, by its name: the numbers are filled in from there."""

    metric: Line = Field(description="Name of a row of the evidence, exactly.")
    note: Prose = Field("", description="What it shows.")


class Lesson(Answer):
    """Advice for later proposals."""

    action: Literal["Try", "Avoid"] = Field(description="Lean to it or away from it.")
    family: Family = Field(description="The family it speaks of.")
    what: Line = Field(description="The mechanism or setting, a few words.")
    reason: Prose = Field(description="Which evidence says so.")
    strength: Score = Field(description="Weight of the evidence.")


class ReflectionDraft(Answer):
    """A mechanism-level diagnosis of a child against its parent: r of the paper, before its numbers are checked."""

    evidence: tuple[Citation, ...] = Field(max_length=16, description="The rows that the diagnosis rests on.")
    diagnosis: Prose = Field(description="What happened and why, mechanism by mechanism, against the parent.")
    mechanisms: tuple[MechanismReflection, ...] = Field((), max_length=12, description="Effect of each change.")
    lessons: tuple[Lesson, ...] = Field((), max_length=12, description="What to try or avoid next.")

    def texts(self) -> tuple[str, ...]:
        """Every text in which a number could be quoted."""
        return (
            self.diagnosis,
            *(item.note for item in self.evidence),
            *(item.note for item in self.mechanisms),
            *(text for item in self.lessons for text in (item.what, item.reason)),
        )


class Principle(Answer):
    """A rule that the archive supports, with the candidates that speak for and against it."""

    statement: Prose = Field(description="One sentence on mechanisms, general enough to guide a new design.")
    supports: tuple[Line, ...] = Field(min_length=1, max_length=32, description="Names of candidates that support it.")
    contradicts: tuple[Line, ...] = Field((), max_length=32, description="Names of candidates that contradict it.")
    conditions: Prose = Field("", description="When it holds, as far as the archive shows.")


class Principles(Answer):
    """What the archive as a whole teaches."""

    principles: tuple[Principle, ...] = Field(max_length=16, description="The best supported first.")
