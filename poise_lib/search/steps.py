"""How the planner deals with one task: start it, wait, take its output, or give up.

The four outcomes are all that the rest of the planner distinguishes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from poise_lib.artifacts.digest import canonical_json, digest_of
from poise_lib.names import ENGINE_UNUSABLE, REASON_TASK_FAILED
from poise_lib.resources.base import Model
from poise_lib.resources.messages import first_problem
from poise_lib.search.observed import Observed, TaskObservation, TaskState
from poise_lib.tasks.protocol import TaskFault, TaskKind, TaskRequest

T = TypeVar("T", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Waiting:
    """Not ended; ``start`` holds the request when an attempt has to be started."""

    start: TaskRequest | None = None


@dataclass(frozen=True, slots=True)
class Done(Generic[T]):
    """Ended with this output."""

    output: T


@dataclass(frozen=True, slots=True)
class GivenUp:
    """Ended without an output, for good."""

    fault: TaskFault


def mark(document: Model) -> str:
    """Eight hexadecimal digits that stand for an input: other input is another task, whose name ends with them.

    In a cluster a task of the same kind that ended earlier may still be there.
    """
    return digest_of(canonical_json(document.to_document()))[7:15]


def step(
    observed: Observed, kind: TaskKind, name: str, document: Model, output: type[T]
) -> Waiting | Done[T] | GivenUp:
    """Where the task stands, and whether it must be started now.

    Args:
        observed: the snapshot.
        kind: of the task.
        name: of the task, deterministic.
        document: its input.
        output: the model of its output.
    """
    task = observed.tasks.get(name)
    if task is not None and task.state is TaskState.RUNNING:
        return Waiting()
    request = TaskRequest(kind=kind, name=name, input=document.to_document())
    if task is not None and outdated(task, request):
        return Waiting(start=request)  # that was for an object whose name another one has now, or before an edit
    if task is not None and task.state is TaskState.ENDED and task.result is not None:
        if task.result.output is not None:
            return _judged(name, task.result.output, output)
        return GivenUp(task.result.fault or TaskFault(reason=REASON_TASK_FAILED, message="the task left nothing"))
    if task is not None and task.lost_attempts >= observed.search.spec.budget.attempts:
        message = f"{name} was tried {task.lost_attempts} times without a result; last: {task.problem}"
        return GivenUp(TaskFault(reason=REASON_TASK_FAILED, message=message[:2000]))
    return Waiting(start=request)


def outdated(task: TaskObservation, request: TaskRequest) -> bool:
    """Whether a task was started with other input than is asked for now.

    One of another build has the benefit of the doubt, but not for a fault of the machine: the upgrade may have mended it.
    """
    fault = task.result.fault if task.result is not None else None
    if fault is not None and fault.reason in ENGINE_UNUSABLE:
        return task.stamp not in ("", request.stamp)
    return request.differs(task.stamp)


def _judged(name: str, document: dict[str, Any], output: type[T]) -> Done[T] | GivenUp:
    """An output that does not fit its model is a fault of this task alone: it must not stop the whole search."""
    try:
        return Done(output.model_validate(document))
    except ValidationError as error:
        message = f"{name} left a result that cannot be used: {first_problem(error)}"
        return GivenUp(TaskFault(reason=REASON_TASK_FAILED, message=message[:2000]))
