"""Search: a closed loop of proposing, training and reflecting on policy-optimisation algorithms.

The paper leaves the weights of the acquisition, K, gamma, beta, the UCB constant, the kernel and the node features
open; here each is a field whose default is justified in its description.
"""

from __future__ import annotations

import math
from enum import StrEnum
from operator import attrgetter
from typing import Literal

from pydantic import ConfigDict, Field, JsonValue, ValidationInfo, field_validator, model_validator
from pydantic.alias_generators import to_snake

from poise_lib.names import API_VERSION
from poise_lib.resources.base import (
    MAX_SEARCH_NAME,
    Duration,
    Finite,
    Fraction,
    Model,
    ObjectMeta,
    ObjectName,
    ShortText,
    Source,
    Text,
    cel,
)
from poise_lib.resources.early_stop import EarlyStopping
from poise_lib.resources.engine import Engine
from poise_lib.resources.evaluation import NanoSettings, check_engine, engine_rules
from poise_lib.resources.objective import (
    WEIGHT_TOLERANCE,
    Constraint,
    Direction,
    Metric,
    Objective,
)
from poise_lib.resources.proposer import Proposer, ProposerType
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
from poise_lib.resources.suite_rules import (
    check_definition,
    check_shipped,
    definition_rules,
    makes_a_suite,
    metric_rules,
    shipped_rules,
)
from poise_lib.resources.suites import SUITES, Suite, SuiteFile, suite_of
from poise_lib.resources.template import PodTemplate
from poise_lib.resources.verl import Platform, VerlSettings

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


class Mode(StrEnum):
    """How the search advances."""

    ROUNDS = "Rounds"
    """A round of parents, all their children, then the next: reproducible."""
    CONTINUOUS = "Continuous"
    """A new child as soon as there is room: no idle worker, but the archive depends on timing."""


class AcquisitionWeights(Model):
    """Weights of s(d) = w_pareto*U_pareto + w_perf*U_perf + w_div*U_div + w_bayes*alpha_GP; they sum to 1.

    The paper gives none.  Performance leads slightly because utilities are what the budget is judged by; the
    surrogate's share stays below the measured terms because it is trained on few nodes; diversity keeps late bloomers
    alive: in 11 of the paper's 21 rounds the best descendant came from a parent that was not the best of its round.
    """

    model_config = ConfigDict(
        json_schema_extra=cel(
            f"self.pareto + self.performance + self.diversity + self.bayes <= 1.0 + {WEIGHT_TOLERANCE} "
            f"&& self.pareto + self.performance + self.diversity + self.bayes >= 1.0 - {WEIGHT_TOLERANCE}",
            "pareto + performance + diversity + bayes must be 1",
        )
    )

    pareto: Fraction = Field(0.25, description="Weight of U_pareto, the Pareto-frontier strength.")
    performance: Fraction = Field(0.3, description="Weight of U_perf, the normalised utility.")
    diversity: Fraction = Field(0.2, description="Weight of U_div, the distance to other nodes and unused parents.")
    bayes: Fraction = Field(0.25, description="Weight of alpha_GP, the GP-UCB on descendant gain.")

    @model_validator(mode="after")
    def _sum_to_one(self) -> AcquisitionWeights:
        total = self.pareto + self.performance + self.diversity + self.bayes
        if not math.isclose(total, 1.0, abs_tol=WEIGHT_TOLERANCE):
            raise ValueError(
                f"acquisition weights sum to {total:.4g}, but pareto + performance + diversity + bayes must be 1"
            )
        return self


class DescendantGain(Model):
    """The GP's target y_d = E over top-K descendants of gamma^depth(c, d) * tanh((U(c) - U(d)) / beta)."""

    top_k: int = Field(
        3, ge=1, le=64, description="K: one lucky descendant should not decide alone; a round has three."
    )
    gamma: Fraction = Field(0.8, description="Discount a generation: a gain three generations on counts half.")
    beta: Finite = Field(
        3.0,
        gt=0.0,
        description="Utility points at which a gain saturates: about one detectable difference of the suite.",
    )


class Kernel(StrEnum):
    """Covariance of the Gaussian process."""

    MATERN52 = "Matern52"
    MATERN32 = "Matern32"
    RBF = "RBF"


class GaussianProcess(Model):
    """The surrogate alpha_GP(d) = mean(d) + kappa * deviation(d) over node features."""

    kernel: Kernel = Field(Kernel.MATERN52, description="Matern 5/2: smooth, but less so than RBF, as is usual.")
    length_scale: Finite = Field(1.0, gt=0.0, description="Initial length scale in standardised features.")
    noise: Finite = Field(0.05, gt=0.0, description="Initial noise variance of standardised gains; fitted.")
    kappa: Finite = Field(1.0, ge=0.0, description="UCB constant: one deviation of optimism.")
    max_nodes: int = Field(256, ge=8, le=2000, description="Training nodes at most; the newest and best are kept.")


class References(Model):
    """How many references of each tier a proposer sees."""

    pareto: int = Field(2, ge=0, le=8, description="From the Pareto frontier.")
    complementary: int = Field(2, ge=0, le=8, description="Structurally most different from the parent.")
    exploratory: int = Field(2, ge=0, le=8, description="Sampled outside the direct lineage.")


class Strategy(Model):
    """How parents are chosen and how many children they get."""

    mode: Mode = Field(Mode.ROUNDS, description="How the search advances.")
    parents_per_round: int = Field(3, ge=1, le=32, description="Parents kept in parallel; the paper keeps three.")
    proposals_per_parent: int = Field(6, ge=1, le=64, description="Proposals a parent, of which screening keeps one.")
    acquisition: AcquisitionWeights = Field(default_factory=AcquisitionWeights, description="Weights of s(d).")
    descendant_gain: DescendantGain = Field(default_factory=DescendantGain, description="Target of the surrogate.")
    gaussian_process: GaussianProcess = Field(default_factory=GaussianProcess, description="The surrogate.")
    references: References = Field(default_factory=References, description="Context tiers.")


class VerificationSettings(Model):
    """What a candidate must pass before it is trained."""

    max_revisions: int = Field(3, ge=1, le=10, description="Implementations at most: the first and its repairs.")
    training_probe: bool = Field(True, description="Whether a short training run belongs to verification.")


class Fidelities(Model):
    """Training protocols by name."""

    probe: NanoSettings = Field(
        default_factory=lambda: NanoSettings(steps=4, prompts_per_step=16), description="The short run."
    )
    full: NanoSettings = Field(default_factory=NanoSettings, description="The standard protocol.")


class Confirmation(Model):
    """The best candidates and the baseline, trained again on unseen seeds and scored on unseen problems."""

    top: int = Field(3, ge=0, le=16, description="How many of the best are confirmed; 0 skips it.")
    seeds: int = Field(8, ge=2, le=64, description="Seeds each.")
    confidence: float = Field(0.95, gt=0.5, lt=1.0, description="Joint level of the intervals (Bonferroni over top).")


class EvaluationSettings(Model):
    """The standard protocol: the same for all candidates."""

    model_config = ConfigDict(
        json_schema_extra={"x-kubernetes-validations": [*engine_rules(), *shipped_rules(), *definition_rules()]}
    )

    engine: Engine = Field(Engine.NANO, description="Which program trains and scores.")
    suite_definition: SuiteFile | None = Field(
        None, description="A suite of your own, for engine verl: the same document as a suite's file."
    )
    suite: ShortText = Field(
        "chains-v1",
        validate_default=True,
        description=f"Benchmark suite: {', '.join(sorted(SUITES))}, or the one of suiteDefinition, by its name.",
    )
    seeds: int = Field(1, ge=1, le=16, description="Training runs a candidate; all candidates share the same seeds.")
    probe: bool = Field(False, description="Whether a probe run must finish without collapse before the full one.")
    fidelities: Fidelities = Field(default_factory=Fidelities, description="Training protocols of engine nano.")
    verl: VerlSettings | None = Field(None, description="Training protocol of engine verl.")
    early_stopping: EarlyStopping = Field(
        default_factory=EarlyStopping,
        description="When training by engine verl ends before its last step; engine nano always goes to its last.",
    )
    confirmation: Confirmation = Field(default_factory=Confirmation, description="Check of the winner.")
    template: PodTemplate = Field(
        default_factory=PodTemplate, description="Where and with what tasks run in a cluster; no effect elsewhere."
    )

    _makes_a_suite = field_validator("suite_definition")(makes_a_suite)

    @field_validator("suite")
    @classmethod
    def _known_suite(cls, suite: str, info: ValidationInfo) -> str:
        before = info.data  # without a field that is wrong itself
        if "engine" in before and before.get("suite_definition", suite) is None:
            check_shipped(before["engine"], suite)
        return suite

    @model_validator(mode="after")
    def _fits_the_engine(self) -> EvaluationSettings:
        check_engine(self.engine, self.verl)
        check_definition(self.engine, self.suite, self.suite_definition)
        return self

    @property
    def measured(self) -> Suite:
        """The suite itself, whether it comes with POISE or is defined here."""
        return suite_of(self.suite, self.suite_definition)


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
