"""The part of the chart's ``values.schema.json`` that follows a model: the value ``podTemplate``.

helm refuses with it, by name, what the controller would refuse at its start.  ``poise crds --values FILE`` writes it; a
test fails when it drifts.
"""

from __future__ import annotations

import json
from typing import Any, Final

from poise_lib.resources.crd import resolved
from poise_lib.resources.template import PodTemplate

WIDTH: Final = 120
_KEPT: Final = ("type", "description", "enum", "pattern", "minLength", "maxLength", "minimum", "maximum", "minItems",
                "maxItems", "maxProperties", "propertyNames", "required", "additionalProperties")  # fmt: skip


def pod_template_schema() -> dict[str, Any]:
    """JSON Schema (draft 7) of :class:`PodTemplate`, with every key and every value closed, and without references."""
    raw = PodTemplate.model_json_schema(by_alias=True)
    return _closed(raw, raw["$defs"])


def _closed(raw: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    raw = resolved(raw, definitions)
    out: dict[str, Any] = {key: raw[key] for key in _KEPT if key in raw}
    if "items" in raw:
        out["items"] = _closed(raw["items"], definitions)
    for key in ("properties", "patternProperties"):
        if key in raw:
            out[key] = {name: _closed(inner, definitions) for name, inner in raw[key].items()}
            out["additionalProperties"] = False
    return out


def with_pod_template(text: str) -> str:
    """The text of ``values.schema.json`` with the part that follows the model anew."""
    document = json.loads(text)
    document["properties"]["podTemplate"] = pod_template_schema()
    return _written(document) + "\n"


def _written(value: Any, indent: str = "", used: int = 0) -> str:
    """JSON that people can read: on one line where that fits, else an entry a line.

    Args:
        value: to write.
        indent: of the line that it begins on.
        used: characters of that line which stand before it and after it.
    """
    line = json.dumps(value, ensure_ascii=False)
    if used + len(line) <= WIDTH or not isinstance(value, dict | list) or not value:
        return line
    inner = f"{indent}  "
    if isinstance(value, dict):
        heads = {f"{json.dumps(key)}: ": item for key, item in value.items()}
        entries = [head + _written(item, inner, len(inner) + len(head) + 1) for head, item in heads.items()]
    else:
        entries = [_written(item, inner, len(inner) + 1) for item in value]
    opened, closed = "{}" if isinstance(value, dict) else "[]"
    return f"{opened}\n{inner}" + f",\n{inner}".join(entries) + f"\n{indent}{closed}"
