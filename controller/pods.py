"""The pod of a task: the platform's default, the tenant's wishes over it, the hardening over both, last.

A trusted task has one container, ``task``.  ``verify`` and ``train`` run candidate code, so their pods have three, one
after the other: ``look-up`` (trusted) says whether the artifacts have the result already, ``candidate`` runs the code
and leaves files on a volume, ``task`` (trusted) judges what lies there and prints the result.  ``candidate`` gets the
input, that volume and scratch space, and nothing else: no token, no artifacts, no network.

Where an object store holds the artifacts, only trusted containers are told where it is and given its credentials, and
``candidate`` gives the network up, which it shares with them, before it does anything else.

The key of a language model is in the one container of a task that asks it (:mod:`controller.asking`), and nowhere else.

Training by VeRL is such a pod too, with what :mod:`controller.outfits` adds to it: its ``candidate`` alone gets the GPUs
and the volume with checkpoints.  Ray needs sockets, so that this container does not give the network up by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from controller import groups
from controller.api import Document
from controller.asking import NOTHING, Extras
from controller.inputs import INPUT_FILE, numbered, volume
from controller.jobs import INPUT_VOLUME
from controller.outfits import LIGHT, Outfit, VerlTask, outfit
from controller.settings import ObjectStoreSettings, Settings
from controller.templates import is_free, merged
from poise_lib.errors import InvalidInputError
from poise_lib.resources.template import PodTemplate, Resources
from poise_lib.tasks.protocol import SPLIT_KINDS, TaskKind

TASK_CONTAINER: Final = "task"
LOOK_UP_CONTAINER: Final = "look-up"
CANDIDATE_CONTAINER: Final = "candidate"
HANDOVER: Final = "/work/handover"
CHECKPOINTS: Final = "/checkpoints"
CREDENTIALS: Final = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
"""Keys of the Secret, and the variables that they become."""
USER: Final = 65532
"""The images' unprivileged user."""

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
    verl: VerlTask | None = None,
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
        verl: what a task of engine verl is asked for.

    Raises:
        InvalidInputError: the template mounts what candidate code must not see, or does not fit the engine's settings.
    """
    template = merged(settings.pod_template, template)
    _refuse_the_artifacts(template, settings)
    split = kind in SPLIT_KINDS
    if split:
        asking = NOTHING
    objects = settings.artifacts.store
    wear = outfit(kind, template, settings, bool(asking.labels), verl)
    given = {"name": INPUT_VOLUME, "mountPath": "/input", "readOnly": True}
    scratch = {"name": "scratch", "mountPath": "/tmp"}  # noqa: S108 - a volume of the pod's own
    shared = {"name": "work", "mountPath": "/work"}
    artifacts = [] if objects is not None else [{"name": "artifacts", "mountPath": "/artifacts"}]
    access = [] if objects is None else _access(objects)
    data = [
        {"name": f"data-{index}", "mountPath": item.mount_path, "readOnly": True}
        for index, item in enumerate(wear.volumes)
    ]
    memory = [{"name": "shm", "mountPath": "/dev/shm"}] if wear.shared_memory else []  # noqa: S108 - a volume of the pod's own
    models, nccl = (
        [{"name": name, "value": value} for name, value in variables.items()]
        for variables in (wear.environment, wear.nccl)
    )
    group = [] if wear.nodes is None else groups.environment(wear.nodes)
    request = ["--request", *(f"/input/{file}" for file in numbered(INPUT_FILE, parts))]
    store = ["--store", "/artifacts" if objects is None else objects.of(namespace)]
    judging = ["--handed-over", HANDOVER] if split else []
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        # Of the pod and not of the Job: waiting for room, or for a quota, is no fault of a task.
        "activeDeadlineSeconds": wear.seconds,
        "containers": [
            _container(
                TASK_CONTAINER,
                [*request, *store, "--attempt", token, *judging],
                [
                    given,
                    scratch,
                    *artifacts,
                    *([{**shared, "readOnly": True}] if split else memory),
                    *(data if wear.judge_sees_volumes or not split else []),
                    *asking.mounts,
                ],
                wear.judging if split else wear.resources,
                wear.image,
                settings,
                [*access, *asking.environment, *models, *group],
            )
        ],
        "volumes": [
            volume(name, parts),
            {"name": "scratch", "emptyDir": {"sizeLimit": wear.room}},
            *(
                {"name": mount["name"], "persistentVolumeClaim": {"claimName": settings.artifacts.claim}}
                for mount in artifacts
            ),
            *(
                {"name": f"data-{index}", "persistentVolumeClaim": {"claimName": item.claim_name, "readOnly": True}}
                for index, item in enumerate(wear.volumes)
            ),
            *(
                {"name": item["name"], "emptyDir": {"medium": "Memory", "sizeLimit": wear.shared_memory}}
                for item in memory
            ),
            *asking.volumes,
        ],
    }
    if split:
        own_scratch = {**scratch, "name": "candidate-scratch"}
        kept = _checkpoints(wear)
        spec["initContainers"] = [
            _container(
                LOOK_UP_CONTAINER,
                [*request, *store, "--look-up", HANDOVER],
                [given, scratch, shared, *({**mount, "readOnly": True} for mount in artifacts)],
                LIGHT,
                wear.image,
                settings,
                access,
            ),
            _container(
                CANDIDATE_CONTAINER,
                [
                    *request,
                    "--hand-over",
                    HANDOVER,
                    *(["--offline"] if objects is not None and verl is None else []),
                    *(["--checkpoints", CHECKPOINTS] if kept else []),
                ],
                [given, own_scratch, shared, *data, *memory, *kept],
                wear.resources,
                wear.image,
                settings,
                [*models, *nccl, *group],
            ),
        ]
        spec["volumes"] += [
            {"name": "work", "emptyDir": {"sizeLimit": wear.room}},
            {"name": "candidate-scratch", "emptyDir": {"sizeLimit": wear.room}},
            *({"name": mount["name"], "persistentVolumeClaim": {"claimName": wear.checkpoint_claim}} for mount in kept),
        ]
    if wear.nodes is not None:
        spec["subdomain"] = wear.nodes.service
    spec |= template.pod_fields()
    spec |= _HARDENING
    annotations = {name: text for name, text in template.annotations.items() if is_free(name)}
    return {"metadata": {"labels": labels, "annotations": annotations}, "spec": spec}


def _refuse_the_artifacts(template: PodTemplate, settings: Settings) -> None:
    """No task mounts the claim with the artifacts other than we do."""
    if settings.artifacts.store is not None:
        return
    wanted = [("volumes", item.claim_name) for item in template.volumes or ()]
    wanted += [("checkpointClaim", template.checkpoint_claim or "")]
    for field, claim in wanted:
        if claim == settings.artifacts.claim:
            raise InvalidInputError(
                f"evaluation.template.{field}: {claim} holds the artifacts and is not for tasks to mount"
            )


def _checkpoints(wear: Outfit) -> list[dict[str, Any]]:
    """The mount of a folder that outlives an attempt, seen by this training alone."""
    if wear.checkpoint_claim is None:
        return []
    return [{"name": "checkpoints", "mountPath": CHECKPOINTS, "subPath": wear.place}]


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
    resources: Resources,
    image: str,
    settings: Settings,
    access: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": settings.pull_policy,
        "args": arguments,
        "env": [*_ENVIRONMENT, *access],
        "resources": resources.to_document(),
        "volumeMounts": mounts,
        "terminationMessagePolicy": "FallbackToLogsOnError",  # so that a failure can be told with its reason
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "privileged": False,
            "capabilities": {"drop": ["ALL"]},
        },
    }
