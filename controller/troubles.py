"""Why tasks do not start although their Jobs are there: quotas, full nodes, missing volumes or images."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from controller.api import EVENTS, PODS, Api, Document
from controller.attempts import age
from controller.jobs import JobState, JobView

PATIENCE: Final = 20.0
"""Seconds that a Job may take to start before anybody asks why."""
_IMAGE_PROBLEMS: Final = ("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName",
                          "CreateContainerConfigError", "CreateContainerError")  # fmt: skip


async def find(api: Api, jobs: Iterable[JobView], now: float) -> str:
    """One sentence on what keeps tasks from starting; empty when all is well."""
    slow = [job for job in jobs if job.state is JobState.RUNNING and age(job, now) >= PATIENCE]
    if not slow:
        return ""
    if (job := next((job for job in slow if job.pods == 0), None)) is not None:
        refused = await _refused(api, job)
        if refused:
            return f"{job.name}: {refused}"
    for job in slow[:5]:
        pods = await api.items(PODS, job.namespace, labelSelector=f"batch.kubernetes.io/controller-uid={job.uid}")
        for pod in pods:
            if why := _stuck(pod):
                return f"{pod['metadata']['name']}: {why}"
    return ""


async def _refused(api: Api, job: JobView) -> str:
    """The Job controller's account of a pod that it could not make, such as a quota's words."""
    found = await api.items(EVENTS, job.namespace, fieldSelector=f"involvedObject.uid={job.uid},reason=FailedCreate")
    return str(found[-1].get("message", "")) if found else ""


def _stuck(pod: Document) -> str:
    status = pod.get("status", {})
    if status.get("phase") != "Pending":
        return ""
    for condition in status.get("conditions", ()):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return f"{condition.get('reason', '')}: {condition.get('message', '')}"
    for container in [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]:
        waiting = container.get("state", {}).get("waiting")
        if waiting and waiting.get("reason") in _IMAGE_PROBLEMS:
            return f"{waiting['reason']}: {waiting.get('message', '')}"
    return ""
