"""The pod of a task: the platform's default, the tenant's wishes over it, the hardening over both, last.

A trusted task has one container, ``task``.  ``verify`` and ``train`` run candidate code, so their pods have three, one
after the other: ``look-up`` (trusted) says whether the artifacts have the result already, ``candidate`` runs the code
and leaves files on a volume, ``task`` (trusted) judges what lies there and prints the result.  ``candidate`` gets the
input, that volume and scratch space, and nothing else: no token, no artifacts, no network.

Where an object store holds the artifacts, only trusted containers are told where it is and given its credentials, and
``candidate`` gives the network up, which it shares with them, before it does anything else.

The key of a language model is in the one container of a task that asks it (:mod:`controller.asking`), and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from controller.api import Document
from controller.asking import NOTHING, Extras
from controller.inputs import INPUT_FILE, numbered, volume
from controller.jobs import INPUT_VOLUME
from controller.settings import ObjectStoreSettings, Settings
from controller.templates import is_free, layered, merged
from poise_lib.errors import InvalidInputError
from poise_lib.resources.template import PodTemplate, Resources
from poise_lib.tasks.protocol import SPLIT_KINDS, TaskKind, time_limit

TASK_CONTAINER: Final = "task"
LOOK_UP_CONTAINER: Final = "look-up"
CANDIDATE_CONTAINER: Final = "candidate"
HANDOVER: Final = "/work/handover"
CREDENTIALS: Final = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
"""Keys of the Secret, and the variables that they become."""
USER: Final = 65532
"""The images' unprivileged user."""

_LIGHT: Final = {"requests": {"cpu": "250m", "memory": "256Mi"}, "limits": {"memory": "2Gi"}}
_HEAVY: Final = Resources(requests={"cpu": "1", "memory": "1Gi"}, limits={"memory": "6Gi"})
_HEAVY_KINDS: Final = (TaskKind.VERIFY, TaskKind.TRAIN, TaskKind.SCORE)

_ENVIRONMENT: Final = [
    {"name": "OMP_NUM_THREADS", "value": "1"},
    {"name": "MKL_NUM_THREADS", "value": "1"},
    {"name": "OPENBLAS_NUM_THREADS", "value": "1"},
    {"name": "PYTHONHASHSEED", "value": "0"},
    {"name": "HOME", "value": "/tmp"},  # noqa: S108 - a volume of the pod's own
]


def pod_template(
    kind: TaskKind,
    name: str,
    token: str,
    labels: dict[str, str],
    template: PodTemplate,
    settings: Settings,
    parts: int = 1,
    namespace: str = "",
    asking: Extras = NOTHING,
) -> Document:
    """The template of a Job's pods.

    Args:
        kind: of the task.
        name: of the Job, and of the ConfigMap with its input, or with the first part of it.
        token: that the result frame must carry; only the trusted container is given it.
        labels: of the pod.
        template: what the tenant wants of pods.
        settings: image, volume claim, and what the platform wants where the tenant says nothing.
        parts: ConfigMaps that hold its input.
        namespace: of the Job; an object store keeps artifacts of namespaces apart by it.
        asking: what a task that asks a language model is given besides; nothing to a kind that runs candidate code.

    Raises:
        InvalidInputError: the template mounts what candidate code must not see.
    """
    template = merged(settings.pod_template, template)
    volumes = template.volumes or ()
    objects = settings.artifacts.store
    if objects is None and any(item.claim_name == settings.artifacts.claim for item in volumes):
        raise InvalidInputError(
            f"evaluation.template.volumes: {settings.artifacts.claim} holds the artifacts and is not for tasks to mount"
        )
    split = kind in SPLIT_KINDS
    if split:
        asking = NOTHING
    resources = _resources(kind, template)
    given = {"name": INPUT_VOLUME, "mountPath": "/input", "readOnly": True}
    scratch = {"name": "scratch", "mountPath": "/tmp"}  # noqa: S108 - a volume of the pod's own
    shared = {"name": "work", "mountPath": "/work"}
    artifacts = [] if objects is not None else [{"name": "artifacts", "mountPath": "/artifacts"}]
    access = [] if objects is None else _access(objects)
    data = [
        {"name": f"data-{index}", "mountPath": item.mount_path, "readOnly": True} for index, item in enumerate(volumes)
    ]
    request = ["--request", *(f"/input/{file}" for file in numbered(INPUT_FILE, parts))]
    store = ["--store", "/artifacts" if objects is None else objects.of(namespace)]
    judging = ["--handed-over", HANDOVER] if split else []
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        # Of the pod and not of the Job: waiting for room, or for a quota, is no fault of a task.
        "activeDeadlineSeconds": time_limit(kind, asks_a_model=bool(asking.labels)),
        "containers": [
            _container(
                TASK_CONTAINER,
                [*request, *store, "--attempt", token, *judging],
                [given, scratch, *artifacts, *([{**shared, "readOnly": True}] if split else data), *asking.mounts],
                resources,
                settings,
                [*access, *asking.environment],
            )
        ],
        "volumes": [
            volume(name, parts),
            {"name": "scratch", "emptyDir": {"sizeLimit": "1Gi"}},
            *(
                {"name": mount["name"], "persistentVolumeClaim": {"claimName": settings.artifacts.claim}}
                for mount in artifacts
            ),
            *(
                {"name": f"data-{index}", "persistentVolumeClaim": {"claimName": item.claim_name, "readOnly": True}}
                for index, item in enumerate(volumes)
            ),
            *asking.volumes,
        ],
    }
    if split:
        own_scratch = {**scratch, "name": "candidate-scratch"}
        spec["initContainers"] = [
            _container(
                LOOK_UP_CONTAINER,
                [*request, *store, "--look-up", HANDOVER],
                [given, scratch, shared, *({**mount, "readOnly": True} for mount in artifacts)],
                _LIGHT,
                settings,
                access,
            ),
            _container(
                CANDIDATE_CONTAINER,
                [*request, "--hand-over", HANDOVER, *(["--offline"] if objects is not None else [])],
                [given, own_scratch, shared, *data],
                resources,
                settings,
            ),
        ]
        spec["volumes"] += [
            {"name": "work", "emptyDir": {"sizeLimit": "1Gi"}},
            {"name": "candidate-scratch", "emptyDir": {"sizeLimit": "1Gi"}},
        ]
    spec |= template.pod_fields()
    spec |= _HARDENING
    annotations = {name: text for name, text in template.annotations.items() if is_free(name)}
    return {"metadata": {"labels": labels, "annotations": annotations}, "spec": spec}


_HARDENING: Final[dict[str, Any]] = {
    "automountServiceAccountToken": False,
    "enableServiceLinks": False,
    "hostNetwork": False,
    "hostPID": False,
    "hostIPC": False,
    "securityContext": {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": USER,
        "fsGroup": USER,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    },
}


def _access(store: ObjectStoreSettings) -> list[dict[str, Any]]:
    """What a trusted container is told of the object store: where it is, and credentials by reference."""
    plain = {"AWS_ENDPOINT_URL": store.endpoint, "AWS_REGION": store.region}
    found: list[dict[str, Any]] = [{"name": name, "value": value} for name, value in plain.items() if value]
    if store.secret:
        found += [
            {"name": name, "valueFrom": {"secretKeyRef": {"name": store.secret, "key": name}}} for name in CREDENTIALS
        ]
    return found


def _container(
    name: str,
    arguments: list[str],
    mounts: list[dict[str, Any]],
    resources: dict[str, Any],
    settings: Settings,
    access: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    return {
        "name": name,
        "image": settings.worker_image,
        "imagePullPolicy": settings.pull_policy,
        "args": arguments,
        "env": [*_ENVIRONMENT, *access],
        "resources": resources,
        "volumeMounts": mounts,
        "terminationMessagePolicy": "FallbackToLogsOnError",  # so that a failure can be told with its reason
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "privileged": False,
            "capabilities": {"drop": ["ALL"]},
        },
    }


def _resources(kind: TaskKind, template: PodTemplate) -> dict[str, Any]:
    """The template's resources go to the tasks that train and score; the rest need little."""
    if kind not in _HEAVY_KINDS:
        return _LIGHT
    return (_HEAVY if template.resources is None else layered(_HEAVY, template.resources)).to_document()
