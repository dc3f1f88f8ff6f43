"""How a finished attempt ended, read off its Job, its pod and its log; judged once and kept on the Job."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from pydantic import ValidationError

from controller.api import ANY_VERSION, JOBS, MAX_LOG_BYTES, PODS, Api, ApiError, Document
from controller.groups import speaks
from controller.jobs import JobState, JobView, Outcome, pods_of
from controller.pods import CANDIDATE_CONTAINER, TASK_CONTAINER
from poise_lib.names import ANNOTATION_OUTCOME, ANNOTATION_PROBLEM, ANNOTATION_SECONDS
from poise_lib.tasks.protocol import FrameReader, TaskResult

MAX_PROBLEM: Final = 1000
DEADLINE: Final = "DeadlineExceeded"
DELETED: Final = "its pod was deleted"
_TAKEN_AWAY: Final = ("Evicted", "NodeLost", "Preempting", "Shutdown", "Terminated", "NodeShutdown")
_OWN_STORAGE: Final = re.compile(r"exceeds the (total )?limit|exceeded its local ephemeral storage limit")
"""The kubelet's words when a pod filled its own volumes; a node that is short of something says other things."""


@dataclass(frozen=True, slots=True)
class Judged:
    """An attempt's end."""

    outcome: Outcome
    problem: str = ""
    result: TaskResult | None = None
    seconds: float | None = None
    """How long an attempt without a result ran, by the kubelet's clock; None where nobody knows any more."""


async def judge(api: Api, job: JobView) -> Judged:
    """Why the attempt ended, and its result if it has one."""
    selector = pods_of(job)
    if job.state is JobState.SUCCEEDED:
        # What the server remembers is there at once, and nearly always enough: its newest state takes up to 0.2 s more.
        remembered = await api.items(PODS, job.namespace, labelSelector=selector, resourceVersion=ANY_VERSION)
        if (done := _succeeded(remembered)) is not None:
            return await _result(api, job, done)
    pods = await api.items(PODS, job.namespace, labelSelector=selector)
    if job.state is JobState.SUCCEEDED:
        return await _result(api, job, _succeeded(pods))
    ran = running_seconds(pods)
    if DEADLINE in job.reason:
        return Judged(Outcome.LOST, job.reason[:MAX_PROBLEM], seconds=ran)
    if taken := next((text for pod in pods if (text := disruption(pod))), ""):
        return Judged(Outcome.DISRUPTED, taken)
    # When one of several pods has failed, the Job controller deletes the others: that is no disruption.
    failed = [pod for pod in pods if not deleted(pod)]
    if not failed:
        return Judged(Outcome.DISRUPTED, DELETED)
    why = next((text for pod in failed if (text := container_failure(pod))), "") or job.reason
    return Judged(Outcome.LOST, why[:MAX_PROBLEM], seconds=ran)


def _succeeded(pods: list[Document]) -> Document | None:
    """The pod that has the result."""
    return next((pod for pod in pods if speaks(pod) and pod.get("status", {}).get("phase") == "Succeeded"), None)


async def _result(api: Api, job: JobView, done: Document | None) -> Judged:
    if done is None:
        return Judged(Outcome.DISRUPTED, "its pod, and with it the log, was gone before it was read")
    try:
        text = await api.log(job.namespace, done["metadata"]["name"], TASK_CONTAINER)
    except (ApiError, OSError) as error:
        if isinstance(error, ApiError) and error.status == 429:
            raise
        return Judged(Outcome.DISRUPTED, f"its log could not be read: {error}"[:MAX_PROBLEM])
    reader = FrameReader(job.token)
    try:
        for line in text.split("\n"):  # only these end a line: a JSON string may hold other separators as they are
            reader.feed(line)
    except ValidationError as error:
        problem = f"its result is not of this controller's version: {error.errors()[0]['msg']}"
        return Judged(Outcome.LOST, problem[:MAX_PROBLEM], seconds=running_seconds([done]))
    if len(text) >= MAX_LOG_BYTES and reader.accepted is None:
        problem = f"its log is longer than {MAX_LOG_BYTES} bytes"
        return Judged(Outcome.LOST, problem, seconds=running_seconds([done]))
    if reader.accepted is None:
        return Judged(Outcome.DISRUPTED, reader.problem or "its log holds no result of this attempt")
    return Judged(Outcome.RESULT, "", timed(reader.accepted, done))


def timed(result: TaskResult, pod: Document) -> TaskResult:
    """The result with the time that the candidate took, by the kubelet's clock.

    The trusted container, which made the result, has only seen its own time, and what the other one says of its is the word of
    untrusted code.
    """
    spent = sum(_seconds(item) for item in _containers(pod) if item.get("name") == CANDIDATE_CONTAINER)
    if not spent:
        return result
    if result.output is not None and "seconds" in result.output:
        output = {**result.output, "seconds": round(result.output["seconds"] + spent, 3)}
        return result.model_copy(update={"output": output})
    if result.seconds is not None:
        return result.model_copy(update={"seconds": round(result.seconds + spent, 3)})
    return result


def running_seconds(pods: list[Document]) -> float | None:
    """How long the containers of an attempt ran, of several pods the one that ran longest; None where none tells."""
    spent = [sum(map(_seconds, _containers(pod))) for pod in pods]
    return max(spent, default=0.0) or None


def _seconds(container: Document) -> float:
    """From the start to the end of a container that has ended; both are whole seconds."""
    final = container.get("state", {}).get("terminated") or {}
    if not (final.get("startedAt") and final.get("finishedAt")):
        return 0.0
    start, end = (datetime.fromisoformat(final[name]) for name in ("startedAt", "finishedAt"))
    return max(0.0, (end - start).total_seconds())


def disruption(pod: Document) -> str:
    """Why the cluster took a pod away; empty when it did not."""
    status = pod.get("status", {})
    if _OWN_STORAGE.search(status.get("message", "")):
        return ""
    for condition in status.get("conditions", ()):
        if condition["type"] == "DisruptionTarget" and condition["status"] == "True":
            return f"{condition.get('reason', 'disrupted')}: {condition.get('message', '')}"[:MAX_PROBLEM]
    reason = status.get("reason", "")
    never_ran = status.get("phase") == "Failed" and not _containers(pod)  # the kubelet did not admit it
    if reason in _TAKEN_AWAY or (never_ran and reason and reason != DEADLINE):
        return f"{reason}: {status.get('message', '')}"[:MAX_PROBLEM]
    if reason == DEADLINE and _containers(pod) and not any(map(_may_have_started, _containers(pod))):
        return "its containers never started: something that they need was not there in time"
    return ""


def deleted(pod: Document) -> bool:
    """Whether somebody deleted a pod before it had ended."""
    return "deletionTimestamp" in pod["metadata"] and pod.get("status", {}).get("phase") != "Failed"


def _may_have_started(container: Document) -> bool:
    """Whether a container of a pod that has ended may ever have run; of one that waits for a Secret the kubelet knows nothing."""
    final = container.get("state", {}).get("terminated")
    if final is None:
        return "running" in container.get("state", {})
    return bool(final.get("startedAt")) or final.get("reason") != "ContainerStatusUnknown"


def container_failure(pod: Document) -> str:
    """What ended the containers of a failed pod, as a sentence."""
    status = pod.get("status", {})
    if status.get("reason"):
        return f"{status['reason']}: {status.get('message', '')}"
    for container in _containers(pod):
        final = container.get("state", {}).get("terminated")
        if final and final.get("exitCode"):
            last = (final.get("message") or "").strip().splitlines()
            detail = f": {_printable(last[-1])}" if last else ""
            return f"container {container['name']} ended with {final.get('reason')} ({final['exitCode']}){detail}"
    return str(status.get("message", ""))


def _printable(text: str) -> str:
    """Without control characters: a candidate's container may have written it."""
    return "".join(character for character in text if character.isprintable())


def _containers(pod: Document) -> list[dict[str, Any]]:
    status = pod.get("status", {})
    return [*status.get("containerStatuses", ()), *status.get("initContainerStatuses", ())]


async def record(api: Api, job: JobView, judged: Judged, ttl: int | None = None) -> Document:
    """Keep the judgement on the Job; with ``ttl`` also let it go after that many seconds."""
    annotations = {ANNOTATION_OUTCOME: judged.outcome.value, ANNOTATION_PROBLEM: judged.problem or None}
    if judged.seconds is not None:
        annotations[ANNOTATION_SECONDS] = f"{judged.seconds:g}"
    body: Document = {"metadata": {"annotations": annotations}}
    if ttl is not None:
        body["spec"] = {"ttlSecondsAfterFinished": ttl}
    return await api.patch(JOBS, job.namespace, job.name, body)
