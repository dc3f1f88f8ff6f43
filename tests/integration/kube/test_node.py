"""The node runs pods as any node does: these are the things that tests of the operator rest on."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from tests.kube.assets import MissingError, unavailable
from tests.kube.client import ApiError, Document, namespaced
from tests.kube.images import BUSYBOX, build, remove
from tests.kube.node import Node

pytestmark = pytest.mark.e2e

LOCKED_DOWN: Document = {
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "readOnlyRootFilesystem": True,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


def pod(name: str, script: str, *, image: str = BUSYBOX, **container: Any) -> Document:
    """A pod with one container that runs a shell script once."""
    command = {"name": "main", "image": image, "command": ["sh", "-c", script], **container}
    spec = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [command]}
    return {"metadata": {"name": name}, "spec": spec}


def run(node: Node, namespace: str, document: Document) -> tuple[str, str]:
    """Run a pod to its end: the phase and what it wrote."""
    node.plane.client.create(namespaced("v1", namespace, "pods"), document)
    name = document["metadata"]["name"]
    phase = node.wait_for_pod(namespace, name)["status"]["phase"]
    return phase, node.logs(namespace, name)


def test_a_pod_runs(node: Node, node_namespace: str) -> None:
    assert run(node, node_namespace, pod("echo", "echo hello; echo again")) == ("Succeeded", "hello\nagain\n")


def test_a_failure_is_seen(node: Node, node_namespace: str) -> None:
    assert run(node, node_namespace, pod("fails", "echo oh; exit 3")) == ("Failed", "oh\n")
    status = node.plane.client.get(namespaced("v1", node_namespace, "pods", "fails"))["status"]
    assert status["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 3


def test_names_of_services_resolve(node: Node, node_namespace: str) -> None:
    phase, written = run(node, node_namespace, pod("dns", "nslookup kubernetes.default.svc.cluster.local"))
    assert phase == "Succeeded", written
    assert "10.96.0.1" in written


def test_the_lock_down_holds(node: Node, node_namespace: str) -> None:
    script = "id -u; (touch /x && echo written) 2>&1; cat /proc/self/status"
    phase, written = run(node, node_namespace, pod("locked", script, securityContext=LOCKED_DOWN))
    assert phase == "Succeeded"
    lines = written.splitlines()
    assert lines[:2] == ["65532", "touch: /x: Read-only file system"]
    fields = dict(line.split(":\t", 1) for line in lines[2:] if ":\t" in line)
    assert int(fields["CapEff"], 16) == 0
    assert (fields["NoNewPrivs"], fields["Seccomp"]) == ("1", "2")


def test_a_job_completes(node: Node, node_namespace: str) -> None:
    template = pod("unused", "echo done", resources={"limits": {"cpu": "500m", "memory": "64Mi"}})["spec"]
    job = {"metadata": {"name": "once"}, "spec": {"template": {"spec": template}, "backoffLimit": 0}}
    jobs = namespaced("batch/v1", node_namespace, "jobs")
    node.plane.client.create(jobs, job)
    limit = time.monotonic() + 60
    while not (status := node.plane.client.get(f"{jobs}/once")["status"]).get("completionTime"):
        assert time.monotonic() < limit, status
        time.sleep(0.1)
    assert status["succeeded"] == 1


def test_the_api_server_reaches_pods(node: Node, node_namespace: str) -> None:
    script = "cd /tmp && echo hello > index.html && exec httpd -f -p 8080"
    mounts = [{"name": "tmp", "mountPath": "/tmp"}]
    ready = {"httpGet": {"port": 8080}, "periodSeconds": 1}
    document = pod("web", script, readinessProbe=ready, volumeMounts=mounts)
    document["spec"]["volumes"] = [{"name": "tmp", "emptyDir": {}}]
    node.plane.client.create(namespaced("v1", node_namespace, "pods"), document)
    node.wait_for_pod(node_namespace, "web", phases=("Running",))
    proxy = namespaced("v1", node_namespace, "pods", "web:8080", "proxy")
    limit = time.monotonic() + 30
    while True:
        try:
            assert node.plane.client.text("GET", f"{proxy}/") == "hello\n"
            return
        except ApiError:
            assert time.monotonic() < limit
            time.sleep(0.1)


def test_pretended_gpus_are_scheduled(node: Node, node_namespace: str) -> None:
    node.add_resource("nvidia.com/gpu", 1)
    wants = {"limits": {"nvidia.com/gpu": "1"}}
    assert run(node, node_namespace, pod("gpu", "echo on a GPU", resources=wants))[0] == "Succeeded"


def test_a_built_image_runs(node: Node, node_namespace: str, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(
        "FROM scratch\n"
        "COPY busybox /bin/busybox\n"
        'RUN ["/bin/busybox", "--install", "-s", "/bin"]\n'
        "RUN echo built > /message\n"
        "USER 65532\n"
        'CMD ["cat", "/message"]\n'
    )
    shutil.copy(str(shutil.which("busybox")), tmp_path / "busybox")
    try:
        archive = build(tmp_path, "localhost/poise-test-built:1", tmp_path / "image.tar")
    except MissingError as reason:
        unavailable(reason)
    finally:
        remove("localhost/poise-test-built:1")
    assert node.load(archive) == ["localhost/poise-test-built:1"]
    document = pod("built", "", image="localhost/poise-test-built:1")
    del document["spec"]["containers"][0]["command"]
    assert run(node, node_namespace, document) == ("Succeeded", "built\n")
