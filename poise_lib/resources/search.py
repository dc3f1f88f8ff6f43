"""Search: a closed loop of proposing, training and reflecting on policy-optimisation algorithms.

The paper leaves the weights of the acquisition, K, gamma, beta, the UCB constant, the kernel and the node features
open; here each is a field whose default is justified in its description.
"""

from __future__ import annotations

from enum import StrEnum
from operator import attrgetter
from typing import Literal

from pydantic import ConfigDict, Field, JsonValue, field_validator, model_validator
from pydantic.alias_generators import to_snake

from poise_lib.names import API_VERSION
from poise_lib.resources.base import (
    MAX_SEARCH_NAME,
    Duration,
    Finite,
    Model,
    ObjectMeta,
    ObjectName,
    ShortText,
    Source,
    Text,
    cel,
)
from poise_lib.resources.objective import (
    WEIGHT_TOLERANCE,
    Constraint,
    Direction,
    Metric,
    Objective,
)
from poise_lib.resources.proposer import Proposer, ProposerType
from poise_lib.resources.protocol import Confirmation, EvaluationSettings, Fidelities
from poise_lib.resources.search_status import (
    Best,
    ConfirmedCandidate,
    Counts,
    ParentChoice,
    SearchPhase,
    SearchStatus,
    Selection,
    Verdict,
)
from poise_lib.resources.strategy import (
    AcquisitionWeights,
    DescendantGain,
    GaussianProcess,
    Kernel,
    Mode,
    References,
    Strategy,
)
from poise_lib.resources.suite_rules import (
    metric_rules,
)
from poise_lib.resources.verl import Platform

__all__ = [
    "FIXED_FIELDS",
    "WEIGHT_TOLERANCE",
    "AcquisitionWeights",
    "Baseline",
    "Best",
    "Budget",
    "Checkpoints",
    "Confirmation",
    "ConfirmedCandidate",
    "Constraint",
    "Counts",
    "DescendantGain",
    "Direction",
    "EvaluationSettings",
    "Fidelities",
    "GaussianProcess",
    "Kernel",
    "Metric",
    "Mode",
    "Objective",
    "ParentChoice",
    "Proposer",
    "ProposerType",
    "References",
    "Retention",
    "Search",
    "SearchPhase",
    "SearchSpec",
    "SearchStatus",
    "Selection",
    "Strategy",
    "Verdict",
    "VerificationSettings",
    "fixed_values",
]


class Baseline(Model):
    """Where the search starts and what it must beat; by default GRPO."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            "has(self.algorithm) != has(self.source)", "give exactly one of baseline.algorithm and baseline.source"
        )
    )

    algorithm: ShortText | None = Field(None, description="Name of a zoo algorithm (see: poise algorithms).")
    source: Source | None = Field(None, description="A candidate module of the user's.")

    @model_validator(mode="after")
    def _exactly_one(self) -> Baseline:
        if (self.algorithm is None) == (self.source is None):
            raise ValueError("give exactly one of baseline.algorithm and baseline.source")
        return self


class VerificationSettings(Model):
    """What a candidate must pass before it is trained."""

    max_revisions: int = Field(3, ge=1, le=10, description="Implementations at most: the first and its repairs.")
    training_probe: bool = Field(True, description="Whether a short training run belongs to verification.")


class Budget(Model):
    """What the search may spend; it ends when the first of these is reached."""

    candidates: int = Field(ge=1, le=10_000, description="Candidates in all, the baseline included.")
    concurrent: int = Field(2, ge=1, le=1000, description="Tasks running at the same time.")
    deadline: Duration | None = Field(
        None, description="Wall-clock limit since the start, like 45m; confirmation may follow."
    )
    patience: int | None = Field(None, ge=1, description="Rounds without a new best after which the search ends.")
    attempts: int = Field(3, ge=1, le=10, description="Tries of a task before its candidate fails.")
    llm_tokens: int | None = Field(
        None, ge=1, le=10**15, description="Tokens of the language model, in and out; no cap when missing."
    )
    llm_cost_usd: Finite | None = Field(
        None,
        gt=0.0,
        le=1e9,
        alias="llmCostUSD",
        description="US dollars for the language model; no cap when missing. The model's price must be known.",
    )
    gpu_hours: Finite | None = Field(
        None,
        gt=0.0,
        le=1e9,
        description="GPU hours (GPUs times wall time) of training and scoring by engine verl on platform cuda, confirmation included; no "
        "cap when missing. No training starts that is expected to exceed it.",
    )


class Checkpoints(StrEnum):
    """Which trained weights stay in the artifact store."""

    NONE = "None"
    BEST = "Best"
    ALL = "All"


class Retention(Model):
    """What is kept once it is no longer needed."""

    checkpoints: Checkpoints = Field(Checkpoints.BEST, description="Trained weights to keep after scoring.")


class DeletionPolicy(StrEnum):
    """What becomes of the archive when the Search is deleted."""

    RETAIN = "Retain"
    """Candidates and evaluations stay; a Search of the same name and spec goes on with them."""
    DELETE = "Delete"
    """They go with the Search."""


FIXED_FIELDS = (
    "baseline",
    "seed",
    "strategy.mode",
    "evaluation.engine",
    "evaluation.suite",
    "evaluation.suiteDefinition",
    "evaluation.seeds",
    "evaluation.fidelities",
    "evaluation.verl",
    "objective",
)
"""Fields of a spec that must not change once a search exists: its candidates would no longer be comparable."""
_OPTIONAL = ("evaluation.suiteDefinition", "evaluation.verl")
"""Those of them that may be missing; whether they are follows from the suite's name, and from the engine."""


def fixed_values(spec: SearchSpec) -> dict[str, object]:
    """What a spec has in each of the :data:`FIXED_FIELDS`."""
    return {field: attrgetter(to_snake(field))(spec) for field in FIXED_FIELDS}


def _fixed_rules() -> list[JsonValue]:
    """:data:`FIXED_FIELDS` for the API server."""
    return [
        {
            "rule": (f"!has(self.{field}) || !has(oldSelf.{field}) || " if field in _OPTIONAL else "")
            + f"self.{field} == oldSelf.{field}",
            "message": f"spec.{field} cannot change once the search exists, because its candidates would no longer be "
            "comparable; start a new Search",
        }
        for field in FIXED_FIELDS
    ]


_IDLE_GPU_HOURS = (
    "budget.gpuHours caps engine verl on platform cuda, and this search uses no GPU; remove budget.gpuHours"
)
_IDLE_GPU_HOURS_RULE: JsonValue = {
    "rule": "!has(self.budget.gpuHours) || (has(self.evaluation.verl) && self.evaluation.verl.platform == 'cuda')",
    "message": _IDLE_GPU_HOURS,
}


class SearchSpec(Model):
    """What to search for, from where, and at what cost."""

    model_config = ConfigDict(
        json_schema_extra={"x-kubernetes-validations": [*metric_rules(), *_fixed_rules(), _IDLE_GPU_HOURS_RULE]}
    )

    directive: Text = Field(
        "",
        description="What the search is after, in words. Where objective is empty, what is understood of it becomes the objective: "
        "status.objective says what; a language model is told all of it.",
    )
    objective: Objective = Field(default_factory=Objective, description="What a good algorithm is.")
    baseline: Baseline = Field(
        default_factory=lambda: Baseline(algorithm="grpo"), description="Where the search starts."
    )
    strategy: Strategy = Field(default_factory=Strategy, description="How parents are chosen.")
    proposer: Proposer = Field(default_factory=Proposer, description="Who proposes.")
    verification: VerificationSettings = Field(
        default_factory=VerificationSettings, description="Gate before training."
    )
    evaluation: EvaluationSettings = Field(default_factory=EvaluationSettings, description="Training and scoring.")
    budget: Budget = Field(description="What the search may spend.")
    retention: Retention = Field(default_factory=Retention, description="What is kept.")
    seed: int = Field(0, ge=0, le=2**31 - 1, description="Seed of everything random; same seed, same archive.")
    suspend: bool = Field(False, description="Start nothing new while true.")
    deletion_policy: DeletionPolicy = Field(
        DeletionPolicy.RETAIN, description="What becomes of the archive when the Search is deleted."
    )
    queue_name: ObjectName | None = Field(
        None, description="Kueue LocalQueue of the namespace that admits the Jobs; without one they start at once."
    )

    @model_validator(mode="after")
    def _gpus_to_count(self) -> SearchSpec:
        settings = self.evaluation.verl
        if self.budget.gpu_hours is not None and (settings is None or settings.platform is not Platform.CUDA):
            raise ValueError(_IDLE_GPU_HOURS)
        return self

    @model_validator(mode="after")
    def _metrics_exist(self) -> SearchSpec:
        known = self.evaluation.measured.metric_names()
        wanted = [("objective.metrics", metric.name) for metric in self.objective.metrics]
        wanted += [("objective.constraints", constraint.metric) for constraint in self.objective.constraints]
        for where, name in wanted:
            if name not in known:
                has = ", ".join(sorted(known))
                raise ValueError(f"{where}: suite {self.evaluation.suite!r} has no metric {name!r}; it has {has}")
        return self


class Search(Model):
    """A closed loop that discovers policy-optimisation algorithms."""

    api_version: Literal["poise.dev/v1alpha1"] = Field(API_VERSION, description="API version.")
    kind: Literal["Search"] = Field("Search", description="Kind.")
    metadata: ObjectMeta = Field(description="Object metadata.")
    spec: SearchSpec = Field(description="What to search for.")
    status: SearchStatus = Field(default_factory=SearchStatus, description="What has been done so far.")

    @field_validator("metadata")
    @classmethod
    def _short_name(cls, metadata: ObjectMeta) -> ObjectMeta:
        if len(metadata.name) > MAX_SEARCH_NAME:
            raise ValueError(
                f"name has {len(metadata.name)} characters; at most {MAX_SEARCH_NAME}, so that names built from it fit a label"
            )
        return metadata
