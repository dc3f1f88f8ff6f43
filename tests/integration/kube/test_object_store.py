"""What an object store and the collection of artifacts bring into a namespace, on a real API server."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from controller.manifests import job, preparations
from controller.settings import ArtifactSettings, ObjectStoreSettings, Settings
from poise_lib.cli import in_cluster
from poise_lib.errors import ClusterError
from poise_lib.resources import Search
from poise_lib.tasks.protocol import TaskKind, TaskRequest
from tests.integration.kube.documents import minimal, path
from tests.kube import chart
from tests.kube.assets import Assets, MissingError, find, unavailable
from tests.kube.client import Client, Document, namespaced
from tests.kube.cluster import ControlPlane

URL = "s3://bucket/prefix"
STORE = ObjectStoreSettings(URL, "http://minio.storage.svc:9000", "eu-1", "poise-artifacts")
PATHS = {
    "ServiceAccount": ("v1", "serviceaccounts"),
    "Role": ("rbac.authorization.k8s.io/v1", "roles"),
    "RoleBinding": ("rbac.authorization.k8s.io/v1", "rolebindings"),
    "CronJob": ("batch/v1", "cronjobs"),
}


@pytest.fixture
def assets() -> Assets:
    try:
        return find(["helm"], tools=())
    except MissingError as missing:
        unavailable(missing)


def collector(admin: Client, assets: Assets, namespace: str, **artifacts: object) -> Document:
    """Make what the chart has for the collection in this namespace; the CronJob."""
    values = {"crds": {"install": False}, "artifacts": {"collect": {"namespaces": [namespace]}, **artifacts}}
    made = {}
    for document in chart.render(assets, values):
        if document["metadata"].get("namespace") == namespace:
            kind = document["kind"]
            made[kind] = admin.create(namespaced(PATHS[kind][0], namespace, PATHS[kind][1]), document)
    return made["CronJob"]


@pytest.mark.parametrize("kind", [TaskKind.TRAIN, TaskKind.SCORE])
def test_policies_and_pods_are_taken_where_restricted_is_enforced(
    admin: Client, assets: Assets, namespace: str, kind: TaskKind
) -> None:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    admin.patch(f"/api/v1/namespaces/{namespace}", {"metadata": {"labels": labels}})
    settings = Settings(worker_image="worker", artifacts=ArtifactSettings(store=STORE))
    for _, body in preparations(namespace, settings):
        assert body["kind"] == "NetworkPolicy"
        admin.create(namespaced("networking.k8s.io/v1", namespace, "networkpolicies"), body)
    search = Search.model_validate(
        {"metadata": {"name": "s", "namespace": namespace, "uid": "u"}, "spec": {"budget": {"candidates": 1}}}
    )
    ours = job(TaskRequest(kind=kind, name="s-task", input={}), 1, search, settings)
    admin.create(namespaced("batch/v1", namespace, "jobs"), ours, dryRun="All")
    cron = collector(admin, assets, namespace, url=URL, secret="poise-artifacts")
    account = cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]["serviceAccountName"]
    for template in (ours["spec"]["template"], cron["spec"]["jobTemplate"]["spec"]["template"]):
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "try"},
            "spec": template["spec"] | {"serviceAccountName": account},
        }
        admin.create(namespaced("v1", namespace, "pods"), pod, dryRun="All")


def test_the_collector_reads_all_of_its_namespace_and_nothing_else(
    control_plane: ControlPlane, admin: Client, assets: Assets, namespace: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    cron = collector(admin, assets, namespace)
    account = cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]["serviceAccountName"]
    names = [f"s{number}-{secrets.token_hex(2)}" for number in range(5)]
    for name in names:
        admin.create(path("Search", namespace), minimal("Search", name))
    (tmp_path / "token").write_text(control_plane.token(namespace, account))
    (tmp_path / "ca.crt").write_bytes(control_plane.pki.ca.read_bytes())
    monkeypatch.setattr(in_cluster, "ACCOUNT", tmp_path)
    monkeypatch.setattr(in_cluster, "_PAGE", 2)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(control_plane.port))
    assert in_cluster.is_pod()
    found = list(in_cluster.texts(namespace))
    assert len(found) == 5
    assert all(any(name in text for text in found) for name in names)
    with pytest.raises(ClusterError, match="403 Forbidden; the service account needs the verb list"):
        list(in_cluster.texts("default"))
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "1")
    with pytest.raises(ClusterError, match="searches cannot be listed"):
        list(in_cluster.texts(namespace))
