"""Why tasks do not start although their Jobs are there: quotas, full nodes, missing volumes, images or Secrets."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from controller.api import ANY_VERSION, EVENTS, PODS, Api, Document
from controller.attempts import age
from controller.jobs import JobState, JobView, pods_of
from poise_lib.tasks.protocol import TaskKind

PATIENCE: Final = 20.0
"""Seconds that a Job may take to start before anybody asks why."""
_CONFIG_ERROR: Final = "CreateContainerConfigError"
"""Mostly of a Secret, or a key of it, that is not there."""
_NEVER_STARTS: Final = ("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", _CONFIG_ERROR,
                        "CreateContainerError")  # fmt: skip
_LONG: Final = (TaskKind.TRAIN.value, TaskKind.SCORE.value)
"""Kinds that work for long, and are looked at last."""


def overdue(jobs: Iterable[JobView], now: float) -> list[JobView]:
    """Those that run for so long that they may stand still."""
    return [job for job in jobs if job.state is JobState.RUNNING and age(job, now) >= PATIENCE]


async def find(api: Api, slow: list[JobView]) -> str:
    """One sentence on what keeps the tasks that are overdue from starting; empty when all is well."""
    if (job := next((job for job in slow if job.pods == 0), None)) is not None:
        refused = await _refused(api, job)
        if refused:
            return f"{job.name}: {refused}"
    for job in sorted(slow, key=lambda job: job.kind in _LONG)[
        :5
    ]:  # those that stand still hide behind those that work
        pods = await api.items(PODS, job.namespace, labelSelector=pods_of(job),
                               resourceVersion=ANY_VERSION)  # fmt: skip
        for pod in pods:
            if why := _stuck(pod) or await _unmounted(api, job.namespace, pod):
                return f"{pod['metadata']['name']}: {why}"
    return ""


async def _refused(api: Api, job: JobView) -> str:
    """The Job controller's account of a pod that it could not make, such as a quota's words."""
    found = await api.items(EVENTS, job.namespace, fieldSelector=f"involvedObject.uid={job.uid},reason=FailedCreate")
    return str(found[-1].get("message", "")) if found else ""


async def _unmounted(api: Api, namespace: str, pod: Document) -> str:
    """The kubelet's account of a volume that it could not mount, such as a ConfigMap that is not there."""
    status = pod.get("status", {})
    waiting = [item.get("state", {}).get("waiting", {}).get("reason") for item in _statuses(status)]
    if status.get("phase") != "Pending" or not {"ContainerCreating", "PodInitializing"}.intersection(waiting):
        return ""
    selector = f"involvedObject.uid={pod['metadata']['uid']},reason=FailedMount"
    found = await api.items(EVENTS, namespace, fieldSelector=selector)
    return f"FailedMount: {found[-1].get('message', '')}" if found else ""


def _stuck(pod: Document) -> str:
    status = pod.get("status", {})
    if status.get("phase") != "Pending":
        return ""
    for condition in status.get("conditions", ()):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return f"{condition.get('reason', '')}: {condition.get('message', '')}"
    for container in _statuses(status):
        waiting = container.get("state", {}).get("waiting")
        if waiting and waiting.get("reason") in _NEVER_STARTS:
            told = str(waiting.get("message", ""))
            fix = _fix(pod, container["name"], told) if waiting["reason"] == _CONFIG_ERROR else ""
            return f"{waiting['reason']}: {told}{fix}"
    return ""


def _statuses(status: Document) -> list[Document]:
    return [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]


def _fix(pod: Document, container: str, told: str) -> str:
    """How to bring about the Secret that a container waits for, when the kubelet's words are of one that it names."""
    spec = pod.get("spec", {})
    for item in [*spec.get("initContainers", ()), *spec.get("containers", ())]:
        names = [variable.get("valueFrom", {}).get("secretKeyRef") for variable in item.get("env", ())]
        wanted = [name for name in names if name and item["name"] == container and _speaks_of(told, name["name"])]
        if not wanted:
            continue
        # Of a Secret that is there only a key is missing, and the kubelet says which one.
        lacking = [name for name in wanted if _speaks_of(told.partition(" in Secret")[0], name["key"])] or wanted
        secret, keys = wanted[0]["name"], [name["key"] for name in lacking]
        literals = " ".join(f"--from-literal={name['key']}=VALUE" for name in wanted)
        return (
            f"; the task needs the Secret {secret} with {' and '.join(keys)} in it: "
            f"kubectl -n {pod['metadata'].get('namespace', 'NAMESPACE')} create secret generic {secret} {literals}; "
            "the pod goes on by itself"
        )
    return ""


def _speaks_of(told: str, name: str) -> bool:
    return re.search(rf"(?<![-.\w]){re.escape(name)}(?![-.\w])", told) is not None
