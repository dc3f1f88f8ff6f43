"""Documents that the controller writes: names, labels, owners, sizes."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller import manifests
from controller.jobs import job_name
from controller.settings import ArtifactSettings, ObjectStoreSettings, Settings
from poise_lib.resources import Search
from poise_lib.tasks.protocol import SPLIT_KINDS, TaskKind, TaskRequest

SETTINGS = Settings(worker_image="worker")
DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


def search(**spec: Any) -> Search:
    metadata = {"name": "s" * 30, "namespace": "team", "uid": "search-uid"}
    return Search.model_validate({"metadata": metadata, "spec": {"budget": {"candidates": 2}, **spec}})


def request(kind: TaskKind = TaskKind.TRAIN, name: str = "s-001-0-full-0-train", **content: Any) -> TaskRequest:
    return TaskRequest(kind=kind, name=name, input=content)


@given(task=st.from_regex(r"[a-z0-9]([-a-z0-9]{0,90}[a-z0-9])?", fullmatch=True), attempt=st.integers(1, 9999))
def test_names_fit_a_label_and_say_their_attempt(task: str, attempt: int) -> None:
    name = job_name(task, attempt)
    assert len(name) <= 63
    assert DNS_LABEL.fullmatch(name)
    assert name == job_name(task, attempt)
    assert name.endswith(f"-{attempt}")


def test_long_names_that_differ_at_their_end_stay_apart() -> None:
    long = "c" * 70
    assert job_name(f"{long}-train", 1) != job_name(f"{long}-score", 1)


@pytest.mark.parametrize("kind", list(TaskKind))
def test_a_job_is_owned_by_its_search_and_labelled_within_bounds(kind: TaskKind) -> None:
    name = "c" * 63 + f"-{kind.value}"
    job = manifests.job(request(kind, name), 12, search(), SETTINGS)
    metadata, labels = job["metadata"], job["metadata"]["labels"]
    assert metadata["namespace"] == "team"
    assert metadata["annotations"]["poise.dev/task"] == name
    assert re.fullmatch(r"[0-9a-f]{32}", metadata["annotations"]["poise.dev/attempt-token"])
    (owner,) = metadata["ownerReferences"]
    assert (owner["kind"], owner["uid"], owner["controller"]) == ("Search", "search-uid", True)
    assert all(len(value) <= 63 for value in labels.values())
    assert labels["poise.dev/attempt"] == "12"
    assert (labels.get(manifests.LABEL_UNTRUSTED) == "true") is (kind in SPLIT_KINDS)
    assert job["spec"]["backoffLimit"] == 0
    assert "activeDeadlineSeconds" not in job["spec"], "waiting for room must not end a task"
    assert "suspend" not in job["spec"]
    assert job["spec"]["template"]["metadata"]["labels"] == labels


def test_only_the_token_differs_between_two_makings() -> None:
    first, second = (manifests.job(request(), 1, search(), SETTINGS) for _ in range(2))
    token = first["metadata"]["annotations"]["poise.dev/attempt-token"]
    other = second["metadata"]["annotations"]["poise.dev/attempt-token"]
    assert token != other
    assert str(first).replace(token, "") == str(second).replace(other, "")


def test_a_queue_name_becomes_kueues_label_and_leaves_the_start_to_it() -> None:
    job = manifests.job(request(), 1, search(queueName="gpus"), SETTINGS)
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"
    assert job["spec"]["suspend"] is True
    assert "kueue.x-k8s.io/queue-name" not in job["spec"]["template"]["metadata"]["labels"]


def test_claim_and_policy() -> None:
    wanted = ArtifactSettings(claim="c", size="5Gi", storage_class="", access_mode="ReadWriteMany")
    claim = manifests.claim("team", Settings(worker_image="w", artifacts=wanted))
    assert claim["metadata"]["name"] == "c"
    assert claim["spec"] == {
        "accessModes": ["ReadWriteMany"],
        "resources": {"requests": {"storage": "5Gi"}},
        "storageClassName": "",
    }
    assert "storageClassName" not in manifests.claim("team", SETTINGS)["spec"]
    prepared = manifests.preparations("team", SETTINGS)
    assert [body["kind"] for _, body in prepared] == ["PersistentVolumeClaim", "NetworkPolicy"]
    policy = manifests.network_policy("team")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert not {"ingress", "egress"} & set(policy)


@pytest.mark.parametrize(
    ("endpoint", "port"),
    [("", 443), ("https://minio.example", 443), ("http://minio", 80), ("http://minio.s.svc:9000", 9000)],
)
def test_with_an_object_store_tasks_reach_names_and_its_port_and_no_claim_is_made(endpoint: str, port: int) -> None:
    store = ObjectStoreSettings("s3://bucket", endpoint)
    prepared = manifests.preparations("team", Settings(worker_image="w", artifacts=ArtifactSettings(store=store)))
    (_, closed), (_, opened) = prepared
    assert (closed["kind"], closed["metadata"]["name"]) == ("NetworkPolicy", "poise-tasks")
    assert not {"ingress", "egress"} & set(closed["spec"])
    assert (opened["kind"], opened["metadata"]["name"]) == ("NetworkPolicy", "poise-tasks-artifacts")
    assert opened["spec"]["podSelector"] == closed["spec"]["podSelector"]
    assert opened["spec"]["policyTypes"] == ["Egress"]
    names, target = opened["spec"]["egress"]
    assert {rule["port"] for rule in names["ports"]} == {53}
    assert target["ports"] == [{"protocol": "TCP", "port": port}]
    blocks = {peer["ipBlock"]["cidr"]: peer["ipBlock"]["except"] for peer in target["to"] if "ipBlock" in peer}
    assert "169.254.0.0/16" in blocks["0.0.0.0/0"], "where clouds hand out a node's credentials"
    assert set(blocks) == {"0.0.0.0/0", "::/0"}


def test_the_platforms_own_egress_rules_take_the_place_of_the_default() -> None:
    rules = ({"to": [{"ipBlock": {"cidr": "10.1.0.0/16"}}]},)
    policy = manifests.store_policy("team", ObjectStoreSettings("s3://bucket", egress=rules))
    assert policy["spec"]["egress"] == list(rules)


@pytest.mark.parametrize("kind", list(TaskKind))
def test_each_namespace_has_a_prefix_of_its_own(kind: TaskKind) -> None:
    artifacts = ArtifactSettings(store=ObjectStoreSettings("s3://bucket/prefix/"))
    job = manifests.job(request(kind), 1, search(), Settings(worker_image="w", artifacts=artifacts))
    [task] = job["spec"]["template"]["spec"]["containers"]
    assert task["args"][task["args"].index("--store") + 1] == "s3://bucket/prefix/team"
    assert not [item for item in job["spec"]["template"]["spec"]["volumes"] if "persistentVolumeClaim" in item]
