"""What a Search has done so far: phase, counts, the parents of the current round, the best and its confirmation."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from poise_lib.resources.base import Condition, Finite, MetricName, Model, ObjectName, ShortText, Text, Timestamp
from poise_lib.resources.candidate import SelectionTerms
from poise_lib.resources.gpu import GPULedger
from poise_lib.resources.llm import Ledger
from poise_lib.resources.objective import ObjectiveStatus


class SearchPhase(StrEnum):
    """Where a search stands; the last two are final."""

    PENDING = "Pending"
    SEARCHING = "Searching"
    CONFIRMING = "Confirming"
    SUSPENDED = "Suspended"
    COMPLETE = "Complete"
    FAILED = "Failed"


class Counts(Model):
    """Candidates by what became of them."""

    total: int = Field(0, ge=0, description="All candidates, the baseline included.")
    active: int = Field(0, ge=0, description="Not yet final.")
    archived: int = Field(0, ge=0, description="Trained, scored and reflected on.")
    rejected: int = Field(0, ge=0, description="Refused by verification.")
    failed: int = Field(0, ge=0, description="Ended by a fault.")


class ParentChoice(Model):
    """A selected parent, the terms that chose it, and its reference sets."""

    name: ObjectName = Field(description="The parent.")
    terms: SelectionTerms = Field(description="Acquisition terms.")
    pareto: tuple[ObjectName, ...] = Field((), max_length=8, description="References from the Pareto frontier.")
    complementary: tuple[ObjectName, ...] = Field((), max_length=8, description="Structural contrasts.")
    exploratory: tuple[ObjectName, ...] = Field((), max_length=8, description="Sampled outside the lineage.")


class Selection(Model):
    """The parents of one round."""

    round: int = Field(ge=1, description="Round they were selected for.")
    parents: tuple[ParentChoice, ...] = Field(max_length=32, description="In order of acquisition.")


class Verdict(StrEnum):
    """What the confirmation says of a candidate against the baseline."""

    BETTER = "Better"
    NOT_SHOWN = "NotShownToBeBetter"
    WORSE = "Worse"


class Kept(StrEnum):
    """Whether what a directive wants kept was kept, by the interval of its difference."""

    KEPT = "Kept"
    """The whole interval lies within the tolerance."""
    NOT_SHOWN = "NotShown"
    LOST = "Lost"
    """The whole interval lies beyond it."""


class ConfirmedMetric(Model):
    """One metric of the objective on unseen seeds and problems, paired with the baseline by seed."""

    name: MetricName = Field(description="The metric.")
    mean: Finite = Field(description="Mean over the seeds.")
    baseline_mean: Finite = Field(description="The baseline's.")
    difference: Finite = Field(description="Mean paired difference.")
    low: Finite = Field(description="Lower end of its interval, corrected for all metrics of all that were picked.")
    high: Finite = Field(description="Upper end.")
    kept: Kept | None = Field(None, description="Where the directive wants it kept: whether it was.")


class ConfirmedCandidate(Model):
    """One candidate on unseen seeds and problems, paired with the baseline by seed."""

    candidate: ObjectName = Field(description="The candidate.")
    mean: Finite = Field(description="Mean utility.")
    baseline_mean: Finite = Field(description="The baseline's mean utility on the same seeds.")
    difference: Finite = Field(description="Mean paired difference.")
    low: Finite = Field(description="Lower end of the interval, corrected for the number picked.")
    high: Finite = Field(description="Upper end.")
    seeds: int = Field(ge=2, description="Pairs of runs.")
    verdict: Verdict = Field(description="What it shows.")
    metrics: tuple[ConfirmedMetric, ...] = Field(
        (), max_length=32, description="The objective's metrics one by one, where it names any."
    )


class Best(Model):
    """The best candidate, and what its confirmation showed."""

    candidate: ObjectName = Field(description="The candidate.")
    title: ShortText = Field("", description="Its title.")
    utility: Finite = Field(description="Utility on the search problems; optimistic, because it was picked by it.")
    baseline_utility: Finite = Field(description="The baseline's on the same problems.")
    gain: Finite = Field(0.0, description="The difference of the two, to two decimals.")
    metrics: dict[MetricName, Finite] = Field(
        default_factory=dict,
        max_length=32,
        description="The objective's metrics on the search problems, where it names any.",
    )
    baseline_metrics: dict[MetricName, Finite] = Field(
        default_factory=dict, max_length=32, description="The baseline's."
    )
    confirmation: ConfirmedCandidate | None = Field(None, description="Unseen seeds and problems.")
    confidence: Finite | None = Field(None, description="Joint level of the intervals.")
    corrected_for: int | None = Field(None, description="How many were picked for confirmation, finished or not.")
    others: tuple[ConfirmedCandidate, ...] = Field((), max_length=16, description="The other confirmed candidates.")


class Principle(Model):
    """A rule that the archive supports."""

    statement: Text = Field(description="One sentence on mechanisms.")
    supports: tuple[ObjectName, ...] = Field((), max_length=32, description="Candidates that support it.")
    contradicts: tuple[ObjectName, ...] = Field((), max_length=32, description="Candidates that contradict it.")
    conditions: Text = Field("", description="When it holds, as far as the archive shows.")


class SearchStatus(Model):
    """What the search has done so far; recomputed from its children each time."""

    observed_generation: int | None = Field(None, description="Generation of the spec that this status speaks of.")
    phase: SearchPhase = Field(SearchPhase.PENDING, description="Where it stands.")
    message: Text = Field("", description="One sentence for people.")
    conditions: tuple[Condition, ...] = Field(
        (), max_length=8, description="Ready, Complete, Failed, Suspended, Stalled."
    )
    start_time: Timestamp | None = Field(None, description="When it started, RFC 3339.")
    completion_time: Timestamp | None = Field(None, description="When it ended, RFC 3339.")
    round: int = Field(0, ge=0, description="The current round.")
    progress: ShortText = Field("", description="Finished candidates over the budget, such as 12/64.")
    counts: Counts = Field(default_factory=Counts, description="Candidates by what became of them.")
    stop_reason: ShortText = Field("", description="Why no new candidates are proposed.")
    objective: ObjectiveStatus | None = Field(None, description="The objective that counts, and where it comes from.")
    best: Best | None = Field(None, description="The best candidate.")
    frontier: tuple[ObjectName, ...] = Field((), max_length=64, description="Pareto frontier over the metric vector.")
    selection: Selection | None = Field(None, description="Parents of the current round.")
    principles: tuple[Principle, ...] = Field((), max_length=16, description="What the archive as a whole teaches.")
    distilled: int = Field(0, ge=0, description="Round whose archive the principles are drawn from.")
    ledger: Ledger | None = Field(None, description="What the language model has cost; missing while none is asked.")
    gpus: GPULedger | None = Field(
        None, description="GPU seconds of training and scoring; missing for an engine that uses none."
    )
    digest: ShortText = Field("", description="Canonical digest of the archive.")
    collected: ShortText = Field("", description="Mark of the trained weights that spec.retention has removed.")
