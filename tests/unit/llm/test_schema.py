"""Schemas in the strict form: closed, everything required, no keyword that servers do not share."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, Field

from poise_lib.llm.schema import answer_schema, response_format, schema_text


class Kind(StrEnum):
    A = "a"
    B = "b"


class Part(BaseModel):
    """A part."""

    kind: Kind
    size: int = Field(ge=1, le=9)
    note: str | None = None


class Whole(BaseModel):
    title: str = Field(max_length=80, pattern="^[a-z]+$", description="A title.")
    parts: tuple[Part, ...] = Field(min_length=1, max_length=3)
    best: Part = Field(description="The best part.")
    mode: Literal["x"] = "x"
    level: float = 0.5


def nodes(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        yield schema
        for key, inner in schema.items():
            if key in ("properties", "$defs"):
                for body in inner.values():
                    yield from nodes(body)
            elif key in ("items", "anyOf"):
                for body in inner if isinstance(inner, list) else [inner]:
                    yield from nodes(body)


def test_strict_form() -> None:
    schema, strict = answer_schema(Whole)
    assert strict
    for node in nodes(schema):
        assert set(node) <= {"type", "properties", "required", "additionalProperties", "items", "anyOf", "enum",
                             "description", "$ref", "$defs"}, node  # fmt: skip
        if node.get("type") == "object":
            assert node["required"] == list(node["properties"])
            assert node["additionalProperties"] is False
        if "$ref" in node:
            assert set(node) == {"$ref"}
    assert schema["properties"]["mode"] == {"enum": ["x"], "type": "string"}


def test_bounds_are_said_in_words() -> None:
    schema, _ = answer_schema(Whole)
    assert schema["properties"]["title"]["description"] == "A title. (at most 80 characters, matching ^[a-z]+$)"
    assert schema["properties"]["parts"]["description"] == "(at least 1 entries, at most 3 entries)"
    assert schema["$defs"]["Part"]["properties"]["size"]["description"] == "(at least 1, at most 9)"
    assert schema["properties"]["best"]["description"] == "The best part."


def test_mappings_have_no_strict_form() -> None:
    class Free(BaseModel):
        values: dict[str, float]

    form = response_format(Free)
    assert form["json_schema"]["strict"] is False
    assert form["json_schema"]["schema"]["properties"]["values"]["additionalProperties"] == {"type": "number"}


def test_names_fit_the_api() -> None:
    assert response_format(Whole)["json_schema"]["name"] == "Whole"
    assert "\n" not in schema_text(Whole)
