"""The JSON schema of an answer, in the strict form that OpenAI's ``response_format`` and grammar-bound servers take.

Strict means: every object closed, every property required, only the keywords that all servers know.  The bounds that are
left out (lengths, ranges, patterns) are said in the description, where a model reads them, and pydantic checks them
anyway.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

from pydantic import BaseModel

_WORDS: Final = {
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} entries",
    "maxItems": "at most {} entries",
    "minimum": "at least {}",
    "maximum": "at most {}",
    "exclusiveMinimum": "above {}",
    "exclusiveMaximum": "below {}",
    "multipleOf": "a multiple of {}",
    "pattern": "matching {}",
}
_KEPT: Final = ("type", "enum", "$ref")
_NAME_LENGTH: Final = 64


def answer_schema(model: type[BaseModel]) -> tuple[dict[str, Any], bool]:
    """The schema of a model, and whether it is strict.

    A mapping with free keys, or a tuple with entries of different kinds, has no strict form: such a model is better
    written as a list of pairs.
    """
    raw = model.model_json_schema(by_alias=True)
    definitions = raw.get("$defs", {})
    strict = _Strict(definitions)
    schema = strict.of(raw)
    inner = {name: strict.of(body) for name, body in definitions.items()}
    used = {name: body for name, body in inner.items() if f'"#/$defs/{name}"' in json.dumps([schema, inner])}
    return ({**schema, "$defs": used} if used else schema), strict.possible


def response_format(model: type[BaseModel]) -> dict[str, Any]:
    """``response_format`` of a request for an answer of this model."""
    schema, strict = answer_schema(model)
    name = re.sub(r"[^a-zA-Z0-9_-]", "_", model.__name__)[:_NAME_LENGTH]
    return {"type": "json_schema", "json_schema": {"name": name, "schema": schema, "strict": strict}}


def schema_text(model: type[BaseModel]) -> str:
    """The schema on one line, for prompts and for counting."""
    return json.dumps(answer_schema(model)[0], ensure_ascii=False, separators=(",", ":"))


class _Strict:
    def __init__(self, definitions: dict[str, Any]) -> None:
        self.definitions = definitions
        self.possible = True

    def of(self, raw: dict[str, Any]) -> dict[str, Any]:
        """The strict form of one schema."""
        if "$ref" in raw and set(raw) - {"$ref", "default"}:
            # Nothing may stand beside a reference: what does is put into a copy of its target.
            target = self.definitions[raw["$ref"].rpartition("/")[2]]
            raw = {**target, **{key: value for key, value in raw.items() if key != "$ref"}}
        options = raw.get("anyOf") or raw.get("oneOf")
        if len(raw.get("allOf", ())) == 1:
            return self.of({**raw["allOf"][0], **{key: value for key, value in raw.items() if key != "allOf"}})
        out: dict[str, Any] = {key: raw[key] for key in _KEPT if key in raw}
        if "const" in raw:
            out["enum"] = [raw["const"]]
        if description := _described(raw):
            out["description"] = description
        if options:
            out["anyOf"] = [self.of(option) for option in options]
        if "properties" in raw or raw.get("type") == "object":
            properties = raw.get("properties", {})
            free = raw.get("additionalProperties")
            self.possible = self.possible and not free and bool(properties)
            out["properties"] = {name: self.of(body) for name, body in properties.items()}
            out["required"] = list(properties)
            out["additionalProperties"] = self.of(free) if isinstance(free, dict) else bool(free)
        if "items" in raw:
            out["items"] = self.of(raw["items"])
        elif raw.get("type") == "array":
            self.possible = False  # no kind of entry, or several
            out |= {key: raw[key] for key in ("prefixItems",) if key in raw}
        if not {"type", "anyOf", "$ref", "enum"} & set(out):
            self.possible = False  # anything goes
        return out


def _described(raw: dict[str, Any]) -> str:
    bounds = [words.format(raw[key]) for key, words in _WORDS.items() if key in raw]
    text = str(raw.get("description", "")).strip()
    return f"{text} ({', '.join(bounds)})".strip() if bounds else text
