"""Evaluation: one training run and its score, O(z) of the paper, for one candidate, fidelity and seed."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import ConfigDict, Field, JsonValue, field_validator, model_validator

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
    Text,
)
from poise_lib.resources.early_stop import EarlyStopping
from poise_lib.resources.engine import Engine
from poise_lib.resources.suite_rules import check_definition, definition_rules, makes_a_suite
from poise_lib.resources.suites import SuiteFile
from poise_lib.resources.verl import VerlSettings


class Fidelity(StrEnum):
    """How much is spent on a run, and on which problems it is scored."""

    PROBE = "probe"
    """A short run on the search problems; its score never competes with a full one."""
    FULL = "full"
    """The standard protocol, scored on the search problems."""
    CONFIRM = "confirm"
    """The standard protocol on seeds and problems that the search has not seen."""


class NanoSettings(Model):
    """Training protocol of the embedded engine; the defaults are the calibrated ones (docs/evidence/calibration.md)."""

    steps: int = Field(30, ge=1, le=2000, description="Training steps (rollout, then update).")
    prompts_per_step: int = Field(32, ge=1, le=1024, description="Prompts sampled a step.")
    group_size: int = Field(8, ge=1, le=128, description="Responses a prompt, G in the paper.")
    learning_rate: float = Field(1e-4, gt=0.0, le=1.0, description="AdamW learning rate after warm-up.")
    epochs: int = Field(2, ge=1, le=16, description="Passes over the samples of a step.")
    mini_batches: int = Field(2, ge=1, le=64, description="Optimiser steps a pass.")
    max_grad_norm: Finite = Field(1.0, gt=0.0, description="Gradient clipping by global norm.")


NEEDS_SETTINGS = "engine verl needs the settings verl: a model and training data at least"
IDLE_SETTINGS = "settings verl are of no use to engine nano; set engine: verl, or remove them"


def engine_rules() -> list[JsonValue]:
    """What :func:`check_engine` checks, for the API server."""
    return [
        {"rule": "self.engine != 'verl' || has(self.verl)", "message": NEEDS_SETTINGS},
        {"rule": "self.engine == 'verl' || !has(self.verl)", "message": IDLE_SETTINGS},
    ]


def check_engine(engine: Engine, verl: VerlSettings | None) -> None:
    """Raise ValueError for what :func:`engine_rules` refuse."""
    if engine is Engine.VERL and verl is None:
        raise ValueError(NEEDS_SETTINGS)
    if engine is not Engine.VERL and verl is not None:
        raise ValueError(IDLE_SETTINGS)


class EvaluationSpec(Model):
    """What to train and how to score it; immutable."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                {
                    "rule": "self == oldSelf",
                    "message": "an Evaluation's spec cannot change; create another Evaluation",
                },
                *engine_rules(),
                *definition_rules(),
            ]
        }
    )

    search: SearchName = Field(description="Name of the Search.")
    candidate: ObjectName = Field(description="Name of the Candidate.")
    fidelity: Fidelity = Field(Fidelity.FULL, description="How much to spend.")
    seed: int = Field(0, ge=0, description="Seed of training problems, sampling and scoring.")
    engine: Engine = Field(Engine.NANO, description="Which program trains and scores.")
    suite: ShortText = Field("chains-v1", description="Benchmark suite.")
    suite_definition: SuiteFile | None = Field(
        None, description="The suite itself, where it is none that comes with POISE."
    )
    nano: NanoSettings = Field(default_factory=NanoSettings, description="Protocol when the engine is nano.")
    verl: VerlSettings | None = Field(None, description="Protocol when the engine is verl.")
    early_stopping: EarlyStopping | None = Field(
        None, description="When training ends before its last step, engine verl; never when missing."
    )

    _makes_a_suite = field_validator("suite_definition")(makes_a_suite)

    @model_validator(mode="after")
    def _engine_has_settings(self) -> EvaluationSpec:
        check_engine(self.engine, self.verl)
        check_definition(self.engine, self.suite, self.suite_definition)
        return self


class EvaluationPhase(StrEnum):
    """Where an evaluation stands; the last two are final."""

    PENDING = "Pending"
    TRAINING = "Training"
    SCORING = "Scoring"
    COMPLETE = "Complete"
    FAILED = "Failed"


FINAL_EVALUATION_PHASES = frozenset({EvaluationPhase.COMPLETE, EvaluationPhase.FAILED})


class EvaluationStatus(Model):
    """What has happened to the run so far."""

    observed_generation: int | None = Field(None, description="Generation of the spec that this status speaks of.")
    phase: EvaluationPhase = Field(EvaluationPhase.PENDING, description="Where it stands.")
    message: Text = Field("", description="One sentence on where it stands or why it ended.")
    reason: ShortText = Field("", description="A CamelCase word for why it ended.")
    progress: ShortText | None = Field(
        None, description="Steps that are finished, of how many, while it trains; the word of untrusted code."
    )
    policy: Digest | None = Field(None, description="Trained weights (safetensors) in the artifact store.")
    trajectory: tuple[dict[MetricName, Finite], ...] = Field(
        (), max_length=24, description="Training metrics by step, down-sampled; written by untrusted code, advisory."
    )
    trajectory_artifact: Digest | None = Field(None, description="The whole trajectory in the artifact store.")
    summary: dict[MetricName, Finite] = Field(
        default_factory=dict, max_length=64, description="First, last and extreme values of the trajectory."
    )
    metrics: dict[MetricName, Finite] = Field(
        default_factory=dict, max_length=48, description="Scores, percentage points."
    )
    records: Digest | None = Field(None, description="Per-problem records in the artifact store.")
    train_seconds: Finite | None = Field(None, ge=0.0, description="Wall time of training.")
    score_seconds: Finite | None = Field(None, ge=0.0, description="Wall time of scoring.")
    lost_seconds: Finite | None = Field(
        None, ge=0.0, description="Wall time of attempts that left no result; counted for engine verl."
    )
    lost_attempts: int | None = Field(
        None, ge=0, description="Attempts at the present task that lostSeconds holds already."
    )


class Evaluation(Model):
    """One training run of one candidate, and its score."""

    api_version: Literal["poise.dev/v1alpha1"] = Field(API_VERSION, description="API version.")
    kind: Literal["Evaluation"] = Field("Evaluation", description="Kind.")
    metadata: ObjectMeta = Field(description="Object metadata.")
    spec: EvaluationSpec = Field(description="What to train and how to score it.")
    status: EvaluationStatus = Field(default_factory=EvaluationStatus, description="What has happened to it.")
