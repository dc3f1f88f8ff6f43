"""The pod of a task: the tenant's wishes first, the hardening over them, last.

A trusted task has one container, ``task``.  ``verify`` and ``train`` run candidate code, so their pods have three, one
after the other: ``look-up`` (trusted) says whether the artifacts have the result already, ``candidate`` runs the code
and leaves files on a volume, ``task`` (trusted) judges what lies there and prints the result.  ``candidate`` gets the
input, that volume and scratch space, and nothing else: no token, no artifacts, no network.
"""

from __future__ import annotations

import re
from typing import Any, Final

from controller.api import Document
from controller.settings import Settings
from poise_lib.errors import InvalidInputError
from poise_lib.resources.template import PodTemplate
from poise_lib.tasks.protocol import SPLIT_KINDS, TaskKind, time_limit

TASK_CONTAINER: Final = "task"
LOOK_UP_CONTAINER: Final = "look-up"
CANDIDATE_CONTAINER: Final = "candidate"
HANDOVER: Final = "/work/handover"
INPUT_FILE: Final = "request.json.gz"
USER: Final = 65532
"""The images' unprivileged user."""

_LIGHT: Final = {"requests": {"cpu": "250m", "memory": "256Mi"}, "limits": {"memory": "2Gi"}}
_HEAVY: Final = {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "6Gi"}}
_HEAVY_KINDS: Final = (TaskKind.VERIFY, TaskKind.TRAIN, TaskKind.SCORE)

_HARDENING_ANNOTATIONS: Final = ("apparmor.security.", "seccomp.security.", "io.kubernetes.cri-o.")
"""Parts of annotations that choose what a pod is confined by; they are the controller's business."""
_QUANTITY: Final = re.compile(r"([0-9.]+)([a-zA-Z]*)")
_UNITS: Final = {"": 1.0, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12,
                 "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40}  # fmt: skip

_ENVIRONMENT: Final = [
    {"name": "OMP_NUM_THREADS", "value": "1"},
    {"name": "MKL_NUM_THREADS", "value": "1"},
    {"name": "OPENBLAS_NUM_THREADS", "value": "1"},
    {"name": "PYTHONHASHSEED", "value": "0"},
    {"name": "HOME", "value": "/tmp"},  # noqa: S108 - a volume of the pod's own
]


def pod_template(
    kind: TaskKind, name: str, token: str, labels: dict[str, str], template: PodTemplate, settings: Settings
) -> Document:
    """The template of a Job's pods.

    Args:
        kind: of the task.
        name: of the Job, and of the ConfigMap with its input.
        token: that the result frame must carry; only the trusted container is given it.
        labels: of the pod.
        template: what the tenant wants of pods.
        settings: image and volume claim.

    Raises:
        InvalidInputError: the template mounts what candidate code must not see.
    """
    if any(volume.claim_name == settings.artifacts.claim for volume in template.volumes):
        raise InvalidInputError(
            f"evaluation.template.volumes: {settings.artifacts.claim} holds the artifacts and is not for tasks to mount"
        )
    split = kind in SPLIT_KINDS
    resources = _resources(kind, template)
    given = {"name": "input", "mountPath": "/input", "readOnly": True}
    scratch = {"name": "scratch", "mountPath": "/tmp"}  # noqa: S108 - a volume of the pod's own
    shared = {"name": "work", "mountPath": "/work"}
    artifacts = {"name": "artifacts", "mountPath": "/artifacts"}
    data = [
        {"name": f"data-{index}", "mountPath": volume.mount_path, "readOnly": True}
        for index, volume in enumerate(template.volumes)
    ]
    store = ["--store", "/artifacts"]
    judging = ["--handed-over", HANDOVER] if split else []
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        # Of the pod and not of the Job: waiting for room, or for a quota, is no fault of a task.
        "activeDeadlineSeconds": time_limit(kind),
        "containers": [
            _container(
                TASK_CONTAINER,
                [*store, "--attempt", token, *judging],
                [given, scratch, artifacts, *([{**shared, "readOnly": True}] if split else data)],
                resources,
                settings,
            )
        ],
        "volumes": [
            {"name": "input", "configMap": {"name": name}},
            {"name": "scratch", "emptyDir": {"sizeLimit": "1Gi"}},
            {"name": "artifacts", "persistentVolumeClaim": {"claimName": settings.artifacts.claim}},
            *(
                {"name": f"data-{index}", "persistentVolumeClaim": {"claimName": volume.claim_name, "readOnly": True}}
                for index, volume in enumerate(template.volumes)
            ),
        ],
    }
    if split:
        own_scratch = {**scratch, "name": "candidate-scratch"}
        spec["initContainers"] = [
            _container(
                LOOK_UP_CONTAINER,
                [*store, "--look-up", HANDOVER],
                [given, scratch, shared, {**artifacts, "readOnly": True}],
                _LIGHT,
                settings,
            ),
            _container(
                CANDIDATE_CONTAINER, ["--hand-over", HANDOVER], [given, own_scratch, shared, *data], resources, settings
            ),
        ]
        spec["volumes"] += [
            {"name": "work", "emptyDir": {"sizeLimit": "1Gi"}},
            {"name": "candidate-scratch", "emptyDir": {"sizeLimit": "1Gi"}},
        ]
    spec |= template.pod_fields()
    spec |= _HARDENING
    annotations = {
        name: text
        for name, text in template.annotations.items()
        if not any(part in name for part in _HARDENING_ANNOTATIONS)
    }
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


def _container(
    name: str, arguments: list[str], mounts: list[dict[str, Any]], resources: dict[str, Any], settings: Settings
) -> dict[str, Any]:
    return {
        "name": name,
        "image": settings.worker_image,
        "imagePullPolicy": settings.pull_policy,
        "args": ["--request", f"/input/{INPUT_FILE}", *arguments],
        "env": _ENVIRONMENT,
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
    """The tenant's resources go to the tasks that train and score; the rest need little."""
    if kind not in _HEAVY_KINDS:
        return _LIGHT
    wanted = template.resources.to_document() if template.resources is not None else {}
    requests: dict[str, str] = wanted.get("requests", {})
    limits: dict[str, str] = wanted.get("limits", {})
    # Where the tenant names one of the two only, our other one gives way: a request above its limit is refused.
    own_requests = {
        name: min(value, limits.get(name, value), key=_amount) for name, value in _HEAVY["requests"].items()
    }
    own_limits = {name: max(value, requests.get(name, value), key=_amount) for name, value in _HEAVY["limits"].items()}
    return {"requests": {**own_requests, **requests}, "limits": {**own_limits, **limits}}


def _amount(quantity: str) -> float:
    match = _QUANTITY.fullmatch(quantity)
    assert match is not None, quantity
    return float(match[1]) * _UNITS[match[2]]
