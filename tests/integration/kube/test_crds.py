"""The CRDs as a real API server has them: established, strict on writes, stable in their defaults, with a status."""

from __future__ import annotations

from typing import Any

import pytest

from poise_lib.names import ANNOTATION_DEPTH
from tests.integration.kube.documents import MODELS, filled, merged, minimal, path, schema
from tests.kube.client import ApiError, Client, Document
from tests.kube.crds import CRD_PATH

KINDS = pytest.mark.parametrize("kind", sorted(MODELS))


def with_status(admin: Client, crds: dict[str, Document], kind: str, namespace: str, name: str = "one") -> Document:
    """An object with every field of its status filled."""
    document = merged(minimal(kind, name), {"metadata": {"annotations": {ANNOTATION_DEPTH: "1"}}})
    if kind == "Candidate":
        document["spec"]["parents"] = ["one-000-0"]
    created = admin.create(path(kind, namespace), document)
    created["status"] = filled(schema(crds[kind])["properties"]["status"])
    return admin.replace(path(kind, namespace, name, "status"), created)


@KINDS
def test_established(admin: Client, crds: dict[str, Document], kind: str) -> None:
    status = admin.get(f"{CRD_PATH}/{crds[kind]['metadata']['name']}")["status"]
    conditions = {condition["type"]: condition["status"] for condition in status["conditions"]}
    assert conditions == {"NamesAccepted": "True", "Established": "True"}  # and no NonStructuralSchema
    assert status["storedVersions"] == ["v1alpha1"]


def test_no_kind_is_left_out(crds: dict[str, Document]) -> None:
    assert set(crds) == set(MODELS)


@KINDS
def test_defaults_are_those_of_the_models(admin: Client, namespace: str, kind: str) -> None:
    created = admin.create(path(kind, namespace), minimal(kind))
    model: Any = MODELS[kind].model_validate(minimal(kind))
    assert created["spec"] == model.spec.to_document()
    assert "status" not in created


@KINDS
@pytest.mark.parametrize("place", ["", ".spec", ".status"])
def test_strict_validation_refuses_unknown_fields(admin: Client, namespace: str, kind: str, place: str) -> None:
    document = merged(minimal(kind), {"spec": {"budgte": 1}} if place == ".spec" else {})
    if place == ".status":
        document["status"] = {"budgte": 1}
    elif not place:
        document["budgte"] = 1
    with pytest.raises(ApiError) as refusal:
        admin.create(path(kind, namespace), document, fieldValidation="Strict")
    assert refusal.value.status == 400
    assert f'unknown field "{place.removeprefix(".")}{"." if place else ""}budgte"' in refusal.value.message


@KINDS
def test_unknown_fields_are_pruned_otherwise(admin: Client, namespace: str, kind: str) -> None:
    document = merged(minimal(kind), {"spec": {"budgte": 1}, "budgte": 1})
    created = admin.create(path(kind, namespace), document, fieldValidation="Ignore")
    assert "budgte" not in created
    assert "budgte" not in created["spec"]


@pytest.mark.parametrize(
    ("kind", "change", "field", "words"),
    [
        ("Search", {"metadata": {"name": "n" * 31}}, "metadata.name", "may not be more than 30"),
        ("Search", {"spec": {"budget": {"candidates": None}}}, "spec.budget.candidates", "Required value"),
        ("Search", {"spec": {"budget": {"candidates": 0}}}, "spec.budget.candidates", "greater than or equal to 1"),
        ("Search", {"spec": {"budget": {"candidates": 2.5}}}, "spec.budget.candidates", "must be of type integer"),
        ("Search", {"spec": {"budget": {"deadline": "1 hour"}}}, "spec.budget.deadline", "should match"),
        ("Search", {"spec": {"evaluation": {"engine": "other"}}}, "spec.evaluation.engine", "Unsupported value"),
        (
            "Search",
            {"spec": {"objective": {"metrics": [{"name": "plus3", "weight": 0.5}] * 2}}},
            "spec.objective.metrics[1]",
            "Duplicate value",
        ),
        ("Candidate", {"spec": {"source": "#" * 24_001}}, "spec.source", "may not be more than 24000"),
        ("Candidate", {"spec": {"search": "One"}}, "spec.search", "should match"),
        ("Evaluation", {"spec": {"fidelity": "Full"}}, "spec.fidelity", "Unsupported value"),
    ],
    ids=lambda value: value if isinstance(value, str) and " " not in value else "",
)
def test_bounds(admin: Client, namespace: str, kind: str, change: Document, field: str, words: str) -> None:
    with pytest.raises(ApiError) as refusal:
        admin.create(path(kind, namespace), merged(minimal(kind), change))
    assert refusal.value.status == 422
    assert [words in said for where, said in refusal.value.causes if where == field] == [True], refusal.value


@KINDS
def test_status_round_trip(admin: Client, crds: dict[str, Document], namespace: str, kind: str) -> None:
    sent = filled(schema(crds[kind])["properties"]["status"])
    with_status(admin, crds, kind, namespace)
    stored = admin.get(path(kind, namespace, "one"))
    assert stored["status"] == sent  # nothing was pruned
    model: Any = MODELS[kind].model_validate(stored)
    assert model.status.to_document() == sent
    assert model.metadata.generation == 1
    written = admin.replace(path(kind, namespace, "one", "status"), model.to_document())
    assert {key: written[key] for key in ("spec", "status")} == {key: stored[key] for key in ("spec", "status")}
    assert written["metadata"]["resourceVersion"] == stored["metadata"]["resourceVersion"]  # nothing had changed


@KINDS
def test_spec_and_status_are_written_apart(admin: Client, crds: dict[str, Document], namespace: str, kind: str) -> None:
    document = minimal(kind)
    document["status"] = filled(schema(crds[kind])["properties"]["status"])
    created = admin.create(path(kind, namespace), document)
    assert "status" not in created
    change = {"spec": {"search": "other"} if kind != "Search" else {"suspend": True}, "status": {"message": "hello"}}
    answer = admin.patch(path(kind, namespace, "one", "status"), change)
    assert answer["spec"] == created["spec"]
    assert answer["status"] == {"message": "hello"}
    assert answer["metadata"]["generation"] == 1


def test_a_change_of_the_spec_raises_the_generation(admin: Client, namespace: str) -> None:
    admin.create(path("Search", namespace), minimal("Search"))
    changed = admin.patch(path("Search", namespace, "one"), {"spec": {"suspend": True}})
    assert changed["metadata"]["generation"] == 2


def test_a_stale_status_is_refused(admin: Client, namespace: str) -> None:
    created = admin.create(path("Search", namespace), minimal("Search"))
    admin.patch(path("Search", namespace, "one"), {"spec": {"suspend": True}})
    with pytest.raises(ApiError) as refusal:
        admin.replace(path("Search", namespace, "one", "status"), created | {"status": {"message": "late"}})
    assert (refusal.value.status, refusal.value.reason) == (409, "Conflict")


@KINDS
def test_selectable_fields(admin: Client, crds: dict[str, Document], namespace: str, kind: str) -> None:
    found = with_status(admin, crds, kind, namespace)
    other = minimal(kind, "two")
    if kind != "Search":
        other["spec"]["search"] = "other"
    if kind == "Evaluation":
        other["spec"]["candidate"] = "other"
    admin.create(path(kind, namespace), other)
    for selectable in crds[kind]["spec"]["versions"][0].get("selectableFields", ()):
        field = selectable["jsonPath"].removeprefix(".")
        value: Any = found
        for step in field.split("."):
            value = value[step]
        listed = admin.get(path(kind, namespace), fieldSelector=f"{field}={value}")["items"]
        assert [item["metadata"]["name"] for item in listed] == ["one"], field
