"""The platform's default for pods on a real API server, and the policy that docs/security.md puts beside it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

import pytest
import yaml

from tests.kube.client import ApiError, Client, Document, namespaced
from tests.kube.cluster import ROOT, ControlPlane
from tests.kube.controller import Controller, eventually, running

POISE: Final = "poise.dev/v1alpha1"
FIRST: Final = "tiny-000-0-implement-1-1"
DEFAULT: Final[Document] = {
    "runtimeClassName": "gvisor",
    "nodeSelector": {"pool": "searches", "zone": "a"},
    "tolerations": [{"key": "searches"}],
    "volumes": [{"claimName": "models", "mountPath": "/models"}],
    "annotations": {"cost": "platform"},
}


@pytest.fixture(scope="module")
def operator(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Controller]:
    """A controller with a default for pods."""
    folder = tmp_path_factory.mktemp("controller")
    with running(control_plane, folder, "default", POD_TEMPLATE=json.dumps(DEFAULT)) as controller:
        yield controller


@pytest.fixture
def bench(operator: Controller, admin: Client, namespace: str) -> Iterator[Bench]:
    bench = Bench(admin, namespace)
    yield bench
    admin.delete(bench.searches)


class Bench:
    """One namespace with a search."""

    def __init__(self, client: Client, namespace: str) -> None:
        self.client, self.namespace = client, namespace
        self.searches = namespaced(POISE, namespace, "searches")
        self.jobs = namespaced("batch/v1", namespace, "jobs")

    def apply(self, template: Document) -> Document:
        spec = {"budget": {"candidates": 3}, "evaluation": {"template": template}}
        document = {"apiVersion": POISE, "kind": "Search", "metadata": {"name": "tiny"}, "spec": spec}
        return self.client.create(self.searches, document)

    def job(self) -> Document | None:
        return next((item for item in self.client.get(self.jobs)["items"] if item["metadata"]["name"] == FIRST), None)

    def pod(self) -> Document:
        found: Document = eventually(self.job, "the first Job")["spec"]["template"]
        return found

    def stalled(self) -> str:
        """Why tasks do not start; empty when they do."""
        status = self.client.get(f"{self.searches}/tiny").get("status", {})
        found = [item for item in status.get("conditions", ()) if (item["type"], item["status"]) == ("Stalled", "True")]
        return str(found[0]["message"]) if found else ""


def test_a_search_that_says_nothing_gets_the_default(bench: Bench) -> None:
    served = bench.apply({})["spec"]["evaluation"]["template"]
    assert served == {"nodeSelector": {}, "annotations": {}, "nccl": {}}, (
        "the API server must not say anything in its place"
    )
    pod = bench.pod()
    assert pod["spec"]["runtimeClassName"] == "gvisor"
    assert pod["spec"]["nodeSelector"] == {"pool": "searches", "zone": "a"}
    assert pod["spec"]["tolerations"] == [{"key": "searches", "operator": "Exists"}]
    assert [item for item in pod["spec"]["volumes"] if item["name"] == "data-0"] == [
        {"name": "data-0", "persistentVolumeClaim": {"claimName": "models", "readOnly": True}}
    ]
    assert pod["metadata"]["annotations"] == {"cost": "platform"}
    assert pod["spec"]["securityContext"]["runAsNonRoot"] is True


def test_what_a_search_says_wins_and_an_empty_list_is_a_word(bench: Bench) -> None:
    bench.apply({"nodeSelector": {"zone": "b"}, "tolerations": [{"key": "mine"}], "volumes": []})
    pod = bench.pod()
    assert pod["spec"]["nodeSelector"] == {"pool": "searches", "zone": "b"}
    assert pod["spec"]["tolerations"] == [{"key": "mine", "operator": "Exists"}]
    assert not [item for item in pod["spec"]["volumes"] if item["name"].startswith("data-")]
    assert pod["spec"]["runtimeClassName"] == "gvisor"


@pytest.fixture
def policy(admin: Client, namespace: str) -> Iterator[None]:
    """The policy as the documentation has it, once it is in force."""
    text = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    [block] = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    documents: list[Any] = list(yaml.safe_load_all(block))
    plurals = ("validatingadmissionpolicies", "validatingadmissionpolicybindings")
    paths = [f"/apis/admissionregistration.k8s.io/v1/{plural}" for plural in plurals]
    assert [document["kind"].lower() for document in documents] == [
        plurals[0].replace("policies", "policy"),
        plurals[1][:-1],
    ]
    for path, document in zip(paths, documents, strict=True):
        admin.create(path, document)
    container = {"name": "c", "image": "i"}
    job = {
        "metadata": {"name": "try", "labels": {"app.kubernetes.io/managed-by": "poise"}},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [container]}}},
    }

    def in_force() -> bool:
        try:
            admin.create(namespaced("batch/v1", namespace, "jobs"), job, dryRun="All")
        except ApiError as error:
            return "tasks of searches run in gVisor here" in error.message
        return False

    eventually(in_force, "the policy in force")
    yield
    for path, document in zip(paths, documents, strict=True):
        admin.delete(f"{path}/{document['metadata']['name']}")


def test_the_documented_policy_holds_whatever_a_search_says(policy: None, bench: Bench) -> None:
    bench.apply({"runtimeClassName": "nvidia"})
    said = eventually(bench.stalled, "a refusal that is told")
    assert "tasks of searches run in gVisor here" in said
    assert bench.job() is None
    other = {"metadata": {"name": "other"}, "spec": {"template": {"spec": {
        "restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}}  # fmt: skip
    bench.client.create(bench.jobs, other, dryRun="All")  # what is none of ours is none of its business
    bench.client.delete(f"{bench.searches}/tiny")
    bench.apply({})
    assert bench.pod()["spec"]["runtimeClassName"] == "gvisor"
