"""CustomResourceDefinitions, generated from the models: structural schemas, defaults, CEL rules, printer columns.

pydantic's JSON schema says more than a structural schema may: references, unions with null, closed objects, key
patterns.
:func:`crd` inlines the first, drops the others (an API server prunes unknown fields by itself) and adds what Kubernetes
wants: nested defaults, integer formats, list types.  A status gets no defaults: it is the controller's to write.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from poise_lib.names import ANNOTATION_DEPTH, GROUP, VERSION
from poise_lib.resources.base import MAX_NAME, MAX_SEARCH_NAME, NAME_PATTERN, cel
from poise_lib.resources.candidate import Candidate
from poise_lib.resources.evaluation import Evaluation
from poise_lib.resources.messages import inner_model
from poise_lib.resources.search import Search

CATEGORY: Final = "poise"
MAX_MAP_KEYS: Final = 64
"""Entries of a mapping without a bound of its own (labels and the like never reach a schema)."""


@dataclass(frozen=True)
class Column:
    """A column of ``kubectl get``."""

    name: str
    path: str
    type: str = "string"
    wide: bool = False
    description: str = ""

    def to_document(self) -> dict[str, Any]:
        """As the CRD has it."""
        document: dict[str, Any] = {"name": self.name, "type": self.type, "jsonPath": self.path}
        if self.description:
            document["description"] = self.description
        if self.wide:
            document["priority"] = 1
        return document


@dataclass(frozen=True)
class Kind:
    """A kind, its model, and how kubectl names and lists it."""

    model: type[BaseModel]
    plural: str
    short: str
    columns: tuple[Column, ...]
    selectable: tuple[str, ...] = ()
    """Paths that ``--field-selector`` takes, beside those that every kind has."""

    @property
    def name(self) -> str:
        """Such as Search."""
        return self.model.__name__

    @property
    def file(self) -> str:
        """Name of the file in ``crds/``."""
        return f"{GROUP}_{self.plural}.yaml"


_DEPTH: Final = ".metadata.annotations." + ANNOTATION_DEPTH.replace(".", "\\.")
_AGE: Final = Column("Age", ".metadata.creationTimestamp", "date")

KINDS: Final = (
    Kind(
        Search,
        "searches",
        "psearch",
        (
            Column("Phase", ".status.phase"),
            Column("Round", ".status.round", "integer"),
            Column("Done", ".status.progress", description="Finished candidates over the budget."),
            Column("Best", ".status.best.candidate"),
            Column(
                "Gain", ".status.best.gain", "number", description="Over the baseline, on the search's own problems."
            ),
            Column("Verdict", ".status.best.confirmation.verdict", description="On unseen seeds and problems."),
            Column("Utility", ".status.best.utility", "number", wide=True),
            Column("Archived", ".status.counts.archived", "integer", wide=True),
            Column("Rejected", ".status.counts.rejected", "integer", wide=True),
            Column("Failed", ".status.counts.failed", "integer", wide=True),
            Column("Message", ".status.message", wide=True),
            _AGE,
        ),
        (".status.phase",),
    ),
    Kind(
        Candidate,
        "candidates",
        "pcand",
        (
            Column("Search", ".spec.search"),
            Column("Parent", ".spec.parents[0]"),
            Column("Depth", _DEPTH),
            Column("Phase", ".status.phase"),
            Column("Reason", ".status.reason", description="Why it ended, where it did not end in the archive."),
            Column("Utility", ".status.utility", "number"),
            Column("Title", ".spec.proposal.title"),
            Column("Round", ".spec.round", "integer", wide=True),
            Column("Message", ".status.message", wide=True),
            _AGE,
        ),
        (".spec.search", ".status.phase"),
    ),
    Kind(
        Evaluation,
        "evaluations",
        "peval",
        (
            Column("Candidate", ".spec.candidate"),
            Column("Fidelity", ".spec.fidelity"),
            Column("Seed", ".spec.seed", "integer"),
            Column("Phase", ".status.phase"),
            Column("Overall", ".status.metrics.overall", "number"),
            Column("Reason", ".status.reason", wide=True),
            Column("Message", ".status.message", wide=True),
            _AGE,
        ),
        (".spec.search", ".spec.candidate", ".status.phase"),
    ),
)


def crd(kind: Kind) -> dict[str, Any]:
    """The CustomResourceDefinition (apiextensions.k8s.io/v1) of a kind."""
    schema = kind.model.model_json_schema(by_alias=True)
    definitions = schema.get("$defs", {})
    fields = kind.model.model_fields
    spec = _object(definitions, fields["spec"], defaults=True)
    status = _object(definitions, fields["status"], defaults=False)
    properties = {
        "apiVersion": {"type": "string", "description": "API version; poise.dev/v1alpha1."},
        "kind": {"type": "string", "description": f"Kind; {kind.name}."},
        "metadata": _metadata(kind.model),
        "spec": spec,
        "status": status,
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind.name,
                "listKind": f"{kind.name}List",
                "plural": kind.plural,
                "singular": kind.name.lower(),
                "shortNames": [kind.short],
                "categories": [CATEGORY],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    **(
                        {"selectableFields": [{"jsonPath": path} for path in kind.selectable]}
                        if kind.selectable
                        else {}
                    ),
                    "additionalPrinterColumns": [column.to_document() for column in kind.columns],
                    "schema": {
                        "openAPIV3Schema": {
                            "type": "object",
                            "description": kind.model.__doc__,
                            "required": ["metadata", "spec"],
                            "properties": properties,
                        }
                    },
                }
            ],
        },
    }


class _WholeDumper(yaml.SafeDumper):
    """Writes what two places share in both: an anchor is valid YAML, but nothing to read or to review."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def crd_yaml(kind: Kind) -> str:
    """The CRD as the text of its file."""
    head = "# Generated from poise_lib/resources by `poise crds --output crds`; do not edit.\n"
    return head + yaml.dump(crd(kind), Dumper=_WholeDumper, sort_keys=False, width=120, allow_unicode=True)


def _metadata(model: type[BaseModel]) -> dict[str, Any]:
    """Kubernetes owns metadata's schema; only its name may be narrowed."""
    longest = MAX_SEARCH_NAME if model is Search else MAX_NAME
    return {"type": "object", "properties": {"name": {"type": "string", "maxLength": longest, "pattern": NAME_PATTERN}}}


def _object(definitions: dict[str, Any], field: FieldInfo, *, defaults: bool) -> dict[str, Any]:
    model = inner_model(field.annotation)
    assert model is not None
    body = _schema(definitions[model.__name__], definitions, model, defaults=defaults)
    return {**body, "description": field.description or ""}


def _schema(
    raw: dict[str, Any], definitions: dict[str, Any], model: type[BaseModel] | None, *, defaults: bool
) -> dict[str, Any]:
    """A structural schema from pydantic's; ``model`` is the model that ``raw`` describes, if it is one."""
    raw = resolved(raw, definitions)
    out: dict[str, Any] = {}
    for key in ("description", "type", "format", "enum", "pattern", "minLength", "maxLength", "minimum", "maximum", "minItems",
                "maxItems", "maxProperties", "required", "x-kubernetes-list-type", "x-kubernetes-list-map-keys",
                "x-kubernetes-validations"):  # fmt: skip
        if key in raw:
            out[key] = raw[key]
    if "const" in raw:
        out |= {"type": "string", "enum": [raw["const"]]}
    for bound in ("Minimum", "Maximum"):
        if f"exclusive{bound}" in raw:
            out |= {bound.lower(): raw[f"exclusive{bound}"], f"exclusive{bound}": True}
    if out.get("type") == "integer":
        out["format"] = "int64"
    if "enum" in out:
        out.pop("maxLength", None)
    if "items" in raw:
        out["items"] = _schema(raw["items"], definitions, _model_of(raw["items"], model), defaults=defaults)
    if "properties" in raw:
        assert model is not None
        out["properties"] = _properties(raw, definitions, model, defaults=defaults)
    elif isinstance(raw.get("additionalProperties"), dict) or "patternProperties" in raw:
        values = raw.get("additionalProperties") or next(iter(raw["patternProperties"].values()))
        out["additionalProperties"] = _schema(values, definitions, None, defaults=defaults)
        out.setdefault("maxProperties", MAX_MAP_KEYS)
        if "patternProperties" in raw and defaults:  # a status is the controller's own
            out.update(_key_rule(raw))
    return out


def _key_rule(raw: dict[str, Any]) -> dict[str, Any]:
    """What a structural schema has no word for: how the keys of a map are written."""
    pattern, longest = next(iter(raw["patternProperties"])), raw["propertyNames"]["maxLength"]
    rule = f"self.all(key, size(key) <= {longest} && key.matches('{pattern}'))"
    return cel(rule, f"every key must match {pattern} and have at most {longest} characters")


def _properties(
    raw: dict[str, Any], definitions: dict[str, Any], model: type[BaseModel], *, defaults: bool
) -> dict[str, Any]:
    properties = {}
    for name, field in model.model_fields.items():
        alias = field.alias or name
        body = _schema(raw["properties"][alias], definitions, inner_model(field.annotation), defaults=defaults)
        if field.description:
            body["description"] = field.description
        if defaults and (default := _default(field)) is not None:
            body["default"] = default
        properties[alias] = body
    return properties


def resolved(raw: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Follow references and strip ``| null``; what stands beside a reference wins."""
    while True:
        if "$ref" in raw:
            target = definitions[raw["$ref"].rpartition("/")[2]]
            raw = {**target, **{key: value for key, value in raw.items() if key != "$ref"}}
        elif "anyOf" in raw:
            (real,) = (option for option in raw["anyOf"] if option.get("type") != "null")
            raw = {**real, **{key: value for key, value in raw.items() if key != "anyOf"}}
        else:
            return raw


def _model_of(items: dict[str, Any], model: type[BaseModel] | None) -> type[BaseModel] | None:
    """The model of a list's items: :func:`inner_model` has unwrapped the list already."""
    return model if "$ref" in items else None


def _default(field: FieldInfo) -> Any:
    """The default as JSON, written out in full: CEL rules judge a default before the defaults inside it are applied."""
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is PydanticUndefined or value is None:
        return None
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True, exclude_none=True)
    if isinstance(value, tuple):
        return [getattr(item, "value", item) for item in value]
    return getattr(value, "value", value)
