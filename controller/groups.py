"""Several pods that train together, as one Ray cluster: an Indexed Job, and a headless Service that names its pods.

Nothing here knows Ray: each pod is told how many they are, which one it is and where the first one is
(:mod:`poise_lib.evaluation.verl.adapter.ray_nodes` does the rest).  The pods of a group may talk to one another and to
nobody else; a policy beside the Service says so, and both belong to the Job and go with it.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

from controller import egress
from controller.api import NETWORK_POLICIES, SERVICES, Document, Resource
from controller.jobs import controlled_by
from controller.outfits import Nodes
from poise_lib.names import COUNT_VARIABLE, HEAD_VARIABLE, RANK_VARIABLE
from poise_lib.tasks.protocol import TaskKind, TaskRequest

JOB_LABEL: Final = "batch.kubernetes.io/job-name"
INDEX: Final = "batch.kubernetes.io/job-completion-index"
"""Annotation of an Indexed Job's pods."""


def nodes_of(request: TaskRequest, job: str) -> Nodes | None:
    """The group that an attempt at a task needs; None where one pod is enough."""
    count = int((request.verl or {}).get("nodes", 1)) if request.kind is TaskKind.TRAIN else 1
    if count < 2:
        return None
    # A Service's name begins with a letter, which a Job's need not.
    service = f"nodes-{hashlib.sha256(job.encode()).hexdigest()[:16]}"
    return Nodes(count, service, f"{job}-0.{service}")


def environment(nodes: Nodes) -> list[dict[str, Any]]:
    """What the containers of each pod of a group are told."""
    rank = {"fieldRef": {"fieldPath": f"metadata.annotations['{INDEX}']"}}
    return [
        {"name": COUNT_VARIABLE, "value": str(nodes.count)},
        {"name": RANK_VARIABLE, "valueFrom": rank},
        {"name": HEAD_VARIABLE, "value": nodes.head},
    ]


def speaks(pod: Document) -> bool:
    """Whether a pod has something to say: of several the first one, and one that is alone."""
    return bool(pod["metadata"].get("annotations", {}).get(INDEX, "0") == "0")


def job_fields(nodes: Nodes) -> Document:
    """Of the Job: all pods at once, and the failure of one is the failure of all."""
    return {"completionMode": "Indexed", "completions": nodes.count, "parallelism": nodes.count}


def companions(job: Document) -> list[tuple[Resource, Document]]:
    """What a Job of several pods needs beside it, owned by the Job as the API server has it; nothing for one of one pod."""
    spec, metadata = job["spec"], job["metadata"]
    if spec.get("completionMode") != "Indexed":
        return []
    name, service = metadata["name"], spec["template"]["spec"]["subdomain"]
    owned = {
        "namespace": metadata["namespace"],
        "labels": metadata["labels"],
        "ownerReferences": [controlled_by("batch/v1", "Job", name, metadata["uid"])],
    }
    selector = {JOB_LABEL: name}
    headless = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": service, **owned},
        # The pods look for one another in init containers, when none of them is ready.
        "spec": {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": selector},
    }
    peers = [{"podSelector": {"matchLabels": selector}}]
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": service, **owned},
        "spec": {
            "podSelector": {"matchLabels": selector},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": peers}],
            "egress": [egress.NAMES, {"to": peers}],
        },
    }
    return [(SERVICES, headless), (NETWORK_POLICIES, policy)]
