"""The protocol by which every candidate of a search is trained, scored and, if it is among the best, confirmed."""

from __future__ import annotations

from pydantic import ConfigDict, Field, ValidationInfo, field_validator, model_validator

from poise_lib.resources.base import Model, ShortText
from poise_lib.resources.early_stop import EarlyStopping
from poise_lib.resources.engine import Engine
from poise_lib.resources.evaluation import NanoSettings, check_engine, engine_rules
from poise_lib.resources.suite_rules import (
    check_definition,
    check_shipped,
    definition_rules,
    makes_a_suite,
    shipped_rules,
)
from poise_lib.resources.suites import SUITES, Suite, SuiteFile, suite_of
from poise_lib.resources.template import PodTemplate
from poise_lib.resources.verl import VerlSettings


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
