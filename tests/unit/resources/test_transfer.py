"""Carrying a search: what is stripped, in which order it comes, what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from poise_lib.errors import InvalidInputError
from poise_lib.resources import Candidate, Evaluation, Search
from poise_lib.resources.loading import Resource
from poise_lib.resources.transfer import bundle

SERVER_SET: dict[str, Any] = {
    "uid": "1",
    "resourceVersion": "2",
    "generation": 3,
    "creationTimestamp": "2026-11-23T09:00:00Z",
    "finalizers": ["poise.dev/x"],
    "ownerReferences": [{"uid": "9"}],
    "managedFields": [{}],
    "labels": {"team": "a"},
    "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "poise.dev/depth": "1"},
}


def search(name: str = "s") -> Search:
    return Search.model_validate({"metadata": {"name": name, **SERVER_SET}, "spec": {"budget": {"candidates": 4}}})


def candidate(name: str, parents: list[str], round_: int = 1, of: str = "s") -> Candidate:
    proposal = {"title": name, "hypothesis": "h"}
    spec = {"search": of, "parents": parents, "round": round_, "proposal": proposal}
    return Candidate.model_validate({"metadata": {"name": name, **SERVER_SET}, "spec": spec})


def run(of: str) -> Evaluation:
    return Evaluation.model_validate({"metadata": {"name": f"{of}-full-0"}, "spec": {"search": "s", "candidate": of}})


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
