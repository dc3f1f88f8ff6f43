"""What a good algorithm is: weighted metrics, bounds, and what of it was read from the user's directive.

``spec.objective`` is an :class:`Objective`; ``status.objective`` is an :class:`ObjectiveStatus`, the one that counts.
Reading is in :mod:`poise_lib.archive.directive`, what follows from it in :mod:`poise_lib.archive.objective`.
"""

from __future__ import annotations

import math
from enum import StrEnum

from pydantic import ConfigDict, Field, JsonValue, field_validator, model_validator

from poise_lib.resources.base import Finite, Fraction, MetricName, Model, Text, cel

WEIGHT_TOLERANCE = 1e-3


class Direction(StrEnum):
    """Whether more or less of a metric is wanted."""

    MAXIMIZE = "Maximize"
    MINIMIZE = "Minimize"


class Metric(Model):
    """One metric of the objective."""

    name: MetricName = Field(description="Metric of the suite, or overall, response_length, format_valid.")
    weight: Fraction = Field(1.0, description="Share of the utility; all weights sum to 1.")
    direction: Direction = Field(Direction.MAXIMIZE, description="Whether more or less of it is wanted.")
    scale: Finite | None = Field(
        None,
        gt=0.0,
        description="How much of the metric counts as one point; 1 when missing. Lengths are tokens, scores percentage "
        "points: a hundredth of the baseline's response_length makes one percent of length worth one point of score.",
    )


class Constraint(Model):
    """A bound that a candidate must keep to become the best; a violation does not exclude it as a parent."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            "(has(self.minimum) || has(self.maximum)) "
            "&& (!has(self.minimum) || !has(self.maximum) || self.minimum <= self.maximum)",
            "give minimum, maximum or both, and no minimum above the maximum",
        )
    )

    metric: MetricName = Field(description="Metric that is bounded.")
    minimum: Finite | None = Field(None, description="Smallest value allowed.")
    maximum: Finite | None = Field(None, description="Largest value allowed.")

    @model_validator(mode="after")
    def _bounded(self) -> Constraint:
        if self.minimum is None and self.maximum is None:
            raise ValueError(f"constraint on {self.metric!r}: give minimum, maximum or both")
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValueError(f"constraint on {self.metric!r}: minimum {self.minimum} is above maximum {self.maximum}")
        return self


_METRICS_SCHEMA: dict[str, JsonValue] = {
    **cel(
        f"size(self) == 0 || (self.map(m, m.weight).sum() <= 1.0 + {WEIGHT_TOLERANCE} "
        f"&& self.map(m, m.weight).sum() >= 1.0 - {WEIGHT_TOLERANCE})",
        "weights must sum to 1",
    ),
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["name"],
}


class Objective(Model):
    """The scalar utility U(y) and the constraints on it."""

    metrics: tuple[Metric, ...] = Field(
        (),
        max_length=16,
        description="Weighted metrics; empty means the suite's own benchmarks at the suite's weights.",
        json_schema_extra=_METRICS_SCHEMA,
    )
    constraints: tuple[Constraint, ...] = Field((), max_length=8, description="Bounds on metrics.")

    @field_validator("metrics")
    @classmethod
    def _weights_sum_to_one(cls, metrics: tuple[Metric, ...]) -> tuple[Metric, ...]:
        total = sum(metric.weight for metric in metrics)
        if metrics and not math.isclose(total, 1.0, abs_tol=WEIGHT_TOLERANCE):
            raise ValueError(f"weights sum to {total:.4g}, but must sum to 1")
        names = [metric.name for metric in metrics]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"metric {repeated[0]!r} is named twice; name it once with its whole weight")
        return metrics


class Aim(Model):
    """What a directive wants more or less of."""

    metrics: tuple[MetricName, ...] = Field(max_length=16, description="Metrics of the suite that it speaks of.")
    direction: Direction = Field(description="Whether more or less of them is wanted.")
    words: Text = Field("", description="The words of the directive that say so.")


class Guard(Model):
    """What a directive wants kept as the baseline has it."""

    metric: MetricName = Field(description="Metric of the suite.")
    direction: Direction = Field(description="Maximize: it must not fall; Minimize: it must not rise.")
    tolerance: Finite = Field(ge=0.0, description="How far from the baseline's value it may be all the same.")
    percent: bool = Field(False, description="Whether the tolerance is in percent of the baseline's value.")
    words: Text = Field("", description="The words of the directive that say so.")


class Reading(Model):
    """What the search understands of its directive."""

    aims: tuple[Aim, ...] = Field((), max_length=16, description="What it wants more or less of.")
    guards: tuple[Guard, ...] = Field((), max_length=16, description="What it wants kept.")
    ignored: tuple[Text, ...] = Field((), max_length=16, description="Parts that change no score, and why.")


class ObjectiveSource(StrEnum):
    """Where the objective that counts comes from."""

    SPEC = "Spec"
    """spec.objective; the directive changes no score."""
    DIRECTIVE = "Directive"
    SUITE = "Suite"
    """The suite's own benchmarks at the suite's weights: neither of the two says otherwise."""


class ObjectiveStatus(Model):
    """The objective that counts.  Read once, when the search begins: its candidates have to stay comparable."""

    source: ObjectiveSource = Field(description="Where it comes from.")
    text: Text = Field("", description="The objective in words, and what of the directive changes no score.")
    metrics: tuple[Metric, ...] = Field(
        (),
        max_length=16,
        description="Weighted metrics; empty means the suite's own, or that the baseline has yet to be scored.",
    )
    constraints: tuple[Constraint, ...] = Field((), max_length=16, description="Bounds that the best has to keep.")
    reading: Reading = Field(default_factory=Reading, description="What was understood of the directive.")
