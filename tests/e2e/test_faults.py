"""The installed operator while pods, nodes, logs, quotas and the API server fail; the archive is the one it would have been."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable

import pytest

from controller.pods import USER
from tests.e2e.world import POISE, Cluster, small
from tests.kube import chart
from tests.kube.client import Document, namespaced
from tests.kube.controller import eventually

pytestmark = [pytest.mark.faults, pytest.mark.xdist_group("e2e")]

OUTAGE_SECONDS = 30.0


def kill_the_controller(cluster: Cluster, namespace: str) -> None:
    cluster.delete_now(chart.NAMESPACE, "pods", cluster.controller_pod())


def kill_a_pod(cluster: Cluster, namespace: str) -> None:
    for pod in cluster.pods(namespace, "", "Pending", "Running")[:1]:
        cluster.delete_now(namespace, "pods", pod["metadata"]["name"])


def delete_a_job(cluster: Cluster, namespace: str) -> None:
    newest = max(cluster.jobs(namespace), key=lambda job: str(job["metadata"]["creationTimestamp"]))
    cluster.delete_now(namespace, "jobs", newest["metadata"]["name"], "batch/v1")


def delete_finished_pods(cluster: Cluster, namespace: str) -> None:
    """Their logs go with them, perhaps before anybody has read them."""
    for pod in cluster.pods(namespace, "", "Succeeded"):
        cluster.delete_now(namespace, "pods", pod["metadata"]["name"])


FAULTS: list[Callable[[Cluster, str], None]] = [
    kill_the_controller, kill_a_pod, delete_a_job, delete_finished_pods, kill_the_controller, kill_a_pod,
]  # fmt: skip


def progress(cluster: Cluster, namespace: str) -> int:
    """Grows whenever anything happens to the search."""
    items = [*cluster.items(namespace, "candidates"), *cluster.jobs(namespace)]
    return sum(int(item["metadata"]["resourceVersion"]) for item in items)


def complete(cluster: Cluster, namespace: str) -> str:
    """Digest of the archive of a search that has ended well."""
    status = cluster.finished(namespace)["status"]
    assert status["phase"] == "Complete", status["message"]
    digest: str = status["digest"]
    return digest


def test_whatever_is_killed_the_archive_is_the_same(cluster: Cluster, team: str, tiny_digest: str) -> None:
    order = random.Random(11)
    cluster.apply(team)
    for fault in FAULTS:
        before = progress(cluster, team)
        for _ in range(order.randint(1, 3)):
            eventually(lambda: progress(cluster, team) != before, "a search that moves", 180.0)  # noqa: B023
            before = progress(cluster, team)
        fault(cluster, team)
    assert complete(cluster, team) == tiny_digest


def test_a_result_in_the_store_is_not_worked_for_again(cluster: Cluster, team: str, small_digest: str) -> None:
    """A volume that holds the results already: the whole search is looked up, no candidate runs."""
    first = cluster.namespace(f"{team}-first")
    cluster.apply(first, small())
    assert complete(cluster, first) == small_digest
    volumes = cluster.folder / "volumes"
    shutil.copytree(volumes / first, volumes / team, dirs_exist_ok=True, copy_function=shutil.copy2)
    for path in [volumes / team, *(volumes / team).rglob("*")]:
        shutil.chown(path, USER, USER)
    cluster.apply(team, small())
    assert complete(cluster, team) == small_digest
    split = [pod for pod in cluster.pods(team) if "initContainers" in pod["spec"]]
    assert split
    for pod in split:
        assert cluster.node.logs(team, pod["metadata"]["name"], "candidate") == ""


def test_a_deleted_candidate_does_not_wedge_the_search(cluster: Cluster, team: str, small_digest: str) -> None:
    cluster.apply(team, small())

    def child() -> Document | None:
        found = (item for item in cluster.items(team, "candidates") if item["spec"].get("parents"))
        return next(found, None)

    found = eventually(child, "a child", 300.0)
    cluster.delete_now(team, "candidates", found["metadata"]["name"], POISE)
    assert complete(cluster, team) == small_digest


def test_an_api_server_that_is_away_for_a_while(cluster: Cluster, team: str, small_digest: str) -> None:
    """Longer than a lease lasts, while a candidate trains: its training is not repeated."""
    cluster.apply(team, small())
    eventually(lambda: cluster.working(team, "train"), "a training", 180.0)
    cluster.plane.stop_server()
    time.sleep(OUTAGE_SECONDS)
    cluster.plane.start_server()
    assert complete(cluster, team) == small_digest
    attempts = [job["metadata"]["labels"]["poise.dev/attempt"] for job in cluster.jobs(team, "train")]
    assert attempts == ["1", "1"]
    cluster.check_that_nothing_is_left(team)


def test_an_evicted_pod_counts_for_nothing(cluster: Cluster, team: str, small_digest: str) -> None:
    manifest = small()
    manifest["spec"]["budget"]["attempts"] = 1
    cluster.apply(team, manifest)
    pod = eventually(lambda: cluster.working(team, "train"), "a training", 180.0)
    name = pod["metadata"]["name"]
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": team}}
    cluster.plane.client.create(namespaced("v1", team, "pods", name, "eviction"), eviction)
    assert complete(cluster, team) == small_digest
    told = [job["metadata"]["annotations"] for job in cluster.jobs(team, "train")]
    assert sorted(note["poise.dev/outcome"] for note in told) == ["Disrupted", "Result", "Result"]
    assert "EvictionByEvictionAPI" in next(note.get("poise.dev/problem", "") for note in told if "Dis" in str(note))


def test_a_node_that_dies_and_comes_back(cluster: Cluster, team: str, small_digest: str) -> None:
    """Its pod is stuck Terminating, as nobody is there to say that it has ended; the search waits for nothing but room."""
    cluster.apply(team, small())
    pod = eventually(lambda: cluster.working(team, "train"), "a training", 180.0)
    cluster.node.stop_kubelet()
    try:
        cluster.plane.client.delete(namespaced("v1", team, "pods", pod["metadata"]["name"]))

        def second() -> Document | None:
            waiting = cluster.pods(team, "train", "Pending")
            return next((item for item in waiting if item["metadata"]["name"] != pod["metadata"]["name"]), None)

        eventually(second, "another attempt", 120.0)
        stuck = cluster.plane.client.get(namespaced("v1", team, "pods", pod["metadata"]["name"]))
        assert "deletionTimestamp" in stuck["metadata"]
    finally:
        cluster.node.start_kubelet()
    assert complete(cluster, team) == small_digest


def test_a_container_out_of_memory_is_told_and_no_fault_of_the_candidate(cluster: Cluster, team: str) -> None:
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


def test_a_quota_that_bites_is_told_and_waited_for(cluster: Cluster, team: str, small_digest: str) -> None:
    client = cluster.plane.client
    quota = {"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
    client.create(namespaced("v1", team, "resourcequotas"), quota)
    eventually(lambda: client.get(namespaced("v1", team, "resourcequotas", "none"))["status"].get("hard"), "the quota")
    cluster.apply(team, small())
    blocked = eventually(
        lambda: (found := cluster.condition(team, "Stalled")).get("status") == "True" and found, "a condition", 120.0
    )
    assert "exceeded quota: none" in str(blocked)
    jobs = cluster.jobs(team)
    assert len(jobs) == 1
    client.delete(namespaced("v1", team, "resourcequotas", "none"))
    assert complete(cluster, team) == small_digest
    assert all(job["metadata"]["labels"]["poise.dev/attempt"] == "1" for job in cluster.jobs(team))


def test_suspended_in_the_middle_and_resumed(cluster: Cluster, team: str, small_digest: str) -> None:
    path = namespaced(POISE, team, "searches", "tiny")
    cluster.apply(team, small())
    eventually(lambda: cluster.working(team, "train"), "a training", 180.0)
    cluster.plane.client.patch(path, {"spec": {"suspend": True}})
    eventually(lambda: cluster.condition(team, "Suspended").get("status") == "True", "the condition", 120.0)
    eventually(lambda: not cluster.pods(team, "", "Pending", "Running"), "that what ran has ended", 120.0)
    seen = len(cluster.jobs(team))
    assert cluster.search(team)["status"]["phase"] != "Complete"
    cluster.plane.client.patch(path, {"spec": {"suspend": False}})
    assert complete(cluster, team) == small_digest
    assert len(cluster.jobs(team)) > seen


def test_a_namespace_deleted_in_the_middle_goes_and_the_rest_goes_on(
    cluster: Cluster, team: str, small_digest: str
) -> None:
    doomed = cluster.namespace(f"{team}-doomed")
    cluster.apply(doomed, small())
    cluster.apply(team, small())
    eventually(lambda: cluster.working(doomed, "train"), "a training", 180.0)
    cluster.plane.client.delete(f"/api/v1/namespaces/{doomed}")
    assert complete(cluster, team) == small_digest
    eventually(
        lambda: doomed not in cluster.plane.kubectl("get", "namespaces", "-o", "name"),
        "the end of the namespace",
        120.0,
    )
