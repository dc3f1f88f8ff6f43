"""A task's Job: its names, its labels, and how it stands.

A task keeps one name over all its attempts; an attempt is a Job of its own.  The token that a result frame must carry is
in the Job and in the trusted container, never where candidate code runs.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from controller.api import Document
from poise_lib.names import (
    ANNOTATION_INPUT,
    ANNOTATION_OUTCOME,
    ANNOTATION_PROBLEM,
    ANNOTATION_SECONDS,
    ANNOTATION_TASK,
    ANNOTATION_TOKEN,
    LABEL_ATTEMPT,
    LABEL_MANAGED_BY,
    LABEL_TASK_KIND,
    MANAGED_BY,
)

SELECTOR: Final = f"{LABEL_MANAGED_BY}={MANAGED_BY},{LABEL_ATTEMPT}"
"""Of labels: selects the Jobs of tasks, on the server."""
INPUT_VOLUME: Final = "input"
MAX_NAME: Final = 54
"""Longest task name in a Job's name; with the attempt, and the number of a pod of several, it stays within a label's 63 characters."""


class Outcome(StrEnum):
    """How a finished attempt was judged; kept on the Job, so that it is judged once."""

    RESULT = "Result"
    LOST = "Lost"
    """Counts against ``budget.attempts``."""
    DISRUPTED = "Disrupted"
    """The cluster took the pod away (eviction, preemption, drained or dead node, log gone); does not count."""


class JobState(StrEnum):
    """Where an attempt stands."""

    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


@dataclass(frozen=True, slots=True)
class JobView:
    """The part of a Job that the controller needs."""

    name: str
    namespace: str
    uid: str
    resource_version: str
    task: str
    kind: str
    attempt: int
    token: str
    stamp: str
    """Of the request that it was made for."""
    state: JobState
    reason: str
    """Why it failed, in the Job controller's words."""
    outcome: Outcome | None
    problem: str
    created: str
    search_uid: str
    """Of the Search that owns it; an earlier one of the same name has left Jobs that are not ours."""
    expiring: bool
    """A time to live was set, because its result is safe or never mattered; or it is being deleted."""
    pods: int
    """Pods that were made for it, whatever became of them."""
    inputs: tuple[str, ...]
    """The ConfigMaps with its input, which its pods wait for."""
    seconds: float | None = None
    """How long an attempt without a result ran, where that was known when it was judged."""


def pods_of(job: JobView) -> str:
    """The label selector of all pods that were made for a Job."""
    return f"batch.kubernetes.io/controller-uid={job.uid}"


def view(body: Document) -> JobView | None:
    """A Job of ours as the cache keeps it; None for a Job that is not ours.

    One that is being deleted has ended, even while its pods are stuck on a dead node.
    """
    metadata = body["metadata"]
    labels, annotations = metadata.get("labels", {}), metadata.get("annotations", {})
    if not labels.get(LABEL_ATTEMPT, "").isdecimal() or ANNOTATION_TASK not in annotations:
        return None
    status = body.get("status", {})
    conditions = {item["type"]: item for item in status.get("conditions", ()) if item["status"] == "True"}
    # FailureTarget comes at once; Failed waits for pods that may be stuck on a dead node.
    failed = conditions.get("Failed") or conditions.get("FailureTarget")
    state = JobState.SUCCEEDED if "Complete" in conditions else JobState.FAILED if failed else JobState.RUNNING
    noted = annotations.get(ANNOTATION_OUTCOME)
    outcome, problem = Outcome(noted) if noted in set(Outcome) else None, annotations.get(ANNOTATION_PROBLEM, "")
    deleting = "deletionTimestamp" in metadata
    if deleting and outcome is None:
        state, outcome, problem = JobState.FAILED, Outcome.DISRUPTED, "its Job was deleted"
    return JobView(
        name=metadata["name"],
        namespace=metadata["namespace"],
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        task=annotations[ANNOTATION_TASK],
        kind=labels.get(LABEL_TASK_KIND, ""),
        attempt=int(labels[LABEL_ATTEMPT]),
        token=annotations.get(ANNOTATION_TOKEN, ""),
        stamp=annotations.get(ANNOTATION_INPUT, ""),
        state=state,
        reason=f"{failed.get('reason', '')}: {failed.get('message', '')}" if failed else "",
        outcome=outcome,
        problem=problem,
        created=metadata["creationTimestamp"],
        search_uid=next((item["uid"] for item in metadata.get("ownerReferences", ()) if item["kind"] == "Search"), ""),
        expiring=deleting or "ttlSecondsAfterFinished" in body["spec"],
        pods=_pods(status),
        inputs=tuple(_inputs(body)),
        seconds=_number(annotations.get(ANNOTATION_SECONDS, "")),
    )


def _number(text: str) -> float | None:
    """What an annotation of ours says, which anybody may have edited."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0.0 else None


def _pods(status: Document) -> int:
    """Pods of a Job, those among them that have ended and are not in any of its sums yet."""
    uncounted = status.get("uncountedTerminatedPods") or {}
    sums = sum(status.get(name, 0) for name in ("active", "succeeded", "failed", "terminating"))
    return int(sums) + sum(len(uncounted.get(name) or ()) for name in ("succeeded", "failed"))


def _inputs(body: Document) -> Iterator[str]:
    """What the pods' input volume names; a Job's template never changes.  One that is not ours may lack all of it."""
    for volume in body["spec"].get("template", {}).get("spec", {}).get("volumes") or ():
        if volume["name"] == INPUT_VOLUME:
            for source in (volume.get("projected") or {"sources": [volume]}).get("sources") or ():
                if "configMap" in source:
                    yield source["configMap"].get("name", "")


def controlled_by(api_version: str, kind: str, name: str, uid: str | None) -> Document:
    """The owner reference of what goes with an object."""
    return {"apiVersion": api_version, "kind": kind, "name": name, "uid": uid, "controller": True}


def job_name(task: str, attempt: int) -> str:
    """Name of an attempt's Job; a task name that is too long keeps its head and gets a digest."""
    if len(task) > MAX_NAME:
        task = f"{task[: MAX_NAME - 9]}-{hashlib.sha256(task.encode()).hexdigest()[:8]}"
    return f"{task}-{attempt}"
