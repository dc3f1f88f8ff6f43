"""Tasks as the planner sees them, from all of their attempts.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

from controller.jobs import JobState, JobView, Outcome
from poise_lib.search import TaskObservation, TaskState
from poise_lib.tasks.protocol import TaskResult

MAX_DISRUPTIONS: Final = 50
"""Attempts that the cluster took away before the task counts as lost after all."""
FREE_DISRUPTIONS: Final = 3
"""Attempts taken away after which the next one still starts at once."""
FIRST_PAUSE: Final = 10.0
LONGEST_PAUSE: Final = 300.0


def observe(
    jobs: Iterable[JobView], results: Mapping[str, TaskResult], faults: Mapping[str, TaskResult], now: float
) -> dict[str, TaskObservation]:
    """Every task of a search.

    Args:
        jobs: all attempts.
        results: read from logs, by the uid of the Job.
        faults: of tasks that could not even be started, by the name of the task.
        now: seconds since the epoch.
    """
    tasks = {task: _task(task, tried, results, now) for task, tried in attempts(jobs).items()}
    return tasks | {task: TaskObservation(task, TaskState.ENDED, fault) for task, fault in faults.items()}


def attempts(jobs: Iterable[JobView]) -> dict[str, list[JobView]]:
    """The attempts at every task, the first first; those for other input than the last one's are none of them."""
    found: dict[str, list[JobView]] = {}
    for job in sorted(jobs, key=lambda job: job.attempt):
        mine = found.setdefault(job.task, [])
        if mine and mine[-1].stamp != job.stamp:
            mine.clear()
        mine.append(job)
    return found


def _task(task: str, jobs: list[JobView], results: Mapping[str, TaskResult], now: float) -> TaskObservation:
    for job in jobs:
        if job.outcome is Outcome.RESULT and job.uid in results:
            return TaskObservation(task, TaskState.ENDED, results[job.uid], stamp=job.stamp)
    if any(job.state is JobState.RUNNING for job in jobs):
        return TaskObservation(task, TaskState.RUNNING, stamp=jobs[-1].stamp)
    last = jobs[-1]
    lost = sum(job.outcome is Outcome.LOST for job in jobs)
    disrupted = sum(job.outcome is Outcome.DISRUPTED for job in jobs)
    if last.outcome is Outcome.DISRUPTED and not last.expiring and age(last, now) < pause(disrupted):
        return TaskObservation(task, TaskState.RUNNING, stamp=last.stamp)
    return TaskObservation(
        task,
        TaskState.LOST,
        lost_attempts=lost + max(0, disrupted - MAX_DISRUPTIONS),
        problem=last.problem or last.reason,
        lost_seconds=last.seconds,
        stamp=last.stamp,
    )


def pause(disrupted: int) -> float:
    """Seconds between two starts of a task that the cluster keeps taking away."""
    if disrupted <= FREE_DISRUPTIONS:
        return 0.0
    return float(min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (disrupted - FREE_DISRUPTIONS - 1)))


def age(job: JobView, now: float) -> float:
    """Seconds since the Job was created."""
    return now - datetime.fromisoformat(job.created).timestamp()
