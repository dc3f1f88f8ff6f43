"""What all kinds share: strict frozen models with camelCase aliases, metadata, conditions, named constrained types.

Rules that an API server can check by itself stand beside the models in ``model_config`` or in a field's
``json_schema_extra`` (:func:`cel`); :mod:`poise_lib.resources.crd` carries them into the CRDs.
"""

from __future__ import annotations

import re
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, StringConstraints
from pydantic.alias_generators import to_camel

NAME_PATTERN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"

MAX_NAME = 63
"""Characters of an object's name, so that it fits a label."""
MAX_SEARCH_NAME = 30
"""Of a Search's, because the names of its candidates, evaluations and tasks are built from it."""

SearchName = Annotated[str, StringConstraints(pattern=NAME_PATTERN, max_length=MAX_SEARCH_NAME)]
"""A DNS label."""
ObjectName = Annotated[str, StringConstraints(pattern=NAME_PATTERN, max_length=MAX_NAME)]
MetricName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_./@-]*$", max_length=64)]
Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$", max_length=71)]
ShortText = Annotated[str, StringConstraints(max_length=256)]
Text = Annotated[str, StringConstraints(max_length=2000)]
Source = Annotated[str, StringConstraints(max_length=24_000)]
"""Candidate source; bounded so that a Candidate stays under 30 KiB."""
Duration = Annotated[str, StringConstraints(pattern=r"^([0-9]+h)?([0-9]+m)?([0-9]+s)?$", min_length=2, max_length=32)]
"""Like 45m or 1h30m."""

Fraction = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


def _rfc3339(text: str) -> str:
    datetime.fromisoformat(text)
    return text


Timestamp = Annotated[
    str, StringConstraints(max_length=40), AfterValidator(_rfc3339), Field(json_schema_extra={"format": "date-time"})
]
"""RFC 3339, such as 2026-11-23T09:00:00Z."""


def cel(rule: str, message: str) -> dict[str, JsonValue]:
    """A rule for the API server, as ``json_schema_extra``.

    Args:
        rule: a CEL expression over ``self`` (and ``oldSelf``: then it restricts changes).
        message: what is wrong, and the fix.
    """
    return {"x-kubernetes-validations": [{"rule": rule, "message": message}]}


class Model(BaseModel):
    """Frozen, refuses unknown fields, reads and writes camelCase."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)

    def to_document(self) -> dict[str, Any]:
        """The JSON-ready form with camelCase keys, without fields that are None."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class ObjectMeta(Model):
    """The part of Kubernetes object metadata that POISE reads, and the server-set part that it lets pass."""

    name: ObjectName = Field(description="Name of the object; unique in its namespace.")
    namespace: str = Field("default", max_length=63, description="Namespace of the object.")
    labels: dict[str, str] = Field(default_factory=dict, description="Labels.")
    annotations: dict[str, str] = Field(default_factory=dict, description="Annotations.")
    owner_references: tuple[dict[str, Any], ...] = Field((), description="Owners, for garbage collection.")
    finalizers: tuple[str, ...] = Field((), description="Finalizers.")
    uid: str | None = Field(None, description="Set by the server.")
    resource_version: str | None = Field(None, description="Set by the server.")
    generation: int | None = Field(None, description="Set by the server: counts changes of the spec.")
    creation_timestamp: str | None = Field(None, description="Set by the server.")
    deletion_timestamp: str | None = Field(None, description="Set by the server when deletion was asked for.")
    managed_fields: tuple[dict[str, Any], ...] | None = Field(None, description="Set by the server.")


class ConditionStatus(StrEnum):
    """Kubernetes' three-valued truth."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(Model):
    """A Kubernetes condition."""

    type: ShortText = Field(description="What is stated, such as Complete.")
    status: ConditionStatus = Field(description="Whether it holds.")
    reason: ShortText = Field(description="A CamelCase word for programs.")
    message: Text = Field("", description="A sentence for people.")
    observed_generation: int | None = Field(None, description="The spec's generation that this speaks of.")
    last_transition_time: Timestamp | None = Field(None, description="When status last changed, RFC 3339.")


def seconds(duration: str) -> float:
    """Seconds in a :data:`Duration` such as ``1h30m``.

    Raises:
        ValueError: the text is no duration.
    """
    match = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", duration)
    if not duration or match is None:
        raise ValueError(f"{duration!r} is no duration; write it like 45m or 1h30m")
    hours, minutes, secs = (int(part or 0) for part in match.groups())
    return float(hours * 3600 + minutes * 60 + secs)
