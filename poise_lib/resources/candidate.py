"""Candidate: one policy-optimisation algorithm of a search, e = (z, rho, tau, y, r) of the paper.

``spec`` is the proposal z (what to try and why) and lineage; ``status`` holds the implementation rho, the verification
report, the metrics y with a summary of the trajectories tau, and the reflection r.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import ConfigDict, Field, JsonValue, model_validator

from poise_lib.names import API_VERSION
from poise_lib.resources.base import (
    Digest,
    Finite,
    MetricName,
    Model,
    ObjectMeta,
    ObjectName,
    SearchName,
    ShortText,
    Source,
    Text,
)


class Component(Model):
    """One mechanism of a composition: which slot it fills, of what kind it is, and its hyperparameters."""

    slot: ShortText = Field(description="Slot of the grammar, such as baseline, scale or objective.")
    kind: ShortText = Field(description="Kind of component that fills the slot.")
    parameters: dict[ShortText, Finite] = Field(default_factory=dict, max_length=16, description="Hyperparameters.")


class Screening(Model):
    """Why a proposal was ranked where it was; all scores lie in [0, 1], higher is better."""

    consistency: Finite = Field(description="Do the parts fit each other and the hypothesis.")
    feasibility: Finite = Field(description="Can it be implemented against the contract at bearable cost.")
    novelty: Finite = Field(description="Distance from everything in the archive.")
    expected_gain: Finite = Field(description="Expected improvement over the parent.")
    score: Finite = Field(description="The weighted total that ranked it.")
    reasons: tuple[Text, ...] = Field((), max_length=16, description="What moved the scores.")


class Proposal(Model):
    """What to try and why: z in the paper."""

    title: ShortText = Field(description="Short name of the algorithm.")
    hypothesis: Text = Field(description="Why it should work.")
    expected_effect: Text = Field("", description="What should be seen in metrics and trajectory if it does.")
    rationale: Text = Field("", description="Which evidence of the archive led here.")
    mechanisms: tuple[ShortText, ...] = Field((), max_length=16, description="Names of the mechanisms it changes.")
    composition: tuple[Component, ...] = Field((), max_length=24, description="The typed composition it renders.")
    screening: Screening | None = Field(None, description="Scores and reasons of the screening stage.")
    design: Digest | None = Field(
        None, description="The whole proposal of a language model, formulas and hyperparameters, in the artifact store."
    )
    prompts: ShortText | None = Field(None, description="Version of the prompts that it comes from.")
    transcripts: tuple[Digest, ...] | None = Field(
        None, max_length=16, description="Exchanges with the model that led to it, in the artifact store."
    )


_CANDIDATE_RULES: list[JsonValue] = [
    {"rule": "self == oldSelf", "message": "a Candidate's spec cannot change; create another Candidate"},
    {
        "rule": "!(has(self.algorithm) && has(self.source))",
        "message": "give either spec.algorithm or spec.source, not both",
    },
]


class CandidateSpec(Model):
    """What the candidate is and where it comes from; immutable once created."""

    model_config = ConfigDict(json_schema_extra={"x-kubernetes-validations": _CANDIDATE_RULES})

    search: SearchName = Field(description="Name of the Search in the same namespace.")
    parents: tuple[ObjectName, ...] = Field((), max_length=4, description="Parents in the lineage; none for a root.")
    round: int = Field(0, ge=0, description="Round that proposed it; 0 for the baseline.")
    slot: int = Field(0, ge=0, description="Place in its round.")
    proposal: Proposal = Field(description="What to try and why.")
    algorithm: ShortText | None = Field(None, description="Name of a zoo algorithm to use as the implementation.")
    source: Source | None = Field(None, description="A candidate module written by hand.")

    @model_validator(mode="after")
    def _one_implementation(self) -> CandidateSpec:
        if self.algorithm is not None and self.source is not None:
            raise ValueError("give either spec.algorithm or spec.source, not both")
        return self


class CandidatePhase(StrEnum):
    """Where a candidate stands; the last three are final."""

    PENDING = "Pending"
    IMPLEMENTING = "Implementing"
    VERIFYING = "Verifying"
    EVALUATING = "Evaluating"
    REFLECTING = "Reflecting"
    ARCHIVED = "Archived"
    REJECTED = "Rejected"
    FAILED = "Failed"


FINAL_CANDIDATE_PHASES = frozenset({CandidatePhase.ARCHIVED, CandidatePhase.REJECTED, CandidatePhase.FAILED})


class Implementation(Model):
    """The executable form, rho in the paper."""

    source: Source = Field(description="The candidate module.")
    digest: Digest = Field(description="SHA-256 of the source.")
    revision: int = Field(1, ge=1, description="Counts repairs; 1 is the first.")
    composition: tuple[Component, ...] = Field(
        (), max_length=24, description="The composition that the source renders, after repairs; none for other code."
    )


class CheckResult(Model):
    """One check of a verification report that did not pass."""

    name: ShortText = Field(description="Name of the check.")
    status: ShortText = Field(description="failed or warned.")
    evidence: Text = Field("", description="What was seen, with numbers.")
    hint: Text = Field("", description="How to repair it.")


class Verification(Model):
    """The verdict on one revision; the full report is an artifact."""

    passed: bool = Field(description="Whether the candidate may be trained.")
    revision: int = Field(ge=1, description="Revision that was verified.")
    checks: int = Field(ge=0, description="How many checks were made.")
    findings: tuple[CheckResult, ...] = Field((), max_length=16, description="Checks that failed or warned.")
    behaviour_digest: Digest | None = Field(None, description="Digest of the outputs on the probe batches.")
    isolation: tuple[ShortText, ...] = Field((), max_length=24, description="Isolation layers that were in force.")
    report: Digest | None = Field(None, description="The full report in the artifact store.")


class Revision(Model):
    """An implementation that was replaced, and why."""

    revision: int = Field(ge=1, description="Which one.")
    source: Digest = Field(description="Its source in the artifact store.")
    report: Digest | None = Field(None, description="Its verification report in the artifact store.")


class Effect(StrEnum):
    """What the evidence says of a mechanism; a hypothesis, not a causal test."""

    HELPFUL = "Helpful"
    HARMFUL = "Harmful"
    NEUTRAL = "Neutral"
    UNCLEAR = "Unclear"


class EvidenceItem(Model):
    """A number that supports a diagnosis."""

    metric: MetricName = Field(description="Metric of the trajectory or of the suite.")
    value: Finite = Field(description="The candidate's value.")
    reference: Finite | None = Field(None, description="The parent's value, where there is one.")
    note: Text = Field("", description="What it shows.")


class MechanismEffect(Model):
    """What a run says about one changed mechanism."""

    mechanism: ShortText = Field(description="Name as in the proposal.")
    effect: Effect = Field(description="Direction of the evidence.")
    note: Text = Field("", description="Why.")


class Advice(Model):
    """A machine-readable lesson that the proposer uses."""

    action: Literal["Try", "Avoid"] = Field(description="Whether later proposals should lean to it or away from it.")
    slot: ShortText = Field(description="Slot of the grammar it speaks of.")
    kind: ShortText = Field("", description="Kind in that slot; empty for the whole slot.")
    strength: Finite = Field(1.0, ge=0.0, le=1.0, description="Weight of the evidence.")
    reason: Text = Field("", description="Why.")


class Reflection(Model):
    """Mechanism-level diagnosis of a finished candidate against its parent: r in the paper."""

    diagnosis: Text = Field(description="What happened, in a few sentences.")
    findings: tuple[ShortText, ...] = Field((), max_length=12, description="Names of diagnostics that fired.")
    evidence: tuple[EvidenceItem, ...] = Field((), max_length=16, description="Numbers behind the diagnosis.")
    mechanisms: tuple[MechanismEffect, ...] = Field((), max_length=12, description="Effect of each change.")
    advice: tuple[Advice, ...] = Field((), max_length=12, description="What to try or avoid next.")


class SelectionTerms(Model):
    """The acquisition terms of one parent, s(d) of the paper, each already normalised, with their weighted total."""

    round: int = Field(ge=0, description="Round of the selection.")
    score: Finite = Field(description="s(d).")
    pareto: Finite = Field(description="U_pareto(d).")
    performance: Finite = Field(description="U_perf(d).")
    diversity: Finite = Field(description="U_div(d).")
    bayes: Finite = Field(description="alpha_GP(d).")


class CandidateStatus(Model):
    """What has happened to the candidate so far."""

    observed_generation: int | None = Field(None, description="Generation of the spec that this status speaks of.")
    phase: CandidatePhase = Field(CandidatePhase.PENDING, description="Where it stands.")
    message: Text = Field("", description="One sentence on where it stands or why it ended.")
    reason: ShortText = Field("", description="A CamelCase word for why it ended.")
    implementation: Implementation | None = Field(None, description="The code.")
    verification: Verification | None = Field(None, description="Verdict on the code.")
    revisions: tuple[Revision, ...] = Field((), max_length=10, description="Implementations that were repaired.")
    transcripts: tuple[Digest, ...] = Field(
        (), max_length=32, description="Exchanges with the model about it, in the artifact store."
    )
    metrics: dict[MetricName, Finite] = Field(default_factory=dict, max_length=48, description="Means over seeds.")
    utility: Finite | None = Field(None, description="Scalar utility U(y) of the metrics.")
    trajectory: dict[MetricName, Finite] = Field(
        default_factory=dict, max_length=64, description="Summary of the training trajectories; advisory."
    )
    reflection: Reflection | None = Field(None, description="Diagnosis.")
    selections: tuple[SelectionTerms, ...] = Field(
        (), max_length=8, description="Last times it was chosen as a parent."
    )


class Candidate(Model):
    """One policy-optimisation algorithm of a search."""

    api_version: Literal["poise.dev/v1alpha1"] = Field(API_VERSION, description="API version.")
    kind: Literal["Candidate"] = Field("Candidate", description="Kind.")
    metadata: ObjectMeta = Field(description="Object metadata.")
    spec: CandidateSpec = Field(description="What the candidate is.")
    status: CandidateStatus = Field(default_factory=CandidateStatus, description="What has happened to it.")
