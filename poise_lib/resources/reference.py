"""The reference of the API, generated from the models: every field with type, default and meaning.

``poise crds --docs FILE`` writes it; a test fails when docs/api.md drifts.
"""

from __future__ import annotations

import json
import types
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import BaseModel, StringConstraints
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from poise_lib.names import API_VERSION
from poise_lib.resources.crd import KINDS, Kind
from poise_lib.resources.messages import inner_model

_HEAD = f"""# API reference

<!-- Generated from poise_lib/resources by `poise crds --docs docs/api.md`; do not edit. -->

Group and version: `{API_VERSION}`. The same documents work on one machine (`poise run`) and in a cluster. Fields that
are not listed are refused. "required" stands where there is no default.
"""


def reference() -> str:
    """The whole reference as Markdown."""
    parts = [_HEAD]
    parts += [
        f"- [{kind.name}](#{kind.name.lower()}) (`kubectl get {kind.plural}`, short `{kind.short}`)" for kind in KINDS
    ]
    for kind in KINDS:
        parts.append(_kind(kind))
    return "\n".join(parts).rstrip() + "\n"


def _kind(kind: Kind) -> str:
    lines = ["", f"## {kind.name}", "", _prose(kind.model), ""]
    for field in ("spec", "status"):
        model = inner_model(kind.model.model_fields[field].annotation)
        assert model is not None
        lines += _model(model, field, 3, set())
    return "\n".join(lines)


def _model(model: type[BaseModel], path: str, level: int, seen: set[tuple[type[BaseModel], str]]) -> list[str]:
    """A table for ``model`` at ``path``, then tables for the models inside it."""
    lines = [
        f"{'#' * level} `{path}`",
        "",
        _prose(model),
        "",
        "| Field | Type | Default | Meaning |",
        "|---|---|---|---|",
    ]
    inner: list[tuple[type[BaseModel], str]] = []
    for name, field in model.model_fields.items():
        alias = field.alias or name
        lines.append(f"| `{alias}` | {_type(field)} | {_default(field)} | {_cell(field.description or '')} |")
        if (nested := inner_model(field.annotation)) is not None:
            inner.append((nested, f"{path}.{alias}{'[]' if _is_list(field.annotation) else ''}"))
    lines.append("")
    for nested, place in inner:
        if (nested, place) not in seen:
            seen.add((nested, place))
            lines += _model(nested, place, min(level + 1, 5), seen)
    return lines


def _prose(model: type[BaseModel]) -> str:
    return " ".join((model.__doc__ or "").split())


def _type(field: FieldInfo) -> str:
    return _cell(_name(field.annotation, list(field.metadata)))


def _name(annotation: Any, constraints: list[Any]) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _name(arguments[0], [*arguments[1:], *constraints])
    if origin in (Union, types.UnionType):
        return _name(next(argument for argument in arguments if argument is not type(None)), constraints)
    if origin is tuple:
        return f"list of {_name(arguments[0], [])}" + _limits(constraints, "entries")
    if origin is dict:
        return f"map of {_name(arguments[1], [])}" + _limits(constraints, "entries")
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return " or ".join(f"`{member.value}`" for member in annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "object"
    plain = {str: "text", int: "integer", float: "number", bool: "true or false"}
    return plain[annotation] + _limits(constraints, "characters")


def _limits(constraints: list[Any], unit: str) -> str:
    """``, 1 to 10`` and the like; texts without a bound of their own say nothing."""
    low = high = ""
    for item in _flatten(constraints):
        match item:
            case Ge(ge=bound):
                low = f"at least {bound:g}"
            case Gt(gt=bound):
                low = f"above {bound:g}"
            case Le(le=bound):
                high = f"at most {bound:g}"
            case Lt(lt=bound):
                high = f"below {bound:g}"
            case MinLen(min_length=bound) if unit == "entries":
                low = f"at least {bound} {unit}"
            case MaxLen(max_length=bound):
                high = f"at most {bound} {unit}"
            case StringConstraints(max_length=int(bound)):
                high = f"at most {bound} {unit}"
    limits = [limit for limit in (low, high) if limit]
    return f", {', '.join(limits)}" if limits else ""


def _flatten(constraints: list[Any]) -> list[Any]:
    """Constraints, with those that a FieldInfo carries unpacked."""
    return [inner for item in constraints for inner in (item.metadata if isinstance(item, FieldInfo) else [item])]


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is PydanticUndefined:
        return "required"
    if value is None:
        return "none"
    if isinstance(value, BaseModel):
        changed = value.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude_none=True)
        return f"`{json.dumps(changed)}`" if changed else "its defaults"
    value = getattr(value, "value", value)
    return "empty" if value in ("", (), {}) else f"`{json.dumps(value)}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _is_list(annotation: Any) -> bool:
    if get_origin(annotation) in (Union, types.UnionType):
        return any(_is_list(argument) for argument in get_args(annotation))
    return get_origin(annotation) is tuple
