"""When a training run is ended before its last step, because it is broken or hopeless.

Every rule looks at steps and never at the clock, so that the same run ends at the same step on any machine.
:mod:`poise_lib.evaluation.stopping` applies them.
"""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import ConfigDict, Field, model_validator

from poise_lib.resources.base import Finite, Fraction, Model, cel

_SWITCH = "Whether the rule is applied."


class KLBlowUp(Model):
    """The policy has left the reference; seen only where the candidate's loss needs the reference."""

    enabled: bool = Field(True, description=_SWITCH)
    limit: Finite = Field(
        5.0,
        gt=0.0,
        description="KL to the reference a token, nats. At 5 a sampled token is e^5 = 150 times as unlikely under the "
        "reference: another language. Runs that learn stay below 1.",
    )
    steps: int = Field(3, ge=1, le=1000, description="Steps in a row: one odd batch does not end a run.")


class EntropyCollapse(Model):
    """The policy has become deterministic: all responses to a prompt are alike, so no group has an advantage."""

    enabled: bool = Field(True, description=_SWITCH)
    share: Fraction = Field(
        0.02,
        description="Of the first step's entropy. Low on purpose: plain GRPO loses nine tenths of its entropy while it "
        "still learns (arXiv:2505.22617).",
    )
    steps: int = Field(5, ge=1, le=1000, description="Steps in a row.")


class FormatCollapse(Model):
    """Responses no longer keep the format that they kept at the start, so that less and less can be judged."""

    enabled: bool = Field(True, description=_SWITCH)
    share: Fraction = Field(0.5, description="Of the first step's share of valid responses; half is no fluctuation.")
    steps: int = Field(5, ge=1, le=1000, description="Steps in a row: formats are lost and found again early on.")


class Hopeless(Model):
    """Far below the parent at the same step: successive halving over steps, with the parent as the other arm."""

    model_config = ConfigDict(
        json_schema_extra=cel("self.rungs.all(r, r > 0.0 && r < 1.0)", "hopeless.rungs must lie between 0 and 1")
    )

    enabled: bool = Field(True, description=_SWITCH)
    rungs: tuple[Annotated[float, Field(allow_inf_nan=False)], ...] = Field(
        (0.25, 0.5),
        min_length=1,
        max_length=8,
        description="Shares of the run after which it is compared; what is alive at half of its steps may finish.",
    )
    window: int = Field(
        3, ge=1, le=24, description="Steps that both runs have, the last before the rung; means over them are compared."
    )
    margin: Finite = Field(
        10.0,
        gt=0.0,
        le=100.0,
        description="Points of training accuracy below the parent's. The mean over three steps of 256 prompts varies by "
        "about 2; raise it for small batches.",
    )

    @model_validator(mode="after")
    def _rungs_within(self) -> Self:
        if not all(0.0 < rung < 1.0 for rung in self.rungs):
            raise ValueError(f"hopeless.rungs must lie between 0 and 1, got {', '.join(map(str, self.rungs))}")
        return self


class EarlyStopping(Model):
    """Rules that end a training run of engine verl."""

    enabled: bool = Field(True, description="Whether any of them is applied; false lets every run go to its last step.")
    non_finite: bool = Field(True, description="End at the first step whose loss or gradient is not finite.")
    kl: KLBlowUp = Field(default_factory=KLBlowUp, description="Reason KLBlowUp.")
    entropy: EntropyCollapse = Field(default_factory=EntropyCollapse, description="Reason EntropyCollapse.")
    format: FormatCollapse = Field(default_factory=FormatCollapse, description="Reason FormatCollapse.")
    hopeless: Hopeless = Field(
        default_factory=Hopeless,
        description="Reason Hopeless. Never applied to the baseline, to probes, nor to confirmation.",
    )

    def without_comparison(self) -> Self:
        """The rules for a run that is compared with no other."""
        return self.model_copy(update={"hopeless": self.hopeless.model_copy(update={"enabled": False})})

    def only_non_finite(self) -> Self:
        """The rules for a run that is to go to its end however it goes, as long as there are numbers."""
        off = {"enabled": False}
        changes = {name: getattr(self, name).model_copy(update=off) for name in ("kl", "entropy", "format")}
        return self.without_comparison().model_copy(update=changes)
