"""What pydantic found wrong, said so that the person who wrote the manifest can act on it.

Each complaint becomes a field path in the manifest's own spelling, what was given, and the fix.  For an unknown field
the fix is the closest field of that place, or the place where a field of this name lives.
"""

from __future__ import annotations

import difflib
import json
import re
import types
from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

Path = tuple[str | int, ...]
M = TypeVar("M", bound=BaseModel)

_PATTERNS: Final = {
    r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$": "lower-case letters, digits and '-', starting and ending with a letter or digit, such as my-search",
    r"^([0-9]+h)?([0-9]+m)?([0-9]+s)?$": "a duration such as 45m or 1h30m",
    r"^sha256:[0-9a-f]{64}$": "a digest: sha256: and 64 hexadecimal digits",
    r"^https?://[^\s@?#]+$": "an address such as https://llm.example.com/v1, without a user or a key in it",
    r"^[A-Za-z0-9][A-Za-z0-9_.-]*$": "a name: letters, digits and _ . -, such as ours-v1",
    r"^[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_.-]*$": "an id of the Hugging Face hub, such as HuggingFaceH4/MATH-500",
    r"^(unknown|sha256:[0-9a-f]{64})$": "unknown, or a digest: sha256: and 64 hexadecimal digits",
    r"^([A-Za-z0-9_][A-Za-z0-9_.@=+-]*/)*[A-Za-z0-9_][A-Za-z0-9_.@=+-]*[.](jsonl|json|csv|parquet)$": (
        "a file in the folder of the problems, such as house.jsonl (or .json, .csv, .parquet)"
    ),
    r"^[A-Za-z0-9][A-Za-z0-9_./@-]*$": "a metric's name: letters, digits and _ . / @ -",
}
_NOUNS: Final = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "string_type": "text; put it in quotes",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping (key: value)",
    "model_type": "a mapping (key: value)",
    "model_attributes_type": "a mapping (key: value)",
}


def field_path(path: Path) -> str:
    """``spec.objective.metrics[0].weight``; keys that are no plain words stand in brackets."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*", step):
            text += f".{step}" if text else step
        else:
            text += f"[{json.dumps(step)}]"
    return text or "the document"


def first_problem(error: ValidationError) -> str:
    """The first of a model's complaints, with its place: for documents that no person wrote, so without advice."""
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc'])) or 'the whole'}: {first['msg']}"


def strictly(model: type[M], data: Any) -> M:
    """Data of a manifest as a model, with types as strict as the API server's: ``"8"`` is no number.

    Raises:
        ValidationError: it is not of the model; :func:`complaints` says why.
    """
    return model.model_validate_json(json.dumps(data), strict=True, by_alias=True, by_name=False)


def complaints(model: type[BaseModel], error: ValidationError) -> list[tuple[Path, str]]:
    """All that is wrong, each with its place and one sentence."""
    return [explain(model, item) for item in error.errors(include_url=False)]


def explain(model: type[BaseModel], error: ErrorDetails) -> tuple[Path, str]:
    """Where it is wrong, and one sentence on what was given and what to write instead."""
    path: Path = tuple(step for step in error["loc"] if step != "[key]")
    kind, given, context = error["type"], error["input"], error.get("ctx", {})
    if kind == "missing":
        return path, f"is missing{_description(model, path)}"
    if kind == "extra_forbidden":
        return path, f"is no field here{_suggestion(model, path)}"
    if kind in _NOUNS:
        return path, f"must be {_NOUNS[kind]}, but is {describe(given)}"
    if kind in ("enum", "literal_error"):
        return path, _choice(str(context.get("expected", "")), given)
    if kind == "string_pattern_mismatch":
        pattern = str(context.get("pattern", ""))
        return path, f"must be {_PATTERNS.get(pattern, f'text that matches {pattern}')}, but is {describe(given)}"
    if kind in ("value_error", "assertion_error"):
        return path, error["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    if kind == "finite_number":
        return path, f"must be a finite number, but is {describe(given)}"
    return path, _bound(
        kind, context, given
    ) or f"{error['msg'][:1].lower()}{error['msg'][1:]}, but is {describe(given)}"


def describe(value: Any) -> str:
    """What was given, short enough for a message."""
    if isinstance(value, dict):
        return "a mapping" if value else "an empty mapping"
    if isinstance(value, (list, tuple)):
        return "a list" if value else "an empty list"
    if isinstance(value, str):
        return f"the text {json.dumps(value if len(value) <= 60 else value[:57] + '...', ensure_ascii=False)}"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def closest(word: str, known: Sequence[str]) -> str | None:
    """The known word that was probably meant, whatever its case and separators."""
    folded = {re.sub(r"[-_]", "", name).lower(): name for name in known}
    match = difflib.get_close_matches(re.sub(r"[-_]", "", word).lower(), folded, n=1, cutoff=0.6)
    return folded[match[0]] if match else None


def _bound(kind: str, context: dict[str, Any], given: Any) -> str | None:
    """A sentence on a value that is too small, too large, too long or too short."""
    signs = {"greater_than_equal": ("at least", "ge"), "greater_than": ("above", "gt"),
             "less_than_equal": ("at most", "le"), "less_than": ("below", "lt")}  # fmt: skip
    if kind in signs:
        word, key = signs[kind]
        return f"must be {word} {context[key]:g}, but is {describe(given)}"
    if kind == "string_too_long":
        return f"has {len(given):,} characters; at most {context['max_length']:,}"
    if kind == "string_too_short":
        return f"must have at least {context['min_length']} characters, but is {describe(given)}"
    if kind in ("too_long", "too_short"):
        bound = ("at most", context["max_length"]) if kind == "too_long" else ("at least", context["min_length"])
        return f"has {context.get('actual_length') or len(given)} entries; {bound[0]} {bound[1]}"
    return None


def _choice(expected: str, given: Any) -> str:
    choices = re.findall(r"'([^']*)'", expected)
    hint = closest(given, choices) if isinstance(given, str) else None
    listed = choices[0] if len(choices) == 1 else f"{', '.join(choices[:-1])} or {choices[-1]}" if choices else expected
    return f"must be {listed}, but is {describe(given)}" + (
        f"; did you mean {hint}?" if hint and len(choices) > 1 else ""
    )


def _suggestion(model: type[BaseModel], path: Path) -> str:
    """The closest field at this place, or another place that has a field of this name."""
    name = str(path[-1])
    here = _model_at(model, path[:-1])
    fields = [field.alias or key for key, field in here.model_fields.items()] if here else []
    if hint := closest(name, fields):
        return f"; did you mean {hint}?"
    elsewhere = [place for place in _all_fields(model) if place[-1] == name and place[0] == "spec"]
    if elsewhere:
        return f"; did you mean {field_path(min(elsewhere, key=len))}?"
    return f"; known here: {', '.join(fields)}" if fields else ""


def _description(model: type[BaseModel], path: Path) -> str:
    here = _model_at(model, path[:-1])
    for key, field in here.model_fields.items() if here else ():
        if path[-1] == (field.alias or key) and field.description:
            return f" ({field.description.rstrip('.')})"
    return ""


def _model_at(model: type[BaseModel], path: Path) -> type[BaseModel] | None:
    """The model that describes the mapping at ``path``; None where a free mapping stands."""
    current: Any = model
    for step in path:
        if isinstance(step, int):
            continue  # the annotation of a list was unwrapped to its items already
        fields = {field.alias or key: field for key, field in current.model_fields.items()}
        current = inner_model(fields[step].annotation) if step in fields else None
        if current is None:
            return None
    found: type[BaseModel] = current
    return found


def inner_model(annotation: Any) -> type[BaseModel] | None:
    """The model inside ``M | None``, ``tuple[M, ...]`` or ``M``; a mapping's values are no fields."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (tuple, list, Union, types.UnionType):
        return next((found for inner in get_args(annotation) if (found := inner_model(inner))), None)
    return None


def _all_fields(model: type[BaseModel], prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, field in model.model_fields.items():
        place = (*prefix, field.alias or key)
        yield place
        if inner := inner_model(field.annotation):
            yield from _all_fields(inner, place)
