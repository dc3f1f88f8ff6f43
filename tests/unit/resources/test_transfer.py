"""Carrying a search: what is stripped, in which order it comes, what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from poise_lib.errors import InvalidInputError
from poise_lib.resources import Candidate, Evaluation, Search
from poise_lib.resources.loading import Resource
from poise_lib.resources.transfer import (
    bundle,
    by_key,
    complaints,
    in_namespace,
    portable,
    strangers,
    without_artifacts,
    without_place,
)

SERVER_SET: dict[str, Any] = {
    "uid": "1",
    "resourceVersion": "2",
    "generation": 3,
    "creationTimestamp": "2026-11-23T09:00:00Z",
    "finalizers": ["poise.dev/x"],
    "ownerReferences": [{"uid": "9"}],
    "managedFields": [{}],
    "namespace": "there",
    "labels": {"team": "a", "kustomize.toolkit.fluxcd.io/name": "apps"},
    "annotations": {
        "kubectl.kubernetes.io/last-applied-configuration": "{}",
        "argocd.argoproj.io/tracking-id": "app:poise.dev/Search:x/s",
        "meta.helm.sh/release-name": "x",
        "poise.dev/import": "unfinished",
        "poise.dev/depth": "1",
    },
}


def search(name: str = "s") -> Search:
    return Search.model_validate({"metadata": {"name": name, **SERVER_SET}, "spec": {"budget": {"candidates": 4}}})


def candidate(name: str, parents: list[str], round_: int = 1, of: str = "s") -> Candidate:
    proposal = {"title": name, "hypothesis": "h"}
    spec = {"search": of, "parents": parents, "round": round_, "proposal": proposal}
    return Candidate.model_validate({"metadata": {"name": name, **SERVER_SET}, "spec": spec})


def run(of: str, **status: Any) -> Evaluation:
    spec = {"search": "s", "candidate": of}
    return Evaluation.model_validate({"metadata": {"name": f"{of}-full-0"}, "spec": spec, "status": status})


def with_status(item: Any, **status: Any) -> Any:
    return type(item).model_validate({**item.to_document(), "status": status})


def test_parents_come_before_children_whatever_their_rounds_say() -> None:
    given: list[Resource] = [
        run("a"),
        candidate("a", ["b"], 0),
        candidate("b", ["c"], 1),
        candidate("c", [], 2),
        search(),
    ]
    found = bundle(given)
    assert [item.metadata.name for item in found.resources()] == ["s", "c", "b", "a", "a-full-0"]


def test_what_belongs_to_a_place_is_stripped() -> None:
    metadata = bundle([search(), candidate("a", [])]).candidates[0].metadata.to_document()
    assert metadata == {
        "name": "a",
        "namespace": "default",
        "labels": {"team": "a"},
        "annotations": {"poise.dev/depth": "1"},
        "ownerReferences": [],
        "finalizers": [],
    }


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ([candidate("a", [])], "0 Searches"),
        ([search(), search("t")], "2 Searches"),
        ([search(), candidate("a", [], of="t")], "Candidate a: spec.search is 't'"),
        ([search(), candidate("a", ["z"])], "Candidate a: spec.parents names 'z'"),
        ([search(), candidate("a", ["b"]), candidate("b", ["a"])], "its own ancestor"),
        ([search(), candidate("a", []), candidate("a", [])], "Candidate a is there twice"),
        ([search(), run("a")], "Evaluation a-full-0: spec.candidate 'a' is not among"),
    ],
)
def test_what_cannot_be_carried(resources: list[Resource], expected: str) -> None:
    with pytest.raises(InvalidInputError, match=expected):
        bundle(resources)


def test_a_status_speaks_of_no_generation_of_another_place() -> None:
    condition = {"type": "Ready", "status": "True", "reason": "Running", "observedGeneration": 3}
    moved = without_place(with_status(search(), observedGeneration=3, conditions=[condition], round=2))
    assert moved.status.observed_generation is None
    assert moved.status.conditions[0].observed_generation is None
    assert (moved.status.round, moved.status.conditions[0].reason) == (2, "Running")
    assert without_place(moved) == moved


def test_a_manifest_can_be_applied_anywhere() -> None:
    found = bundle([search(), candidate("a", [])])
    assert portable(found.candidates[0])["metadata"] == {
        "name": "a",
        "labels": {"team": "a"},
        "annotations": {"poise.dev/depth": "1"},
    }


def test_in_a_namespace_members_can_be_found_by_label() -> None:
    found = in_namespace(bundle([search(), candidate("a", []), run("a")]), "here")
    assert {item.metadata.namespace for item in found.resources()} == {"here"}
    assert [item.metadata.labels.get("poise.dev/search") for item in found.resources()] == [None, "s", "s"]


WEIGHTS = "sha256:" + "1" * 64


@pytest.mark.parametrize(
    ("phase", "there", "expected"),
    [
        ("Scoring", False, "Pending"),
        ("Scoring", True, "Scoring"),
        ("Complete", False, "Complete"),
        ("Failed", False, "Failed"),
    ],
)
def test_only_what_still_needs_missing_weights_is_trained_again(phase: str, there: bool, expected: str) -> None:
    found = bundle([search(), candidate("a", []), run("a", phase=phase, policy=WEIGHTS, summary={"x": 1.0})])
    (moved,) = without_artifacts(found, lambda digest: there and digest == WEIGHTS).evaluations
    assert moved.status.phase.value == expected
    assert (moved.status.policy is None) == (expected == "Pending")


def test_what_is_there_may_not_differ() -> None:
    found = bundle([search(), candidate("a", []), candidate("b", ["a"]), run("a")])
    same = by_key([search(), candidate("a", [])])
    assert complaints(found, same, "f.yaml") == []
    suspended = search().model_copy(update={"spec": search().spec.model_copy(update={"suspend": True})})
    assert complaints(found, by_key([suspended]), "f.yaml") == [], "suspension is no part of what a search is"
    leaving = candidate("b", ["a"])
    leaving = leaving.model_copy(
        update={"metadata": leaving.metadata.model_copy(update={"deletion_timestamp": "2026-11-23T09:00:00Z"})}
    )
    assert complaints(found, by_key([candidate("a", [], round_=2), leaving]), "f.yaml") == [
        "Candidate a is there already with another spec.round than in f.yaml",
        "Candidate b is being deleted there; wait for it, then import again",
    ]


def test_an_archive_without_its_search_must_be_the_files() -> None:
    archived = with_status(candidate("a", []), phase="Archived", observedGeneration=1)
    found = bundle([search(), archived, candidate("b", ["a"])])
    assert strangers(found, by_key([candidate("a", [])]), "f.yaml") == [], "created, its status not written yet"
    assert strangers(found, by_key([archived, candidate("b", ["a"])]), "f.yaml") == []
    other = with_status(candidate("b", ["a"]), phase="Verifying")
    assert strangers(found, by_key([other, candidate("c", [])]), "f.yaml") == [
        "Candidate b is there already with another status (Verifying) than in f.yaml (Pending)",
        "Candidate c is there already, but not in f.yaml",
    ]
