"""Malformed manifests of every kind, made from a whole and valid one by breaking one field of its schema at a time."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from tests.integration.kube.documents import filled, merged, minimal, schema
from tests.integration.kube.test_crd_rules import CASES
from tests.kube.client import Document

UNKNOWN: Final = "unheardOf"

_METRIC: Final = {"name": "overall", "weight": 1.0, "direction": "Maximize"}
_PROBLEMS: Final = {
    "dataset": "house/problems", "split": "test", "files": ["house.jsonl"], "count": 3, "digest": "unknown",
}  # fmt: skip
_SUITE: Final = {
    "suite": "house-v1",
    "suiteDefinition": {
        "extends": "sums-v1",
        "benchmarks": [
            {
                "name": "sums_acc1", "weight": 0.5, "passK": 3, "samples": 3, "temperature": 0.5, "maxTokens": 3,
                "title": "Sums", "contamination": "None.", "source": _PROBLEMS, "confirm": {**_PROBLEMS, "files": ["house_confirm.jsonl"]},
            }
        ],
    },
}  # fmt: skip
"""With a benchmark that weighs what it weighs in the extended suite."""
_FITTING: Final[dict[str, Document]] = {  # where one value a field is not enough: the rules speak of several
    "Search": {
        "objective": {"metrics": [_METRIC]},
        "baseline": {"source": None},
        "proposer": {"llm": {"literature": {"file": None}}},
        "strategy": {"acquisition": {"pareto": 0.25, "performance": 0.25, "diversity": 0.25, "bayes": 0.25}},
        "evaluation": {
            **_SUITE,
            "confirmation": {"confidence": 0.9},
            "verl": {"tokensPerGpu": 64, "platform": "cuda"},
            "template": {"nccl": {"overall": None, "NCCL_DEBUG": "INFO"}},
        },
    },
    "Candidate": {"source": None},
    "Evaluation": {**_SUITE, "verl": {"tokensPerGpu": 64}},
}


@dataclass(frozen=True)
class Malformed:
    """One manifest that nobody should take, and how the answer has to name what is wrong."""

    kind: str
    what: str
    document: Document
    named: str
    """The field's whole path, such as ``spec.budget.candidates``; an unknown one may be quoted."""

    @property
    def id(self) -> str:
        """For people."""
        return f"{self.kind} {self.named}: {self.what}"


def whole(kind: str, crd: Document) -> Document:
    """A manifest with every field of the spec, each with a value that is allowed."""
    spec = filled(schema(crd)["properties"]["spec"])
    return {**minimal(kind), "spec": merged(spec, _FITTING[kind])}


def malformed(kind: str, crd: Document) -> Iterator[Malformed]:
    """Every way in which this module knows to break a manifest of a kind."""
    document = whole(kind, crd)
    spec = schema(crd)["properties"]["spec"]
    yield Malformed(kind, "missing", {key: value for key, value in document.items() if key != "spec"}, "spec")
    for at, what, named, value in _broken(spec, document["spec"], ("spec",)):
        yield Malformed(kind, what, _with(document, at, value), named)
    for what, change, named in _METADATA:
        yield Malformed(kind, what, merged(minimal(kind), change), named)
    if kind == "Search":
        yield Malformed(kind, "too long", merged(minimal(kind), {"metadata": {"name": "n" * 31}}), "metadata.name")
    for case in CASES:
        if case.kind == kind and not case.update:
            for change in case.refuses:
                named = case.path.removeprefix(".").replace("[]", "[0]")
                yield Malformed(kind, f"contradiction, {case.says}", merged(minimal(kind), change), named)


_METADATA: Final = (
    ("capitals in the name", {"metadata": {"name": "One"}}, "metadata.name"),
    ("no DNS name", {"metadata": {"name": "one_two"}}, "metadata.name"),
    ("empty name", {"metadata": {"name": ""}}, "metadata.name"),
    ("no name", {"metadata": {"name": None}}, "metadata.name"),
    ("name too long for any object", {"metadata": {"name": "n" * 254}}, "metadata.name"),
    ("number for a name", {"metadata": {"name": 5}}, "ObjectMeta.name"),
    ("number for a label", {"metadata": {"labels": {"team": 5}}}, "ObjectMeta.labels"),
    ("list of labels", {"metadata": {"labels": ["team"]}}, "ObjectMeta.labels"),
    ("label with a space", {"metadata": {"labels": {"my team": "x"}}}, "metadata.labels"),
    ("label too long", {"metadata": {"labels": {"team": "x" * 64}}}, "metadata.labels"),
    ("number for an annotation", {"metadata": {"annotations": {"team": 5}}}, "ObjectMeta.annotations"),
    ("annotation with a space", {"metadata": {"annotations": {"my team": "x"}}}, "metadata.annotations"),
    ("an owner without a name", {"metadata": {"ownerReferences": [{"kind": "Search"}]}}, "metadata.ownerReferences.name"),
    ("unknown metadata", {"metadata": {UNKNOWN: 1}}, f"metadata.{UNKNOWN}"),
    ("unknown field", {UNKNOWN: 1}, UNKNOWN),
    ("unknown field of the status", {"status": {UNKNOWN: 1}}, f"status.{UNKNOWN}"),
    ("another kind", {"kind": "Serch"}, "kind"),
    ("another group's version", {"apiVersion": "poise.dev/v2"}, "v2"),
)  # fmt: skip


def _broken(node: Document, value: Any, at: tuple[str | int, ...]) -> Iterator[tuple[Any, str, str, Any]]:
    """Places, what is done there, what the answer must name, and the value to put there; of a node and those in it."""
    here = _dotted(at)
    yield from ((at, what, here, wrong) for what, wrong in _wrong(node, value))
    for name, inner in node.get("properties", {}).items():
        if name in node.get("required", ()):
            kept = {key: item for key, item in value.items() if key != name}
            yield at, "missing", f"{here}.{name}", kept
            yield (*at, name), "null", f"{here}.{name}", None
        if name in value:
            yield from _broken(inner, value[name], (*at, name))
    if "properties" in node:
        yield at, "unknown field", f"{here}.{UNKNOWN}", {**value, UNKNOWN: 1}
    if "items" in node:
        yield (*at, 0), "null", f"{here}[0]", None
        yield from _broken(node["items"], value[0], (*at, 0))
    if "additionalProperties" in node:
        ((key, item),) = value.items()
        yield from _broken(node["additionalProperties"], item, (*at, key))


def _wrong(node: Document, value: Any) -> Iterator[tuple[str, Any]]:
    """Values that the node itself refuses."""
    match node["type"]:
        case "object":
            yield from (("text for an object", "text"), ("list for an object", []))
            if "maxProperties" in node and "additionalProperties" in node:
                (item,) = value.values()
                yield "too many entries", {f"key{number}": item for number in range(node["maxProperties"] + 1)}
        case "array":
            yield from (("text for a list", "text"), ("object for a list", {}))
            yield "too many items", value * (node["maxItems"] + 1)
        case "string":
            yield from (("number for text", 5), ("list for text", []))
            if "enum" in node:
                yield from (("not in the enumeration", "Other"), ("wrong case", value.swapcase()))
            if "pattern" in node:
                yield "does not match", "¿what?"
            if "minLength" in node:
                yield "too short", value[: node["minLength"] - 1]
            if "maxLength" in node:
                yield "too long", "1" * (node["maxLength"] + 1)
        case "boolean":
            yield from (("text for true", "true"), ("number for true", 1))
        case "integer" | "number":
            yield from (("text for a number", str(value)), ("true for a number", True))
            if node["type"] == "integer":
                yield "fraction", value + 0.5
                if "maximum" not in node:
                    yield "more than 64 bits", 2**64
            if "minimum" in node:
                yield "too small", node["minimum"] - (0 if node.get("exclusiveMinimum") else 1)
            if "maximum" in node:
                yield "too large", node["maximum"] + (0 if node.get("exclusiveMaximum") else 1)


def _dotted(at: tuple[str | int, ...]) -> str:
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in at)
    return text.removeprefix(".")


def _with(document: Document, at: tuple[str | int, ...], value: Any) -> Document:
    changed: Any = copy.deepcopy(document)
    place = changed
    for step in at[:-1]:
        place = place[step]
    place[at[-1]] = value
    result: Document = changed
    return result
