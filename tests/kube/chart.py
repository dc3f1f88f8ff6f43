"""The chart, rendered or installed by helm."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from controller.pods import USER
from controller.settings import ArtifactSettings
from tests.kube.assets import Assets
from tests.kube.client import Client, Document
from tests.kube.cluster import ROOT, ControlPlane

CHART: Final = ROOT / "charts" / "poise"
RELEASE: Final = "poise"
NAMESPACE: Final = "poise-system"
ACCOUNT: Final = "poise-controller"
"""The controller's service account, Deployment and lease."""
KUBERNETES: Final = "1.34.0"


class HelmError(Exception):
    """helm failed; the message is what it wrote."""


def helm(assets: Assets, *arguments: str, stdin: str = "", kubeconfig: str = os.devnull) -> str:
    """Run helm.

    Raises:
        MissingError: it is not among the assets.
        HelmError: it failed.
    """
    environment = os.environ | {"KUBECONFIG": kubeconfig}
    command = [assets.binary("helm"), *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise HelmError(done.stderr.strip() or done.stdout.strip())
    return done.stdout


def render(assets: Assets, values: Mapping[str, Any] | None = None, namespace: str = NAMESPACE) -> list[Document]:
    """The chart's documents for these values.  Raises as :func:`helm` does."""
    options = ("--namespace", namespace, "--kube-version", KUBERNETES, "--values", "-")
    text = helm(assets, "template", RELEASE, str(CHART), *options, stdin=yaml.safe_dump(dict(values or {})))
    return [document for document in yaml.safe_load_all(text) if document]


def install(plane: ControlPlane, values: Mapping[str, Any], namespace: str = NAMESPACE, chart: Path = CHART) -> None:
    """``helm upgrade --install``, and wait until the controller is ready.  Raises as :func:`helm` does."""
    options = ("--namespace", namespace, "--create-namespace", "--wait", "--timeout", "180s", "--values", "-")
    helm(plane.assets, "upgrade", "--install", RELEASE, str(chart), *options, stdin=yaml.safe_dump(dict(values)),
         kubeconfig=str(plane.kubeconfig))  # fmt: skip


def artifacts_volume(namespace: str, folder: Path) -> Document:
    """A volume made by hand that the claim for a namespace's artifacts will bind: ``folder``, which is made here."""
    return volume(namespace, ArtifactSettings().claim, folder)


def volume(namespace: str, claim: str, folder: Path) -> Document:
    """A volume made by hand that a claim will bind: ``folder``, made here as a driver that knows fsGroup would make it."""
    folder.mkdir(parents=True, exist_ok=True)
    os.chown(folder, USER, USER)
    folder.chmod(0o2775)
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"{claim}-{namespace}"},
        "spec": {
            "capacity": {"storage": "10Gi"},
            "accessModes": ["ReadWriteOnce", "ReadWriteMany"],
            "storageClassName": "",
            "claimRef": {"namespace": namespace, "name": claim},
            "hostPath": {"path": str(folder)},
        },
    }


def grant(plane: ControlPlane, client: Client, values: Mapping[str, Any] | None = None) -> str:
    """Give the chart's rights to the controller's service account, without its Deployment; a token of that account."""
    if not any(item["metadata"]["name"] == NAMESPACE for item in client.get("/api/v1/namespaces")["items"]):
        plane.create_namespace(NAMESPACE)
    wanted = ("ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")
    documents = [document for document in render(plane.assets, values) if document["kind"] in wanted]
    plane.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(documents))
    return plane.token(NAMESPACE, ACCOUNT)
