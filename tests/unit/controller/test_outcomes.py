"""How attempts are judged, off pod documents as clusters write them; and Jobs as the cache keeps them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.api import MAX_LOG_BYTES, ApiError
from controller.attempts import FREE_DISRUPTIONS, LONGEST_PAUSE, MAX_DISRUPTIONS, observe, pause
from controller.jobs import JobState, JobView, Outcome, view
from controller.outcomes import Judged, judge, record
from poise_lib.search import TaskState
from poise_lib.tasks.protocol import TaskFault, TaskResult, frame, progress_line
from tests.unit.controller.double import CREATED, FakeApi, Server

TOKEN = "a" * 32
RESULT = TaskResult(output={"text": "two\u2028lines\x85and more"})
KILLED = {"reason": "OOMKilled", "exitCode": 137}


def job_document(**changes: Any) -> dict[str, Any]:
    return {
        "kind": "Job",
        "metadata": {
            "name": "t-1",
            "namespace": "default",
            "uid": "job-uid",
            "resourceVersion": "7",
            "creationTimestamp": CREATED,
            "labels": {"poise.dev/attempt": "1", "poise.dev/task-kind": "train", "poise.dev/search": "s"},
            "annotations": {"poise.dev/task": "t", "poise.dev/attempt-token": TOKEN},
            "ownerReferences": [{"kind": "Search", "uid": "search-uid"}],
            **changes.pop("metadata", {}),
        },
        "spec": {},
        **changes,
    }


def seen(condition: str, reason: str = "BackoffLimitExceeded") -> JobView:
    conditions = [{"type": condition, "status": "True", "reason": reason, "message": "it has failed"}]
    found = view(job_document(status={"conditions": conditions}))
    assert found is not None
    return found


def judged(job: JobView, pod: dict[str, Any] | None, log: str | Exception = "", *more: dict[str, Any]) -> Judged:
    server = Server()
    api = FakeApi(server)
    for number, one in enumerate(item for item in (pod, *more) if item is not None):
        labels = {"batch.kubernetes.io/controller-uid": "job-uid"}
        metadata = {"name": f"p{number}" if number else "p", "labels": labels, **one.pop("metadata", {})}
        server.create("pods", "default", {"kind": "Pod", "metadata": metadata, "status": one})
    if isinstance(log, Exception):

        def fail(method: str, path: str) -> None:
            if "/log" in path:
                raise log

        api.before = fail
    else:
        server.logs["p"] = log
    return asyncio.run(judge(api, job))


def ended(**state: Any) -> dict[str, Any]:
    return {"phase": "Failed", "containerStatuses": [{"name": "task", "state": {"terminated": state}}]}


def disrupted_by(reason: str) -> dict[str, Any]:
    condition = {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": "taken away"}
    return ended(exitCode=137, reason="Error") | {"conditions": [condition]}


LOW = "The node was low on resource: memory. Container task was using 1Gi, request is 512Mi, which exceeds its request."
DISRUPTED = {
    "node pressure": {"phase": "Failed", "reason": "Evicted", "message": LOW},
    "eviction API": disrupted_by("EvictionByEvictionAPI"),
    "preemption": disrupted_by("PreemptionByScheduler"),
    "taint of a dead node": disrupted_by("DeletionByTaintManager"),
    "garbage of a lost node": disrupted_by("DeletionByPodGC"),
    "node lost": {"phase": "Unknown", "reason": "NodeLost", "message": "Node n which was running pod p is unresponsive"},
    "node shut down": {"phase": "Failed", "reason": "Terminated", "message": "Pod was terminated in response to imminent node shutdown."},
    "critical pod": {"phase": "Failed", "reason": "Preempting", "message": "Preempted in order to admit critical pod"},
    "no room after all": {"phase": "Failed", "reason": "OutOfcpu", "message": "Node didn't have enough resource: cpu"},
    "device plugin": {"phase": "Failed", "reason": "UnexpectedAdmissionError", "message": "Allocate failed"},
    "waited for a Secret to the end": {
        "phase": "Failed", "reason": "DeadlineExceeded",
        "containerStatuses": [{"name": "task", "state": {"waiting": {"reason": "CreateContainerConfigError"}}}],
    },
    "waited for a Secret to the end, as newer kubelets tell it": {
        **ended(exitCode=137, reason="ContainerStatusUnknown", startedAt=None), "reason": "DeadlineExceeded",
    },
    "deleted while running": {"phase": "Running", "metadata": {"deletionTimestamp": CREATED}},
}  # fmt: skip


@pytest.mark.parametrize("case", DISRUPTED)
def test_what_the_cluster_does_to_a_pod_is_no_failure(case: str) -> None:
    found = judged(seen("Failed"), {**DISRUPTED[case]})
    assert found.outcome is Outcome.DISRUPTED
    assert found.problem


def test_a_pod_that_is_gone_was_deleted() -> None:
    assert judged(seen("Failed"), None) == Judged(Outcome.DISRUPTED, "its pod was deleted")


FAILED = {
    "out of memory": (ended(**KILLED), "container task ended with OOMKilled (137)"),
    "its own last words": (ended(exitCode=3, reason="Error", message="a\nno such suite\n"), "no such suite"),
    "no words that move a terminal": (ended(exitCode=1, reason="Error", message="\x1b[2Jgone\n"), "(1): [2Jgone"),
    "candidate's container": (
        {"phase": "Failed", "initContainerStatuses": [{"name": "candidate", "state": {"terminated": KILLED}}]},
        "container candidate ended with OOMKilled",
    ),
    "deadline": (
        {**ended(exitCode=137, reason="Error"), "reason": "DeadlineExceeded", "message": "Pod was active on the node longer"},
        "DeadlineExceeded: Pod was active",
    ),
    "deadline, and nobody knows what became of its container": (
        {**ended(exitCode=137, reason="ContainerStatusUnknown", startedAt=CREATED), "reason": "DeadlineExceeded"},
        "DeadlineExceeded",
    ),
    "deadline while the second container waited": (
        {"phase": "Failed", "reason": "DeadlineExceeded",
         "initContainerStatuses": [{"name": "look-up", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}],
         "containerStatuses": [{"name": "task", "state": {"waiting": {"reason": "PodInitializing"}}}]},
        "DeadlineExceeded",
    ),
    "filled its scratch": (
        {"phase": "Failed", "reason": "Evicted", "message": 'Usage of EmptyDir volume "work" exceeds the limit "1Gi". '},
        "exceeds the limit",
    ),
    "filled its layer": (
        {"phase": "Failed", "reason": "Evicted", "message": 'Container task exceeded its local ephemeral storage limit "1Gi". '},
        "ephemeral storage",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FAILED)
def test_what_a_task_does_to_itself_counts(case: str) -> None:
    pod, text = FAILED[case]
    found = judged(seen("Failed"), {**pod})
    assert found.outcome is Outcome.LOST
    assert text in found.problem


def test_a_deadline_of_the_job_counts_although_its_pod_was_deleted_for_it() -> None:
    pod = {"phase": "Running", "metadata": {"deletionTimestamp": CREATED}}
    found = judged(seen("FailureTarget", "DeadlineExceeded"), pod)
    assert found.outcome is Outcome.LOST
    assert judged(seen("Failed", "DeadlineExceeded"), None).outcome is Outcome.LOST


def took(start: str, end: str) -> dict[str, Any]:
    state = {"terminated": {"exitCode": 0, "startedAt": f"2026-01-01T{start}Z", "finishedAt": f"2026-01-01T{end}Z"}}
    return {"phase": "Succeeded", "initContainerStatuses": [{"name": "candidate", "state": state}]}


def test_how_long_a_candidate_trained_is_the_kubelets_word() -> None:
    trained = TaskResult(output={"seconds": 2.5, "policy": "p"})
    found = judged(seen("Complete"), took("00:59:50", "02:00:00"), frame(trained.to_document(), TOKEN)).result
    assert found is not None
    assert found.output == {"seconds": 3612.5, "policy": "p"}
    fault = TaskResult(fault=TaskFault(reason="R", message="m"), seconds=1.0)
    found = judged(seen("Complete"), took("00:00:00", "00:00:09"), frame(fault.to_document(), TOKEN)).result
    assert found is not None
    assert found.seconds == 10.0
    log = frame(RESULT.to_document(), TOKEN)
    assert judged(seen("Complete"), took("00:00:00", "00:00:09"), log).result == RESULT, "it tells no time"


def rank(number: int, status: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    """A pod of an Indexed Job."""
    index = {"batch.kubernetes.io/job-completion-index": str(number)}
    return {**status, "metadata": {"annotations": index, **metadata}}


def test_of_several_pods_the_first_one_has_the_result() -> None:
    log = frame(RESULT.to_document(), TOKEN)
    done = {"phase": "Succeeded"}
    assert judged(seen("Complete"), rank(0, done), log, rank(1, done)).result == RESULT
    assert judged(seen("Complete"), rank(1, done), log).outcome is Outcome.DISRUPTED, "another's log is not read"


def test_one_of_several_pods_that_fails_counts_although_the_others_are_deleted_for_it() -> None:
    others = rank(0, {"phase": "Running"}, deletionTimestamp=CREATED)
    found = judged(seen("Failed"), others, "", rank(1, ended(**KILLED)))
    assert found == Judged(Outcome.LOST, "container task ended with OOMKilled (137)")


RAN = {"startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T01:00:00Z"}


@pytest.mark.parametrize("reason", ["BackoffLimitExceeded", "DeadlineExceeded"])
def test_how_long_an_attempt_ran_that_left_no_result_stays_with_its_job(reason: str) -> None:
    """By the kubelet's clock; of several pods that which ran longest, because each has its GPUs all the while."""
    hour, minute = ended(**KILLED, **RAN), ended(**KILLED, **{**RAN, "finishedAt": "2026-01-01T00:01:00Z"})
    job = replace(seen("Failed"), reason=f"{reason}: why")
    found = judged(job, rank(0, minute), "", rank(1, hour))
    assert (found.outcome, found.seconds) == (Outcome.LOST, 3600.0)
    server = Server()
    server.create("jobs", "default", job_document())
    kept = view(asyncio.run(record(FakeApi(server), job, found)))
    assert kept is not None
    assert kept.seconds == 3600.0
    lost = observe([replace(kept, state=JobState.FAILED)], {}, {}, LATER)[kept.task]
    assert (lost.lost_attempts, lost.lost_seconds) == (1, 3600.0)


@pytest.mark.parametrize("text", ["", "long", "nan", "-1", "inf"])
def test_an_edited_time_is_none(text: str) -> None:
    found = view(job_document(metadata={"annotations": {"poise.dev/task": "t", "poise.dev/seconds": text}}))
    assert found is not None
    assert found.seconds is None


def test_one_of_several_pods_that_the_cluster_takes_away_is_no_failure_whatever_the_others_say() -> None:
    failed = rank(0, ended(exitCode=1, reason="Error", message="a node is gone"))
    assert (
        judged(seen("Failed"), failed, "", rank(1, disrupted_by("PreemptionByScheduler"))).outcome is Outcome.DISRUPTED
    )
    deleted = {"phase": "Running"}
    both = [rank(number, dict(deleted), deletionTimestamp=CREATED) for number in (0, 1)]
    assert judged(seen("Failed"), both[0], "", both[1]) == Judged(Outcome.DISRUPTED, "its pod was deleted")


def test_a_result_is_read_between_progress_and_noise() -> None:
    log = f"{progress_line({'step': 1})}\nnoise\n{frame(RESULT.to_document(), TOKEN)}"
    assert judged(seen("Complete"), {"phase": "Succeeded"}, log) == Judged(Outcome.RESULT, "", RESULT)


@pytest.mark.parametrize(
    "log",
    [
        "",
        "no frame at all\n",
        frame(RESULT.to_document(), "b" * 32),
        frame(RESULT.to_document(), TOKEN)[:-9],
        frame(RESULT.to_document(), TOKEN) * 2,
        frame({"output": {"score": 99}}, "0" * 32) + "poise-result\n",
        ApiError(404, "NotFound", "the log is gone"),
        ApiError(500, "InternalError", "dial tcp: connect: connection refused"),
        TimeoutError(),
    ],
)
def test_a_log_without_this_attempts_one_frame_gives_no_result_and_is_asked_for_again(log: str | Exception) -> None:
    found = judged(seen("Complete"), {"phase": "Succeeded"}, log)
    assert (found.outcome, found.result) == (Outcome.DISRUPTED, None)
    assert judged(seen("Complete"), None, log).outcome is Outcome.DISRUPTED


def test_a_forged_frame_beside_the_real_one_changes_nothing() -> None:
    log = frame({"output": {"score": 99}}, "0" * 32) + frame(RESULT.to_document(), TOKEN)
    assert judged(seen("Complete"), {"phase": "Succeeded"}, log).result == RESULT


def test_an_overloaded_api_server_is_asked_again_before_anything_is_done_again() -> None:
    with pytest.raises(ApiError):
        judged(seen("Complete"), {"phase": "Succeeded"}, ApiError(429, "TooManyRequests", "later"))


def test_results_of_another_version_and_endless_logs_count_as_failures() -> None:
    found = judged(seen("Complete"), {"phase": "Succeeded"}, frame({"unheardOf": 1}, TOKEN))
    assert found.outcome is Outcome.LOST
    assert "not of this controller's version" in found.problem
    assert judged(seen("Complete"), {"phase": "Succeeded"}, "x" * MAX_LOG_BYTES).outcome is Outcome.LOST
    for log in (frame({"unheardOf": 1}, TOKEN), "x" * MAX_LOG_BYTES):
        assert judged(seen("Complete"), took("00:00:00", "00:00:09"), log).seconds == 9.0


def test_views_of_jobs() -> None:
    running = view(job_document())
    assert running is not None
    assert (running.state, running.outcome, running.attempt, running.expiring) == (JobState.RUNNING, None, 1, False)
    assert running.search_uid == "search-uid"
    assert seen("Complete").state is JobState.SUCCEEDED
    assert seen("Failed").reason == "BackoffLimitExceeded: it has failed"
    assert seen("FailureTarget").state is JobState.FAILED
    assert seen("Suspended").state is JobState.RUNNING
    kept = view(job_document(metadata={"annotations": {"poise.dev/task": "t", "poise.dev/outcome": "Lost"}}))
    assert kept is not None
    assert kept.outcome is Outcome.LOST
    gone = view(job_document(metadata={"deletionTimestamp": CREATED}))
    assert gone is not None
    assert (gone.state, gone.outcome, gone.expiring) == (JobState.FAILED, Outcome.DISRUPTED, True)
    spec = view(job_document(spec={"ttlSecondsAfterFinished": 5}))
    assert spec is not None
    assert spec.expiring


@pytest.mark.parametrize("metadata", [{"labels": {}}, {"annotations": {}}, {"labels": {"poise.dev/attempt": "first"}}])
def test_jobs_of_others_are_left_alone(metadata: dict[str, Any]) -> None:
    assert view(job_document(metadata=metadata)) is None


def attempt(number: int, outcome: Outcome | None, state: JobState = JobState.FAILED) -> JobView:
    document = job_document(metadata={"uid": f"uid-{number}", "name": f"t-{number}"})
    document["metadata"]["labels"] = {**document["metadata"]["labels"], "poise.dev/attempt": str(number)}
    found = view(document)
    assert found is not None
    return JobView(**{name: getattr(found, name) for name in JobView.__slots__} | {"outcome": outcome, "state": state})


LATER = 1e12


@given(lost=st.integers(0, 5), disrupted=st.integers(0, MAX_DISRUPTIONS + 5))
def test_disruptions_do_not_count_until_there_are_too_many(lost: int, disrupted: int) -> None:
    outcomes = [Outcome.LOST] * lost + [Outcome.DISRUPTED] * disrupted
    jobs = [attempt(number, outcome) for number, outcome in enumerate(outcomes, 1)]
    tasks = observe(jobs, {}, {}, LATER)
    if jobs:
        assert tasks["t"].state is TaskState.LOST
        assert tasks["t"].lost_attempts == lost + max(0, disrupted - MAX_DISRUPTIONS)


def test_a_result_counts_whatever_else_was_tried_and_a_fault_needs_no_job() -> None:
    jobs = [attempt(1, Outcome.DISRUPTED), attempt(2, Outcome.RESULT), attempt(3, None, JobState.RUNNING)]
    assert observe(jobs, {"uid-2": RESULT}, {}, 0.0)["t"].result == RESULT
    assert observe(jobs, {}, {}, 0.0)["t"].state is TaskState.RUNNING
    fault = TaskResult(fault=TaskFault(reason="r", message="m"))
    assert observe([], {}, {"big": fault}, 0.0)["big"].result == fault


def test_pauses_grow_and_are_bounded() -> None:
    pauses = [pause(count) for count in range(MAX_DISRUPTIONS + 10)]
    assert pauses == sorted(pauses)
    assert pauses[FREE_DISRUPTIONS] == 0.0
    assert pauses[FREE_DISRUPTIONS + 1] > 0.0
    assert pauses[-1] == LONGEST_PAUSE


@pytest.mark.parametrize(
    ("status", "pods"),
    [
        ({}, 0),
        ({"active": 1}, 1),
        ({"uncountedTerminatedPods": {"succeeded": ["a"]}}, 1),  # ended, and in none of the sums yet
        ({"failed": 1, "terminating": 1, "uncountedTerminatedPods": {"succeeded": [], "failed": ["b"]}}, 3),
        ({"succeeded": 1, "uncountedTerminatedPods": {}}, 1),
    ],
)
def test_a_pod_that_has_ended_is_counted_at_every_moment(status: dict[str, object], pods: int) -> None:
    found = view(job_document(status=status))
    assert found is not None
    assert found.pods == pods
