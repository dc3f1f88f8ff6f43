"""Everything that can be killed is killed while a search runs; the archive is the one that it would have been."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable

import pytest

from controller.pods import USER
from tests.e2e.world import Cluster
from tests.kube import chart
from tests.kube.client import ApiError, Document, namespaced
from tests.kube.controller import eventually

pytestmark = [pytest.mark.faults, pytest.mark.xdist_group("e2e")]


@pytest.fixture(scope="module")
def undisturbed(cluster: Cluster) -> str:
    """Digest of the archive of a search that nobody disturbed."""
    name = cluster.namespace("undisturbed")
    cluster.apply(name)
    search = cluster.finished(name)
    assert search["status"]["phase"] == "Complete", search["status"]["message"]
    digest: str = search["status"]["digest"]
    return digest


def delete_now(cluster: Cluster, namespace: str, plural: str, name: str, version: str = "v1") -> None:
    """As a dead node would: no grace, nobody is asked."""
    body = {"gracePeriodSeconds": 0, "propagationPolicy": "Background"}
    path = namespaced(version, namespace, plural, name)
    try:
        cluster.plane.client.request("DELETE", path, body)
    except ApiError as error:
        if error.status != 404:
            raise


def kill_the_controller(cluster: Cluster, namespace: str) -> None:
    delete_now(cluster, chart.NAMESPACE, "pods", cluster.controller_pod())


def kill_a_pod(cluster: Cluster, namespace: str) -> None:
    pods = [pod for pod in cluster.items(namespace, "pods", "v1") if pod["status"]["phase"] in ("Pending", "Running")]
    if pods:
        delete_now(cluster, namespace, "pods", pods[0]["metadata"]["name"])


def delete_a_job(cluster: Cluster, namespace: str) -> None:
    jobs = cluster.items(namespace, "jobs", "batch/v1")
    if jobs:
        newest = max(jobs, key=lambda job: job["metadata"]["creationTimestamp"])
        delete_now(cluster, namespace, "jobs", newest["metadata"]["name"], "batch/v1")


def delete_finished_pods(cluster: Cluster, namespace: str) -> None:
    """Their logs go with them, perhaps before anybody has read them."""
    for pod in cluster.items(namespace, "pods", "v1"):
        if pod["status"]["phase"] == "Succeeded":
            delete_now(cluster, namespace, "pods", pod["metadata"]["name"])


FAULTS: list[Callable[[Cluster, str], None]] = [
    kill_the_controller, kill_a_pod, delete_a_job, delete_finished_pods, kill_the_controller, kill_a_pod,
]  # fmt: skip


def progress(cluster: Cluster, namespace: str) -> int:
    """Grows whenever anything happens to the search."""
    kinds = (("candidates", "poise.dev/v1alpha1"), ("jobs", "batch/v1"))
    return sum(
        int(item["metadata"]["resourceVersion"])
        for kind, version in kinds
        for item in cluster.items(namespace, kind, version)
    )


def test_whatever_is_killed_the_archive_is_the_same(cluster: Cluster, team: str, undisturbed: str) -> None:
    order = random.Random(11)
    cluster.apply(team)
    for fault in FAULTS:
        before = progress(cluster, team)
        for _ in range(order.randint(1, 3)):
            eventually(lambda: progress(cluster, team) != before, "a search that moves", 180.0)  # noqa: B023
            before = progress(cluster, team)
        fault(cluster, team)
    search = cluster.finished(team)
    assert search["status"]["phase"] == "Complete", search["status"]["message"]
    assert search["status"]["digest"] == undisturbed


def test_a_result_in_the_store_is_not_worked_for_again(cluster: Cluster, team: str, undisturbed: str) -> None:
    """A volume that holds the results already: the whole search is looked up, no candidate runs."""
    volumes = cluster.folder / "volumes"
    shutil.copytree(volumes / "undisturbed", volumes / team, dirs_exist_ok=True, copy_function=shutil.copy2)
    for path in [volumes / team, *(volumes / team).rglob("*")]:
        shutil.chown(path, USER, USER)
    cluster.apply(team)
    assert cluster.finished(team)["status"]["digest"] == undisturbed
    pods = [pod for pod in cluster.items(team, "pods", "v1") if "initContainers" in pod["spec"]]
    assert pods
    for pod in pods:
        assert cluster.node.logs(team, pod["metadata"]["name"], "candidate") == ""


def test_a_deleted_candidate_does_not_wedge_the_search(cluster: Cluster, team: str) -> None:
    cluster.apply(team)

    def child() -> Document | None:
        found = (item for item in cluster.items(team, "candidates") if item["spec"].get("parents"))
        return next(found, None)

    found = eventually(child, "a child", 300.0)
    delete_now(cluster, team, "candidates", found["metadata"]["name"], "poise.dev/v1alpha1")
    assert cluster.finished(team)["status"]["phase"] == "Complete"
