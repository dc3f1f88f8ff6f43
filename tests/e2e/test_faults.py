"""The installed operator while controllers, pods, logs, the API server and nodes fail; one search at a time."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest

from tests.e2e.world import Cluster, progress, small
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


def test_whatever_is_killed_the_archive_is_the_same(cluster: Cluster, team: str, small_digest: str) -> None:
    order = random.Random(11)
    cluster.apply(team, small())
    for fault in FAULTS:
        before = progress(cluster, team)
        for _ in range(order.randint(1, 2)):
            eventually(lambda: progress(cluster, team) != before, "a search that moves", 180.0)  # noqa: B023
            before = progress(cluster, team)
        fault(cluster, team)
    assert cluster.complete(team) == small_digest


def test_an_api_server_that_is_away_for_a_while(cluster: Cluster, team: str, small_digest: str) -> None:
    """Longer than a lease lasts, while a candidate trains: its training is not repeated."""
    cluster.apply(team, small())
    eventually(lambda: cluster.working(team, "train"), "a training", 180.0)
    cluster.plane.stop_server()
    time.sleep(OUTAGE_SECONDS)
    cluster.plane.start_server()
    assert cluster.complete(team) == small_digest
    attempts = [job["metadata"]["labels"]["poise.dev/attempt"] for job in cluster.jobs(team, "train")]
    assert attempts == ["1", "1"]
    cluster.check_that_nothing_is_left(team)


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
    assert cluster.complete(team) == small_digest
