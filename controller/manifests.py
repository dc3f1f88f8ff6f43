"""The documents that the controller writes beside the custom resources: Jobs, claims, policies."""

from __future__ import annotations

import secrets
from typing import Final

from controller import egress
from controller.api import CLAIMS, NETWORK_POLICIES, Document, Resource
from controller.asking import extras
from controller.groups import job_fields, nodes_of
from controller.jobs import controlled_by, job_name
from controller.outfits import verl_task
from controller.pods import pod_template
from controller.settings import ObjectStoreSettings, Settings
from poise_lib.names import (
    ANNOTATION_INPUT,
    ANNOTATION_TASK,
    ANNOTATION_TOKEN,
    API_VERSION,
    LABEL_ATTEMPT,
    LABEL_MANAGED_BY,
    LABEL_SEARCH,
    LABEL_TASK_KIND,
    MANAGED_BY,
)
from poise_lib.resources import Search
from poise_lib.resources.engine import Engine
from poise_lib.tasks.protocol import SPLIT_KINDS, TaskKind, TaskRequest

LABEL_UNTRUSTED: Final = "poise.dev/untrusted"
POLICY_NAME: Final = "poise-tasks"
STORE_POLICY_NAME: Final = "poise-tasks-artifacts"


def job(request: TaskRequest, attempt: int, search: Search, settings: Settings, parts: int = 1) -> Document:
    """The Job of one attempt, whose input has this many parts.

    Raises:
        InvalidInputError: the search's template asks for what it must not have.
    """
    name, token = job_name(request.name, attempt), secrets.token_hex(16)
    labels = _labels(search.metadata.name) | {LABEL_TASK_KIND: request.kind.value, LABEL_ATTEMPT: str(attempt)}
    if request.kind in SPLIT_KINDS:
        labels[LABEL_UNTRUSTED] = "true"
    asking = extras(request, search)
    labels |= asking.labels
    own = {**labels, "kueue.x-k8s.io/queue-name": search.spec.queue_name} if search.spec.queue_name else labels
    template = search.spec.evaluation.template
    if request.kind is TaskKind.VERIFY and search.spec.evaluation.engine is Engine.VERL:
        template = template.model_copy(update={"resources": None})  # they are meant for language models
    nodes = nodes_of(request, name)
    body: Document = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": search.metadata.namespace,
            "labels": own,
            "annotations": {
                ANNOTATION_TASK: request.name,
                ANNOTATION_INPUT: request.stamp,
                ANNOTATION_TOKEN: token,
            },
            "ownerReferences": [controlled_by(API_VERSION, "Search", search.metadata.name, search.metadata.uid)],
        },
        "spec": {
            "backoffLimit": 0,
            **({} if nodes is None else job_fields(nodes)),
            "template": pod_template(
                request.kind,
                name,
                token,
                labels,
                template,
                settings,
                parts,
                search.metadata.namespace or "",
                asking,
                verl_task(request, nodes),
            ),
        },
    }
    if search.spec.queue_name:
        # Kueue admits a Job by taking this back; who starts unsuspended was never queued.
        body["spec"]["suspend"] = True
    return body


def claim(namespace: str, settings: Settings) -> Document:
    """The volume claim that holds a namespace's artifacts; shared by its searches, kept when they go."""
    wanted = settings.artifacts
    spec: Document = {
        "accessModes": [wanted.access_mode],
        "resources": {"requests": {"storage": wanted.size}},
    }
    if wanted.storage_class is not None:
        spec["storageClassName"] = wanted.storage_class
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": wanted.claim, "namespace": namespace, "labels": {LABEL_MANAGED_BY: MANAGED_BY}},
        "spec": spec,
    }


def network_policy(namespace: str) -> Document:
    """No task's pod talks to anybody; what they exchange goes over volumes.  Needs a policy engine to have effect.

    Where the artifacts are in an object store, :func:`store_policy` opens the way to it; :mod:`controller.policies` opens
    the way to a language model, for the tasks that ask it.
    """
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": POLICY_NAME, "namespace": namespace, "labels": {LABEL_MANAGED_BY: MANAGED_BY}},
        "spec": {
            "podSelector": {"matchLabels": {LABEL_MANAGED_BY: MANAGED_BY}},
            "policyTypes": ["Ingress", "Egress"],
        },
    }


def store_policy(namespace: str, store: ObjectStoreSettings) -> Document:
    """What the pods of tasks may reach where an object store holds the artifacts; added to :func:`network_policy`.

    A policy of its own, so that it also comes to namespaces that were prepared before the store was chosen.  It cannot
    tell the containers of a pod apart: the one with candidate code gives the network up by itself, and has no credentials.
    """
    default: list[Document] = [
        egress.NAMES,
        {"to": [*egress.anywhere(), {"namespaceSelector": {}}], "ports": [{"protocol": "TCP", "port": store.port}]},
    ]
    policy = network_policy(namespace)
    policy["metadata"]["name"] = STORE_POLICY_NAME
    policy["spec"] |= {"policyTypes": ["Egress"], "egress": list(store.egress) or default}
    return policy


def preparations(namespace: str, settings: Settings) -> list[tuple[Resource, Document]]:
    """What a namespace needs before tasks run in it."""
    store = settings.artifacts.store
    policy = (NETWORK_POLICIES, network_policy(namespace))
    if store is None:
        return [(CLAIMS, claim(namespace, settings)), policy]
    return [policy, (NETWORK_POLICIES, store_policy(namespace, store))]


def _labels(search: str) -> dict[str, str]:
    return {LABEL_MANAGED_BY: MANAGED_BY, LABEL_SEARCH: search}
