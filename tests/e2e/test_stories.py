"""Faults that touch one search alone, so that all of them happen at the same time, each in a namespace of its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

import pytest

from controller.pods import USER
from tests.e2e.world import POISE, Cluster, small
from tests.kube.client import Document, namespaced
from tests.kube.controller import eventually

PATIENCE: Final = 600.0
"""Seconds; they share a node of perhaps two cores."""
pytestmark = [pytest.mark.faults, pytest.mark.xdist_group("e2e")]


def a_result_in_the_store_is_not_worked_for_again(cluster: Cluster, team: str, digest: str) -> None:
    """A volume that holds the results already: the whole search is looked up, no candidate runs."""
    first = cluster.namespace(f"{team}-first")
    cluster.apply(first, small())
    assert cluster.complete(first) == digest
    volumes = cluster.folder / "volumes"
    shutil.copytree(volumes / first, volumes / team, dirs_exist_ok=True, copy_function=shutil.copy2)
    for path in [volumes / team, *(volumes / team).rglob("*")]:
        shutil.chown(path, USER, USER)
    cluster.apply(team, small())
    assert cluster.complete(team) == digest
    split = [pod for pod in cluster.pods(team) if "initContainers" in pod["spec"]]
    assert split
    for pod in split:
        assert cluster.node.logs(team, pod["metadata"]["name"], "candidate") == ""


def a_deleted_candidate_does_not_wedge_the_search(cluster: Cluster, team: str, digest: str) -> None:
    cluster.apply(team, small())

    def child() -> Document | None:
        found = (item for item in cluster.items(team, "candidates") if item["spec"].get("parents"))
        return next(found, None)

    found = eventually(child, "a child", PATIENCE)
    cluster.delete_now(team, "candidates", found["metadata"]["name"], POISE)
    assert cluster.complete(team) == digest


def an_evicted_pod_counts_for_nothing(cluster: Cluster, team: str, digest: str) -> None:
    manifest = small()
    manifest["spec"]["budget"]["attempts"] = 1
    cluster.apply(team, manifest)
    pod = eventually(lambda: cluster.working(team, "train"), "a training", PATIENCE)
    name = pod["metadata"]["name"]
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": team}}
    cluster.plane.client.create(namespaced("v1", team, "pods", name, "eviction"), eviction)
    assert cluster.complete(team) == digest
    told = [job["metadata"]["annotations"] for job in cluster.jobs(team, "train")]
    assert sorted(note["poise.dev/outcome"] for note in told) == ["Disrupted", "Result", "Result"]
    assert "EvictionByEvictionAPI" in next(note.get("poise.dev/problem", "") for note in told if "Dis" in str(note))


def a_container_out_of_memory_is_told_and_no_fault_of_the_candidate(cluster: Cluster, team: str, digest: str) -> None:
    manifest = small()
    manifest["spec"]["budget"]["attempts"] = 2
    resources = {"requests": {"memory": "64Mi"}, "limits": {"memory": "160Mi"}}
    manifest["spec"]["evaluation"]["template"] = {"resources": resources}
    cluster.apply(team, manifest)
    status = cluster.finished(team)["status"]
    assert status["phase"] == "Failed"
    outcomes = [job["metadata"]["annotations"]["poise.dev/outcome"] for job in cluster.jobs(team, "verify")]
    assert outcomes == ["Lost", "Lost"]
    (baseline,) = cluster.items(team, "candidates")
    assert baseline["status"]["reason"] == "TaskFailed"
    assert "memory" in baseline["status"]["message"] or "OOMKilled" in baseline["status"]["message"]


def a_quota_that_bites_is_told_and_waited_for(cluster: Cluster, team: str, digest: str) -> None:
    client = cluster.plane.client
    quota = {"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
    client.create(namespaced("v1", team, "resourcequotas"), quota)
    eventually(lambda: client.get(namespaced("v1", team, "resourcequotas", "none"))["status"].get("hard"), "the quota")
    cluster.apply(team, small())
    blocked = eventually(
        lambda: (found := cluster.condition(team, "Stalled")).get("status") == "True" and found, "a condition", PATIENCE
    )
    assert "exceeded quota: none" in str(blocked)
    jobs = cluster.jobs(team)
    assert len(jobs) == 1
    client.delete(namespaced("v1", team, "resourcequotas", "none"))
    assert cluster.complete(team) == digest
    assert all(job["metadata"]["labels"]["poise.dev/attempt"] == "1" for job in cluster.jobs(team))


def suspended_in_the_middle_and_resumed(cluster: Cluster, team: str, digest: str) -> None:
    path = namespaced(POISE, team, "searches", "tiny")
    cluster.apply(team, small())
    eventually(lambda: cluster.working(team, "train"), "a training", PATIENCE)
    cluster.plane.client.patch(path, {"spec": {"suspend": True}})
    eventually(lambda: cluster.condition(team, "Suspended").get("status") == "True", "the condition", PATIENCE)
    eventually(lambda: not cluster.pods(team, "", "Pending", "Running"), "that what ran has ended", PATIENCE)
    seen = len(cluster.jobs(team))
    assert cluster.search(team)["status"]["phase"] != "Complete"
    cluster.plane.client.patch(path, {"spec": {"suspend": False}})
    assert cluster.complete(team) == digest
    assert len(cluster.jobs(team)) > seen


def a_namespace_deleted_in_the_middle_goes_and_the_rest_goes_on(cluster: Cluster, team: str, digest: str) -> None:
    doomed = cluster.namespace(f"{team}-doomed")
    cluster.apply(doomed, small())
    cluster.apply(team, small())
    eventually(lambda: cluster.working(doomed, "train"), "a training", PATIENCE)
    cluster.plane.client.delete(f"/api/v1/namespaces/{doomed}")
    assert cluster.complete(team) == digest
    eventually(
        lambda: doomed not in cluster.plane.kubectl("get", "namespaces", "-o", "name"),
        "the end of the namespace",
        120.0,
    )


Story = Callable[[Cluster, str, str], None]
STORIES: Final[tuple[Story, ...]] = (
    a_result_in_the_store_is_not_worked_for_again,
    a_deleted_candidate_does_not_wedge_the_search,
    an_evicted_pod_counts_for_nothing,
    a_container_out_of_memory_is_told_and_no_fault_of_the_candidate,
    a_quota_that_bites_is_told_and_waited_for,
    suspended_in_the_middle_and_resumed,
    a_namespace_deleted_in_the_middle_goes_and_the_rest_goes_on,
)


@pytest.fixture(scope="module")
def stories(cluster: Cluster, small_digest: str) -> Iterator[dict[str, Future[None]]]:
    """All of them, under way."""
    with ThreadPoolExecutor(len(STORIES)) as pool:
        yield {
            story.__name__: pool.submit(story, cluster, cluster.namespace(f"story-{number}"), small_digest)
            for number, story in enumerate(STORIES)
        }


@pytest.mark.parametrize("story", [story.__name__ for story in STORIES])
def test(story: str, stories: dict[str, Future[None]]) -> None:
    stories[story].result()
