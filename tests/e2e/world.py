"""What the end-to-end tests do with a cluster: namespaces with volumes, a tiny search, and waiting for its end."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from tests.kube import chart
from tests.kube.client import ApiError, Document, namespaced
from tests.kube.cluster import ControlPlane
from tests.kube.controller import eventually
from tests.kube.node import Node

POISE: Final = "poise.dev/v1alpha1"
SEARCH_SECONDS: Final = 900.0

TINY: Final[Document] = {
    "apiVersion": POISE,
    "kind": "Search",
    "metadata": {"name": "tiny"},
    "spec": {
        "seed": 7,
        "strategy": {"parentsPerRound": 2},
        "verification": {"trainingProbe": False},
        "evaluation": {
            "fidelities": {"full": {"steps": 2, "promptsPerStep": 4, "groupSize": 4}},
            "confirmation": {"top": 1, "seeds": 2},
        },
        "budget": {"candidates": 3, "concurrent": 3},
        "retention": {"checkpoints": "None"},
    },
}
"""Everything that a search does, at the smallest size: what it finds means nothing."""


def small() -> Document:
    """The baseline and one child of it, not confirmed: for faults that one task of a kind is enough to meet.

    It asks for little of a node, so that several run side by side.
    """
    manifest = copy.deepcopy(TINY)
    manifest["spec"]["evaluation"]["template"] = {"resources": {"requests": {"cpu": "100m", "memory": "256Mi"}}}
    manifest["spec"]["strategy"]["parentsPerRound"] = 1
    manifest["spec"]["evaluation"]["confirmation"]["top"] = 0
    manifest["spec"]["budget"] = {"candidates": 2, "concurrent": 2}
    manifest["spec"]["retention"] = {"checkpoints": "All"}
    return manifest


@dataclass(frozen=True)
class Cluster:
    """A cluster with the operator installed."""

    plane: ControlPlane
    node: Node
    folder: Path
    values: dict[str, Any]

    def namespace(self, name: str) -> str:
        """A namespace in which Pod Security admits only restricted pods, and a volume made by hand that its artifacts' claim will bind."""
        self.plane.create_namespace(name)
        restricted = {"pod-security.kubernetes.io/enforce": "restricted"}
        self.plane.client.patch(f"/api/v1/namespaces/{name}", {"metadata": {"labels": restricted}})
        volume = chart.artifacts_volume(name, self.folder / "volumes" / name)
        self.plane.client.create("/api/v1/persistentvolumes", volume)
        return name

    def claim(self, namespace: str, name: str, folder: Path) -> None:
        """A claim of the namespace that is bound to a folder of this machine."""
        client = self.plane.client
        client.create("/api/v1/persistentvolumes", chart.volume(namespace, name, folder))
        spec = {"accessModes": ["ReadWriteMany"], "storageClassName": "", "resources": {"requests": {"storage": "1Gi"}}}
        client.create(namespaced("v1", namespace, "persistentvolumeclaims"), {"metadata": {"name": name}, "spec": spec})

    def apply(self, namespace: str, manifest: Document = TINY) -> None:
        """``kubectl apply``."""
        self.plane.kubectl("apply", "-n", namespace, "-f", "-", stdin=yaml.safe_dump(manifest))

    def search(self, namespace: str, name: str = "tiny") -> Document:
        """The Search as it stands."""
        return self.plane.client.get(namespaced(POISE, namespace, "searches", name))

    def items(self, namespace: str, plural: str, version: str = POISE) -> list[Document]:
        """Objects of a namespace."""
        found: list[Document] = self.plane.client.get(namespaced(version, namespace, plural))["items"]
        return found

    def finished(self, namespace: str, name: str = "tiny") -> Document:
        """The Search once it has ended."""

        def look() -> Document | None:
            search = self.search(namespace, name)
            return search if search.get("status", {}).get("phase") in ("Complete", "Failed") else None

        return eventually(look, f"the end of {namespace}/{name}", SEARCH_SECONDS)

    def complete(self, namespace: str) -> str:
        """Digest of the archive of a search, once it has ended well."""
        status = self.finished(namespace)["status"]
        assert status["phase"] == "Complete", status["message"]
        digest: str = status["digest"]
        return digest

    def condition(self, namespace: str, kind: str, name: str = "tiny") -> Document:
        """A condition of the Search; empty while it has none."""
        conditions = self.search(namespace, name).get("status", {}).get("conditions", ())
        return next((item for item in conditions if item["type"] == kind), {})

    def jobs(self, namespace: str, kind: str = "") -> list[Document]:
        """Jobs of tasks of a kind, or all, the oldest first."""
        found = self.items(namespace, "jobs", "batch/v1")
        wanted = [job for job in found if kind in ("", job["metadata"]["labels"]["poise.dev/task-kind"])]
        return sorted(wanted, key=lambda job: int(job["metadata"]["labels"]["poise.dev/attempt"]))

    def pods(self, namespace: str, kind: str = "", *phases: str) -> list[Document]:
        """Pods of tasks of a kind, or all, in one of these phases, or any, the newest last."""
        found = [
            pod
            for pod in self.items(namespace, "pods", "v1")
            if kind in ("", pod["metadata"]["labels"]["poise.dev/task-kind"])
            and (not phases or pod["status"]["phase"] in phases)
        ]
        return sorted(found, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))

    def working(self, namespace: str, kind: str) -> Document | None:
        """A pod in which a candidate of this kind of task runs now."""
        for pod in self.pods(namespace, kind, "Pending", "Running"):
            for status in pod["status"].get("initContainerStatuses", ()):
                if status["name"] == "candidate" and "running" in status["state"]:
                    return pod
        return None

    def delete_now(self, namespace: str, plural: str, name: str, version: str = "v1") -> None:
        """As a dead node would: no grace, nobody is asked; what is gone already is no error."""
        body = {"gracePeriodSeconds": 0, "propagationPolicy": "Background"}
        try:
            self.plane.client.request("DELETE", namespaced(version, namespace, plural, name), body)
        except ApiError as error:
            if error.status != 404:
                raise

    def scale(self, controllers: int) -> None:
        """How many controllers the Deployment runs; returns when that is so."""
        self.plane.client.patch(
            namespaced("apps/v1", chart.NAMESPACE, "deployments", chart.ACCOUNT), {"spec": {"replicas": controllers}}
        )
        eventually(
            lambda: len(self.items(chart.NAMESPACE, "pods", "v1")) == controllers, "the Deployment's pods", 120.0
        )

    def check_that_nothing_is_left(self, namespace: str) -> None:
        """Every task was accepted once and is let go, everything has an owner that is there, and no work goes on."""
        jobs = self.jobs(namespace)
        accepted = Counter(
            job["metadata"]["annotations"]["poise.dev/task"]
            for job in jobs
            if job["metadata"]["annotations"].get("poise.dev/outcome") == "Result"
        )
        assert set(accepted.values()) == {1}
        assert {job["metadata"]["annotations"]["poise.dev/task"] for job in jobs} == set(accepted)
        eventually(
            lambda: all("ttlSecondsAfterFinished" in job["spec"] for job in self.jobs(namespace)), "a time to live"
        )
        assert not self.pods(namespace, "", "Pending", "Running")
        uids = {job["metadata"]["uid"] for job in jobs} | {self.search(namespace)["metadata"]["uid"]}
        for plural, version in (("jobs", "batch/v1"), ("configmaps", "v1"), ("pods", "v1"), ("evaluations", POISE)):
            for item in self.items(namespace, plural, version):
                name, owners = item["metadata"]["name"], item["metadata"].get("ownerReferences", ())
                known = uids | {found["metadata"]["uid"] for found in self.items(namespace, "candidates")}
                assert name == "kube-root-ca.crt" or {owner["uid"] for owner in owners} & known, f"{plural} {name}"

    def controller_pod(self) -> str:
        """Name of the controller's pod that is not on its way out."""
        pods = self.items(chart.NAMESPACE, "pods", "v1")
        names = [pod["metadata"]["name"] for pod in pods if "deletionTimestamp" not in pod["metadata"]]
        return names[0] if names else ""

    def controller_log(self) -> list[dict[str, Any]]:
        """The controller's log."""
        text = self.node.logs(chart.NAMESPACE, self.controller_pod())
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def progress(cluster: Cluster, namespace: str) -> int:
    """Grows whenever anything happens to the search."""
    items = [*cluster.items(namespace, "candidates"), *cluster.jobs(namespace)]
    return sum(int(item["metadata"]["resourceVersion"]) for item in items)


def run_here(folder: Path, manifest: Document = TINY) -> Document:
    """The same search on this machine; its Search document at the end."""
    file = folder / "search.yaml"
    file.write_text(yaml.safe_dump(manifest), encoding="utf-8")
    command = [sys.executable, "-m", "poise_lib.cli.main", "run", str(file), "--state", str(folder / "state")]
    subprocess.run(command, check=True, capture_output=True, timeout=SEARCH_SECONDS)
    document: Document = yaml.safe_load((folder / "state" / "search.yaml").read_text(encoding="utf-8"))
    return document
