"""What a search with a language model has in a cluster, against a real API server; no pod runs here."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from typing import Any, Final

import pytest

from controller import manifests
from controller.settings import Settings
from poise_lib.resources import Search
from poise_lib.tasks.protocol import TaskKind, TaskRequest
from tests.kube.client import ApiError, Client, Document, namespaced
from tests.kube.cluster import ControlPlane
from tests.kube.controller import Controller, eventually, running

POISE: Final = "poise.dev/v1alpha1"
LLM: Final[Document] = {
    "model": "scripted",
    "baseURL": "http://vllm.models.svc:8000/v1",
    "secretRef": {"name": "openai", "key": "api-key"},
    "literature": {"configMap": "papers"},
}


@pytest.fixture(scope="module")
def operator(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Controller]:
    with running(control_plane, tmp_path_factory.mktemp("controller")) as controller:
        yield controller


def manifest(namespace: str, **llm: Any) -> Document:
    return {
        "apiVersion": POISE,
        "kind": "Search",
        "metadata": {"name": "asks", "namespace": namespace},
        "spec": {"budget": {"candidates": 2}, "proposer": {"type": "LLM", "llm": {**LLM, **llm}}},
    }


def policy(admin: Client, namespace: str) -> Document | None:
    try:
        return admin.get(namespaced("networking.k8s.io/v1", namespace, "networkpolicies", "poise-model-asks"))
    except ApiError as error:
        if error.status != 404:
            raise
        return None


def test_the_policy_follows_the_search_and_is_not_written_for_nothing(
    operator: Controller, admin: Client, namespace: str
) -> None:
    searches = namespaced(POISE, namespace, "searches")
    search = admin.create(searches, manifest(namespace))
    made = eventually(lambda: policy(admin, namespace), "the policy")
    assert made["metadata"]["ownerReferences"][0]["uid"] == search["metadata"]["uid"]
    [_, target] = made["spec"]["egress"]
    assert target["to"][0]["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "models"}
    for text in ("one", "two", "three"):  # each wakes the controller
        admin.patch(f"{searches}/asks", {"spec": {"directive": text}})
        time.sleep(0.5)
    again = policy(admin, namespace)
    assert again is not None
    assert again["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
    admin.patch(f"{searches}/asks", {"spec": {"proposer": {"llm": {"baseURL": "http://10.0.0.9:81/v1"}}}})

    def changed() -> bool:
        seen = policy(admin, namespace)
        return seen is not None and seen["spec"]["egress"] == [
            {"to": [{"ipBlock": {"cidr": "10.0.0.9/32"}}], "ports": [{"protocol": "TCP", "port": 81}]}
        ]

    eventually(changed, "the policy of the new address")
    admin.delete(f"{searches}/asks")
    assert operator.complaints() == []


def test_an_address_that_no_pod_should_ask_is_told(operator: Controller, admin: Client, namespace: str) -> None:
    searches = namespaced(POISE, namespace, "searches")
    admin.create(searches, manifest(namespace, baseURL="http://169.254.169.254/v1"))

    def stalled() -> str:
        conditions = admin.get(f"{searches}/asks").get("status", {}).get("conditions", ())
        return next((item["message"] for item in conditions if item["type"] == "Stalled"), "")

    eventually(lambda: "is link-local" in stalled(), "the condition")
    assert policy(admin, namespace) is None
    assert admin.get(namespaced("batch/v1", namespace, "jobs"))["items"] == []
    admin.delete(f"{searches}/asks")


@pytest.mark.parametrize("kind", list(TaskKind))
def test_jobs_of_every_kind_are_taken_as_they_are_and_one_place_names_the_secret(
    admin: Client, namespace: str, kind: TaskKind
) -> None:
    document = manifest(namespace)
    document["metadata"]["uid"] = "00000000-0000-0000-0000-000000000001"
    request = TaskRequest(kind=kind, name=f"asks-{kind.value}", input={"llm": LLM})
    job = manifests.job(request, 1, Search.model_validate(document), Settings(worker_image="w"))
    taken = admin.create(namespaced("batch/v1", namespace, "jobs"), copy.deepcopy(job), dryRun="All")
    assert str(taken["spec"]).count("secretKeyRef") == int(request.asks_a_model)
    spec = taken["spec"]["template"]["spec"]
    for container in [*spec.get("initContainers", ()), *spec["containers"]]:
        ours = next(
            item
            for item in [*job["spec"]["template"]["spec"].get("initContainers", ()),
                         *job["spec"]["template"]["spec"]["containers"]]
            if item["name"] == container["name"]
        )  # fmt: skip
        assert container["env"] == ours["env"]
        assert container["volumeMounts"] == ours["volumeMounts"]
