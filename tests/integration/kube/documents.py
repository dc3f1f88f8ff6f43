"""Manifests for the API server: the smallest of each kind, variations of them, specs and statuses with all fields."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, Final

from pydantic import BaseModel

from poise_lib.names import API_VERSION
from poise_lib.resources import Candidate, Evaluation, Search
from tests.kube.client import Document, namespaced

MODELS: Final[dict[str, type[BaseModel]]] = {"Candidate": Candidate, "Evaluation": Evaluation, "Search": Search}
PLURALS: Final = {"Candidate": "candidates", "Evaluation": "evaluations", "Search": "searches"}

_SPECS: Final[dict[str, Document]] = {
    "Search": {"budget": {"candidates": 8}},
    "Candidate": {"search": "one", "proposal": {"title": "Wider clip", "hypothesis": "It explores longer."}},
    "Evaluation": {"search": "one", "candidate": "one-001-0"},
}
_BY_PATTERN: Final = {
    r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$": "one-001-0",
    r"^[A-Za-z0-9][A-Za-z0-9_./@-]*$": "overall",
    r"^sha256:[0-9a-f]{64}$": "sha256:" + "0123456789abcdef" * 4,
    r"^([0-9]+h)?([0-9]+m)?([0-9]+s)?$": "1h30m",
    r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$": "500m",
    r"^([a-z0-9.-]+/)?[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$": "example.com/pool",
    r"^([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)?$": "gpu",
    r"^https?://[^\s@?#]+$": "https://llm.example.com/v1",
    r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$": "llm-key",
    r"^[-._a-zA-Z0-9]+$": "api-key",
    r"^[A-Za-z0-9/][A-Za-z0-9_.@=+/-]*$": "/models/base",
    r"^[A-Za-z0-9][A-Za-z0-9_./-]*$": "4a83ca6e4526a4f2da3aa259ec36c259f66b2ab2",
    r"^[A-Za-z_][A-Za-z0-9_.-]*$": "problem",
    r"^[A-Za-z_][A-Za-z0-9_]*$": "compute_score",
    r"^[A-Za-z0-9][A-Za-z0-9_.-]*$": "house-v1",
    r"^[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_.-]*$": "house/problems",
    r"^([A-Za-z0-9_][A-Za-z0-9_.@=+-]*/)*[A-Za-z0-9_][A-Za-z0-9_.@=+-]*[.](jsonl|json|csv|parquet)$": "house.jsonl",
    r"^(unknown|sha256:[0-9a-f]{64})$": "unknown",
    r"^/(data|models|mnt)(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$": "/data/models",
}


def minimal(kind: str, name: str = "one") -> Document:
    """The smallest manifest of a kind: what is required and nothing else."""
    return {
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": {"name": name},
        "spec": copy.deepcopy(_SPECS[kind]),
    }


def merged(document: Document, change: Document) -> Document:
    """A document with a change, as JSON merge patch has it (RFC 7386): None removes, lists are replaced."""
    result = dict(document)
    for key, value in change.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            result[key] = merged(result.get(key) or {}, value)
        else:
            result[key] = value
    return result


def path(kind: str, namespace: str, name: str = "", subresource: str = "") -> str:
    """Where a kind, or an object of it, lives."""
    return namespaced(API_VERSION, namespace, PLURALS[kind], name, subresource)


def schema(crd: Document) -> Document:
    """The schema of a CRD's only version."""
    (version,) = crd["spec"]["versions"]
    found: Document = version["schema"]["openAPIV3Schema"]
    return found


def nodes(node: Document, at: str = "") -> Iterator[tuple[str, Document]]:
    """Every schema inside a schema, with its path, such as ``.spec.objective.constraints[]``."""
    yield at, node
    for name, inner in node.get("properties", {}).items():
        if (at, name) != ("", "metadata"):
            yield from nodes(inner, f"{at}.{name}")
    for key in ("items", "additionalProperties"):
        if key in node:
            yield from nodes(node[key], f"{at}[]")


def filled(node: Document) -> Any:
    """A value that a schema admits, with every field and one item in every list."""
    match node["type"]:
        case "object" if "properties" in node:
            return {name: filled(inner) for name, inner in node["properties"].items()}
        case "object":
            return {"overall": filled(node["additionalProperties"])}
        case "array":
            return [filled(node["items"])]
        case "string" if "enum" in node:
            return node["enum"][-1]
        case "string" if node.get("format") == "date-time":
            return "2026-11-23T09:00:00Z"
        case "string":
            return _BY_PATTERN[node["pattern"]] if "pattern" in node else "some text"
        case "boolean":
            return True
        case "integer":
            return max(3, node.get("minimum", 3))
        case "number":
            return 0.5
    raise AssertionError(node["type"])
