"""Pods that never start, each told with its reason: of a Secret that is not there also with the command that makes it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from controller import manifests, troubles
from controller.api import Document
from controller.jobs import JobView, view
from controller.settings import ArtifactSettings, ObjectStoreSettings, Settings
from poise_lib.resources import Search
from poise_lib.tasks.protocol import TaskKind, TaskRequest
from tests.unit.controller.double import KEY, FakeApi, Server

LLM = {"model": "m", "secretRef": {"name": "openai", "key": "api-key"}, "literature": {"configMap": "papers"}}
STORE = ObjectStoreSettings("s3://bucket", secret="store")
SETTINGS = Settings(worker_image="w", artifacts=ArtifactSettings(store=STORE))
LATER = 2e9
"""Seconds since the epoch, long after the double's Jobs were created."""


class Bench:
    """Jobs of one search on a double of the API server."""

    def __init__(self) -> None:
        self.server = Server()
        self.jobs: list[JobView] = []
        spec = {"budget": {"candidates": 2}, "proposer": {"type": "LLM", "llm": LLM}}
        self.search = Search.model_validate(
            {"metadata": {"name": KEY[1], "namespace": KEY[0], "uid": "u"}, "spec": spec}
        )

    def add(self, name: str, status: Document, kind: TaskKind = TaskKind.PROPOSE) -> None:
        """A Job, and its pod with this status."""
        request = TaskRequest(kind=kind, name=name, input={"llm": LLM} if kind is TaskKind.PROPOSE else {})
        job = self.server.create("jobs", KEY[0], manifests.job(request, 1, self.search, SETTINGS))
        job["status"] = {"active": 1}
        labels = {"batch.kubernetes.io/controller-uid": job["metadata"]["uid"]}
        metadata = {"name": f"{job['metadata']['name']}-x", "labels": labels}
        spec = job["spec"]["template"]["spec"]
        self.server.create("pods", KEY[0], {"kind": "Pod", "metadata": metadata, "spec": spec, "status": status})
        seen = view(job)
        assert seen is not None
        self.jobs.append(seen)

    def told(self) -> str:
        """What is told of them."""
        return asyncio.run(troubles.find(FakeApi(self.server), troubles.overdue(self.jobs, LATER)))


def found(status: Document, events: tuple[str, ...] = (), kind: TaskKind = TaskKind.PROPOSE) -> str:
    """What is told of one Job whose pod has this status, and of which there are these Events."""
    bench = Bench()
    bench.add("s-task", status, kind)
    for number, message in enumerate(events):
        event = {"kind": "Event", "metadata": {"name": f"e-{number}"}, "message": message}
        bench.server.create("events", KEY[0], event)
    return bench.told()


def waiting(reason: str, message: str = "", container: str = "task") -> Document:
    state = {"waiting": {"reason": reason, "message": message}}
    return {"phase": "Pending", "containerStatuses": [{"name": container, "state": state}]}


@pytest.mark.parametrize(
    ("told", "keys"),
    [
        ('secret "openai" not found', "api-key"),
        ("couldn't find key api-key in Secret default/openai", "api-key"),
    ],
)
def test_a_secret_of_the_model_that_is_not_there_is_told_with_its_key_and_the_fix(told: str, keys: str) -> None:
    said = found(waiting("CreateContainerConfigError", told))
    assert said == (
        f"s-task-1-x: CreateContainerConfigError: {told}; the task needs the Secret openai with {keys} in it: "
        "kubectl -n default create secret generic openai --from-literal=api-key=VALUE; the pod goes on by itself"
    )


def test_so_is_that_of_an_object_store() -> None:
    said = found(waiting("CreateContainerConfigError", 'secret "store" not found'), kind=TaskKind.TRAIN)
    assert "the Secret store with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in it" in said
    assert "--from-literal=AWS_ACCESS_KEY_ID=VALUE --from-literal=AWS_SECRET_ACCESS_KEY=VALUE;" in said
    one = found(
        waiting("CreateContainerConfigError", "couldn't find key AWS_SECRET_ACCESS_KEY in Secret default/store"),
        kind=TaskKind.TRAIN,
    )
    assert "the Secret store with AWS_SECRET_ACCESS_KEY in it" in one


@pytest.mark.parametrize("told", ["", 'configmap "other" not found', 'secret "openai-2" not found'])
def test_of_anything_else_the_kubelets_words_are_all(told: str) -> None:
    assert found(waiting("CreateContainerConfigError", told)) == f"s-task-1-x: CreateContainerConfigError: {told}"


def test_literature_that_is_not_there_is_told_in_the_kubelets_words() -> None:
    told = 'MountVolume.SetUp failed for volume "literature" : configmap "papers" not found'
    assert found(waiting("ContainerCreating"), (told,)) == f"s-task-1-x: FailedMount: {told}"
    assert found(waiting("ContainerCreating")) == ""


@pytest.mark.parametrize("status", [{"phase": "Running"}, {}, {"phase": "Pending"}])
def test_of_a_pod_that_works_or_may_yet_nothing_is_told(status: dict[str, Any]) -> None:
    assert found(status, ("an old account",)) == ""


def test_what_stands_still_does_not_hide_behind_what_works_for_long() -> None:
    bench = Bench()
    for number in range(8):
        bench.add(f"s-{number}-train", {"phase": "Running"}, TaskKind.TRAIN)
    bench.add("s-propose", waiting("CreateContainerConfigError", 'secret "openai" not found'))
    assert bench.told().startswith("s-propose-1-x: CreateContainerConfigError: secret")
