"""The CRDs and the reference follow the models, and are what an API server accepts.

What a real API server says of them belongs to the integration tests; here are the rules that it checks on the schema
itself: structural, bounded (CEL's cost is estimated from the bounds), defaults that are valid.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from poise_lib.resources.crd import KINDS, Kind, crd, crd_yaml
from poise_lib.resources.reference import reference

ROOT = Path(__file__).parents[2]
HOW = "run: poise crds --output crds --docs docs/api.md"


def schema_of(kind: Kind) -> dict[str, Any]:
    found: dict[str, Any] = crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return found


def nodes(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema inside, with its path; metadata is Kubernetes' own."""
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        if (path, name) != ("", "metadata"):
            yield from nodes(inner, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if key in schema:
            yield from nodes(schema[key], f"{path}[]")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_files_do_not_drift(kind: Kind) -> None:
    file = ROOT / "crds" / kind.file
    assert file.read_text(encoding="utf-8") == crd_yaml(kind), HOW
    assert yaml.safe_load(crd_yaml(kind)) == crd(kind)
    assert not re.search(r": [&*]id\d+$", crd_yaml(kind), re.MULTILINE)


def test_reference_does_not_drift() -> None:
    assert (ROOT / "docs" / "api.md").read_text(encoding="utf-8") == reference(), HOW


def test_no_other_files() -> None:
    assert {file.name for file in (ROOT / "crds").iterdir()} == {kind.file for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_schemas_are_structural(kind: Kind) -> None:
    for path, schema in nodes(schema_of(kind)):
        assert schema.get("type") in ("object", "array", "string", "integer", "number", "boolean"), path
        assert not {"$ref", "anyOf", "oneOf", "const", "title", "nullable", "propertyNames"} & set(schema), path
        assert not {"properties", "additionalProperties"} <= set(schema), path
        assert isinstance(schema.get("exclusiveMinimum", False), bool), path


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_everything_is_bounded_and_described(kind: Kind) -> None:
    for path, schema in nodes(schema_of(kind)):
        if schema["type"] == "string":
            assert "maxLength" in schema or "enum" in schema or path in (".apiVersion", ".kind"), path
        if schema["type"] == "array":
            assert "maxItems" in schema, path
        if "additionalProperties" in schema:
            assert "maxProperties" in schema, path
        if path and not path.endswith("[]"):
            assert schema.get("description"), path


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_defaults_stand_in_specs_only_and_are_whole(kind: Kind) -> None:
    schema = schema_of(kind)
    assert not [path for path, inner in nodes(schema["properties"]["status"]) if "default" in inner]
    for path, inner in nodes(schema["properties"]["spec"]):
        default = inner.get("default")
        if isinstance(default, dict):
            # CEL judges a default before the defaults inside it are filled in.
            assert {name for name, field in inner.get("properties", {}).items() if "default" in field} <= set(
                default
            ), path


def test_rules_cover_what_the_models_check_across_fields() -> None:
    rules = {
        (kind.name, path): [rule["rule"] for rule in schema["x-kubernetes-validations"]]
        for kind in KINDS
        for path, schema in nodes(schema_of(kind))
        if "x-kubernetes-validations" in schema
    }
    maps = (
        *("resources.requests", "resources.limits", "scoringResources.requests", "scoringResources.limits"),
        *("nodeSelector", "annotations", "nccl"),
    )
    assert set(rules) == {
        *(("Search", f".spec.evaluation.template.{name}") for name in maps),  # how their keys are written
        ("Search", ".spec"),
        ("Search", ".spec.objective.metrics"),
        ("Search", ".spec.objective.constraints[]"),
        ("Search", ".status.objective.constraints[]"),
        ("Search", ".spec.baseline"),
        ("Search", ".spec.strategy.acquisition"),
        ("Search", ".spec.proposer"),
        ("Search", ".spec.proposer.llm.literature"),
        ("Search", ".spec.evaluation"),
        ("Search", ".spec.evaluation.earlyStopping.hopeless"),
        ("Search", ".spec.evaluation.suiteDefinition.benchmarks[]"),
        ("Search", ".spec.evaluation.suiteDefinition.benchmarks[].source"),
        ("Search", ".spec.evaluation.suiteDefinition.benchmarks[].confirm"),
        ("Search", ".spec.evaluation.verl"),
        ("Search", ".spec.evaluation.verl.overrides"),
        ("Candidate", ".spec"),
        ("Evaluation", ".spec"),
        ("Evaluation", ".spec.earlyStopping.hopeless"),
        ("Evaluation", ".spec.suiteDefinition.benchmarks[]"),
        ("Evaluation", ".spec.suiteDefinition.benchmarks[].source"),
        ("Evaluation", ".spec.suiteDefinition.benchmarks[].confirm"),
        ("Evaluation", ".spec.verl"),
        ("Evaluation", ".spec.verl.overrides"),
    }
    assert "self == oldSelf" in rules["Candidate", ".spec"]
    for field in ("baseline", "evaluation.engine", "evaluation.suite"):
        assert f"self.{field} == oldSelf.{field}" in rules["Search", ".spec"]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_columns_point_at_fields(kind: Kind) -> None:
    for column in kind.columns:
        schema = schema_of(kind)
        steps = column.path.removeprefix(".").split(".")
        if steps[0] == "metadata":
            continue
        for step in steps:
            name, indexed, _ = step.partition("[0]")
            schema = schema.get("properties", {}).get(name) or schema["additionalProperties"]
            schema = schema["items"] if indexed else schema
        expected = {"array": "string"}.get(schema["type"], schema["type"])
        assert column.type == expected, column.path


def test_names_do_not_collide() -> None:
    names = [crd(kind)["spec"]["names"] for kind in KINDS]
    words = [word for name in names for word in (name["plural"], name["singular"], *name["shortNames"])]
    assert len(words) == len(set(words))
    assert all(name["categories"] == ["poise"] for name in names)
