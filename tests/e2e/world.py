"""What the end-to-end tests do with a cluster: namespaces with volumes, a tiny search, and waiting for its end."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from tests.kube import chart
from tests.kube.client import Document, namespaced
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
    },
}
"""Everything that a search does, at the smallest size: what it finds means nothing."""


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

    def controller_pod(self) -> str:
        """Name of the controller's pod that is not on its way out."""
        pods = self.items(chart.NAMESPACE, "pods", "v1")
        names = [pod["metadata"]["name"] for pod in pods if "deletionTimestamp" not in pod["metadata"]]
        return names[0] if names else ""

    def controller_log(self) -> list[dict[str, Any]]:
        """The controller's log."""
        text = self.node.logs(chart.NAMESPACE, self.controller_pod())
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def run_here(folder: Path, manifest: Document = TINY) -> Document:
    """The same search on this machine; its Search document at the end."""
    file = folder / "search.yaml"
    file.write_text(yaml.safe_dump(manifest), encoding="utf-8")
    command = [sys.executable, "-m", "poise_lib.cli.main", "run", str(file), "--state", str(folder / "state")]
    subprocess.run(command, check=True, capture_output=True, timeout=SEARCH_SECONDS)
    document: Document = yaml.safe_load((folder / "state" / "search.yaml").read_text(encoding="utf-8"))
    return document
