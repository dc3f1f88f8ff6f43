"""A task whose input no single object holds, on a real API server: an archive of long reflections, to choose parents from."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import random
import string
from collections.abc import Iterator
from typing import Any, Final

import pytest

from controller import inputs
from controller.reconcile import STALE_INPUT_SECONDS
from tests.integration.kube.documents import path
from tests.kube.client import Client, Document, namespaced
from tests.kube.cluster import ControlPlane
from tests.kube.controller import Controller, eventually, running
from tests.kube.images import BUSYBOX
from tests.kube.node import Node

SELECT: Final = "tiny-001-select-1"
SIZE: Final = 40
MIB: Final = 1 << 20


@pytest.fixture(scope="module")
def operator(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Controller]:
    """One controller for the whole cluster and all tests of this module."""
    with running(control_plane, tmp_path_factory.mktemp("controller"), "large") as controller:
        yield controller


def noise(chance: random.Random) -> str:
    return "".join(chance.choices(string.ascii_letters, k=2000))


def reflection(chance: random.Random) -> Document:
    """As long as the API admits, and of nothing that a compressor could use."""
    return {
        "diagnosis": noise(chance),
        "evidence": [{"metric": "overall", "value": 1.0, "note": noise(chance)} for _ in range(16)],
        "advice": [{"action": "Try", "slot": "s", "reason": noise(chance)} for _ in range(12)],
    }


def archived(client: Client, namespace: str, index: int) -> None:
    """A candidate that has ended; the first one is the baseline."""
    chance = random.Random(index)
    made = client.create(
        path("Candidate", namespace),
        {
            "apiVersion": "poise.dev/v1alpha1",
            "kind": "Candidate",
            "metadata": {"name": "tiny-000-0" if index == 0 else f"mine-{index:03}"},
            "spec": {"search": "tiny", "proposal": {"title": f"Idea {index}", "hypothesis": "It helps."}},
        },
    )
    score = 50.0 + index / 10
    made["status"] = {
        "phase": "Archived",
        "metrics": {"overall": score},
        "utility": score,
        "reflection": reflection(chance),
    }
    client.replace(path("Candidate", namespace, made["metadata"]["name"], "status"), made)


def core(namespace: str, plural: str, name: str = "") -> str:
    return namespaced("batch/v1" if plural == "jobs" else "v1", namespace, plural, name)


def parts(client: Client, namespace: str) -> dict[str, Document]:
    """The ConfigMaps that are there under the names of this task's input."""
    items = client.get(core(namespace, "configmaps"))["items"]
    return {item["metadata"]["name"]: item for item in items if item["metadata"]["name"].startswith(SELECT)}


def owner(item: Document) -> str:
    [found] = item["metadata"]["ownerReferences"]
    uid: str = found["uid"]
    return uid


def whole(client: Client, namespace: str) -> tuple[Document, dict[str, Document]] | None:
    """The Job and its input, once all of it is there and its own."""
    jobs = {item["metadata"]["name"]: item for item in client.get(core(namespace, "jobs"))["items"]}
    if SELECT not in jobs:
        return None
    found = parts(client, namespace)
    [volume] = [item for item in jobs[SELECT]["spec"]["template"]["spec"]["volumes"] if item["name"] == "input"]
    wanted = [source["configMap"]["name"] for source in volume["projected"]["sources"]]
    mine = {name for name, item in found.items() if owner(item) == jobs[SELECT]["metadata"]["uid"]}
    return (jobs[SELECT], {name: found[name] for name in wanted}) if mine.issuperset(wanted) else None


def request_in(job: Document, found: dict[str, Document]) -> Any:
    """What the task is given: the files that its arguments name, joined."""
    files = {file: base64.b64decode(text) for item in found.values() for file, text in item["binaryData"].items()}
    [container] = job["spec"]["template"]["spec"]["containers"]
    named = [item.removeprefix("/input/") for item in container["args"] if item.startswith("/input/")]
    assert sorted(files) == named
    return json.loads(gzip.decompress(b"".join(files[file] for file in named)))


@pytest.fixture
def large(operator: Controller, admin: Client, namespace: str) -> Iterator[str]:
    """A namespace with a search that chooses the parents of its first round."""
    for index in range(SIZE):
        archived(admin, namespace, index)
    admin.create(
        path("Search", namespace),
        {
            "apiVersion": "poise.dev/v1alpha1",
            "kind": "Search",
            "metadata": {"name": "tiny"},
            "spec": {"budget": {"candidates": 100}},
        },
    )
    yield namespace
    admin.delete(path("Search", namespace))


@pytest.mark.slow
def test_input_goes_in_parts_and_a_job_never_takes_those_of_an_earlier_one(
    large: str, operator: Controller, admin: Client
) -> None:
    job, found = eventually(lambda: whole(admin, large), "a Job with all of its input")
    assert len(found) >= 2
    assert list(found) == [SELECT, *(f"{SELECT}.{number:02}" for number in range(2, len(found) + 1))]
    for item in found.values():
        [content] = [base64.b64decode(text) for text in item["binaryData"].values()]
        assert len(content) <= inputs.PART_BYTES
        assert len(json.dumps(item)) < MIB
        assert item["immutable"] is True
        assert item["metadata"]["labels"] == job["metadata"]["labels"]
    [volume] = [item for item in job["spec"]["template"]["spec"]["volumes"] if item["name"] == "input"]
    assert all(source["configMap"]["optional"] is False for source in volume["projected"]["sources"])
    request = request_in(job, found)
    assert (request["kind"], request["name"]) == ("select", "tiny-001-select")
    said = {entry["name"]: entry["reflection"]["diagnosis"] for entry in request["input"]["entries"]}
    assert said == {
        "tiny-000-0" if index == 0 else f"mine-{index:03}": noise(random.Random(index)) for index in range(SIZE)
    }

    version = admin.get(core(large, "jobs"))["metadata"]["resourceVersion"]
    admin.delete(core(large, "jobs", SELECT), propagationPolicy="Background")
    told = admin.text(
        "GET", core(large, "jobs"), watch="true", resourceVersion=version, timeoutSeconds=int(4 * STALE_INPUT_SECONDS)
    )
    changes = [event["type"] for event in map(json.loads, told.splitlines())]
    if any(owner(item) == job["metadata"]["uid"] for item in parts(admin, large).values()):
        assert changes[0] == "DELETED"
        assert 1 <= changes.count("ADDED") <= 5, "it is tried again, and not all the time"
        assert "DELETED" in changes[2:], "and given up while something is in the way"

    def again() -> tuple[Document, dict[str, Document]] | None:
        """Look, and take what has no owner any more, as the garbage collector does; in most runs there is none here."""
        alive = {item["metadata"]["uid"] for item in admin.get(core(large, "jobs"))["items"]}
        for name, item in parts(admin, large).items():
            if owner(item) not in alive:
                admin.delete(core(large, "configmaps", name))
                break  # one at a time: the controller meets what is left of them
        return whole(admin, large)

    other, anew = eventually(again, "another Job with all of its input")
    assert other["metadata"]["uid"] != job["metadata"]["uid"]
    assert {owner(item) for item in anew.values()} == {other["metadata"]["uid"]}
    assert request_in(other, anew) == request
    assert operator.complaints() == []


@pytest.mark.e2e
def test_a_node_starts_a_pod_once_all_parts_are_there_and_shows_them_as_files(node: Node, node_namespace: str) -> None:
    """The volume and the objects are the controller's, the container is busybox."""
    client, numbers = node.plane.client, (1, 2, 3)
    mounted = {"name": "input", "mountPath": "/input", "readOnly": True}
    script = "cd /input && ls && cat $(ls) | sha256sum"
    container = {"name": "main", "image": BUSYBOX, "command": ["sh", "-c", script], "volumeMounts": [mounted]}
    spec = {"restartPolicy": "Never", "containers": [container], "volumes": [inputs.volume("job-1", len(numbers))]}
    job = client.create(
        core(node_namespace, "jobs"),
        {"metadata": {"name": "job-1"}, "spec": {"suspend": True, "template": {"spec": spec}}},
    )
    content = [random.Random(number).randbytes(inputs.PART_BYTES) for number in numbers]
    first, second, third = inputs.documents(content, job)
    for item in (first, third):
        client.create(core(node_namespace, "configmaps"), item)
    client.create(core(node_namespace, "pods"), {"metadata": {"name": "reader"}, "spec": spec})

    def waits() -> bool:
        said = [item.get("message", "") for item in client.get(core(node_namespace, "events"))["items"]]
        return any("MountVolume.SetUp failed" in text and '"job-1.02" not found' in text for text in said)

    eventually(waits, "a kubelet that waits for the second part")
    client.create(core(node_namespace, "configmaps"), second)
    assert node.wait_for_pod(node_namespace, "reader")["status"]["phase"] == "Succeeded"
    digest = hashlib.sha256(b"".join(content)).hexdigest()
    assert node.logs(node_namespace, "reader").split() == [*inputs.numbered(inputs.INPUT_FILE, 3), digest, "-"]
