"""A scripted language model in the cluster: its image, and the objects that serve it with a key."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

import yaml

from tests.kube.client import Document
from tests.kube.cluster import ROOT
from tests.kube.images import build
from tests.kube.project_images import TAG, WORKER

IMAGE: Final = f"localhost/poise-scripted:{TAG}"
NAME: Final = "scripted"
MODEL: Final = "scripted"
PORT: Final = 8000


def build_image(folder: Path) -> Path:
    """The image as a docker archive in ``folder``; the worker's has to be built before.

    Raises:
        MissingError: buildah is missing, or this is not root.
        BuildError: the build failed.
    """
    context = folder / "context"
    shutil.copytree(ROOT / "tests" / "llm", context / "llm", ignore=shutil.ignore_patterns("__pycache__"))
    dockerfile = Path(__file__).parent / "scripted.Dockerfile"
    arguments = {"WORKER": f"{WORKER}:{TAG}"}
    return build(context, IMAGE, folder / "scripted.tar", dockerfile=dockerfile, arguments=arguments)


def address(namespace: str) -> str:
    """What ``baseURL`` is to be."""
    return f"http://{NAME}.{namespace}.svc/v1"


def documents(namespace: str, key: str) -> list[Document]:
    """A Deployment that answers whoever knows the key, its Service, and the Secret with the script, which holds the key."""
    script = yaml.safe_dump({"models": [MODEL], "key": key})
    labels = {"app": NAME}
    container = {
        "name": NAME,
        "image": IMAGE,
        "imagePullPolicy": "Never",
        "ports": [{"containerPort": PORT}],
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": PORT}, "periodSeconds": 1},
        "volumeMounts": [{"name": "script", "mountPath": "/script", "readOnly": True}],
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    pod = {"containers": [container], "volumes": [{"name": "script", "secret": {"secretName": NAME}}]}
    metadata = {"name": NAME, "namespace": namespace}
    return [
        {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"script.yaml": script}},
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        },
        {
            # Another port than the pod's, as Services have it: the way to it must be open all the same.
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": PORT}]},
        },
    ]
