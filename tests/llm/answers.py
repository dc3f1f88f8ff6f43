"""The library of answers: right ones, subtly wrong ones, and garbage.

Right is what fits the role that the request gives (:mod:`tests.llm.roles`), or else the schema that it carries.  All are
deterministic in the request: the same question gets the same answer, in one worker or ten.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from typing import Any, Final

from tests.llm import roles
from tests.llm.asking import Document, digest, schema_of

__all__ = ["LIBRARY", "digest", "good", "instance", "schema_of"]


def instance(schema: Document, draw: random.Random, root: Document | None = None) -> Any:
    """A value that a strict schema admits; a description's bounds are kept as far as words go."""
    root = root or schema
    if "$ref" in schema:
        return instance(root["$defs"][schema["$ref"].rpartition("/")[2]], draw, root)
    if "anyOf" in schema:
        return instance(schema["anyOf"][0], draw, root)
    if "enum" in schema:
        return draw.choice(schema["enum"])
    match schema.get("type"):
        case "object":
            return {name: instance(inner, draw, root) for name, inner in schema.get("properties", {}).items()}
        case "array":
            least = re.search(r"at least (\d+) entries", schema.get("description", ""))
            return [instance(schema["items"], draw, root) for _ in range(int(least[1]) if least else 1)]
        case "integer":
            return draw.randint(1, 9)
        case "number":
            return round(draw.uniform(0.1, 0.9), 3)
        case "boolean":
            return True
        case "null":
            return None
    return draw.choice(["wider clipping", "entropy floor", "length control", "softer gate"])


def good(request: Document) -> str:
    """An answer in the request's role, or else one that fits its schema."""
    if (said := roles.answer(request)) is not None:
        return said
    schema = schema_of(request)
    if schema is None:
        return "I am ready."
    return json.dumps(instance(schema, random.Random(digest(request))), ensure_ascii=False)


def _edited(request: Document, edit: Callable[[Document], object]) -> str:
    document = json.loads(good(request))
    edit(document)
    return json.dumps(document)


def _first(document: Document) -> str:
    return next(iter(document))


def _wrong_type(document: Document) -> None:
    name = _first(document)
    document[name] = {"value": document[name]}


LIBRARY: Final[dict[str, Callable[[Document], str]]] = {
    # right
    "good": good,
    "fenced": lambda request: f"Here you are:\n\n```json\n{good(request)}\n```\nAnything else?",
    "thinking": lambda request: f'<think>Perhaps {{"draft": 1}}? No.</think>\n{good(request)}',
    "thinking-open": lambda request: f"The prompt opened this block.</think>\n{good(request)}",
    "loose": lambda request: f"Sure! The answer is {good(request)} as you asked {{really}}.",
    "wrapped": lambda request: json.dumps({"answer": json.loads(good(request))}),
    # subtly wrong
    **roles.ANSWERS,
    "missing-field": lambda request: _edited(request, lambda d: d.pop(_first(d))),
    "extra-field": lambda request: _edited(request, lambda d: d.update(comment="not asked for")),
    "wrong-type": lambda request: _edited(request, _wrong_type),
    "list": lambda request: json.dumps([json.loads(good(request))] * 2),
    "single-quotes": lambda request: good(request).replace('"', "'"),
    "trailing-comma": lambda request: good(request)[:-1] + ",}",
    "truncated": lambda request: good(request)[:-3],
    "schema-itself": lambda request: json.dumps(schema_of(request)),
    # garbage
    "empty": lambda _: "",
    "blank": lambda _: " \n\t ",
    "prose": lambda _: "I would widen the clipping range, because exploration matters.",
    "html": lambda _: "<html><body><h1>502 Bad Gateway</h1></body></html>",
    "braces": lambda _: "{" * 3000,
    "deep": lambda _: "[" * 30_000,
    "number": lambda _: "42",
    "null": lambda _: "null",
    "nan": lambda _: '{"ready": NaN}',
    "thinking-only": lambda _: "<think>I should think about this for ever",
    "binary": lambda _: "\x00\x01\ud800\uffff" * 50,
}
