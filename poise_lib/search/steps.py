"""How the planner deals with one task: start it, wait, take its output, or give up.

The four outcomes are all that the rest of the planner distinguishes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from poise_lib.names import REASON_TASK_FAILED
from poise_lib.search.observed import Observed, TaskState
from poise_lib.tasks import documents as d
from poise_lib.tasks.protocol import TaskFault, TaskKind, TaskRequest

_OUTPUTS: dict[TaskKind, type[BaseModel]] = {
    TaskKind.SELECT: d.SelectOutput,
    TaskKind.PROPOSE: d.ProposeOutput,
    TaskKind.IMPLEMENT: d.ImplementOutput,
    TaskKind.VERIFY: d.VerifyOutput,
    TaskKind.TRAIN: d.TrainOutput,
    TaskKind.SCORE: d.ScoreOutput,
    TaskKind.REFLECT: d.ReflectOutput,
    TaskKind.CONCLUDE: d.ConcludeOutput,
}


@dataclass(frozen=True, slots=True)
class Waiting:
    """Not ended; ``start`` holds the request when an attempt has to be started."""

    start: TaskRequest | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """Ended with this output (camelCase document), which is valid for its kind."""

    output: dict[str, Any]


@dataclass(frozen=True, slots=True)
class GivenUp:
    """Ended without an output, for good."""

    fault: TaskFault


Step = Waiting | Done | GivenUp


def step(observed: Observed, kind: TaskKind, name: str, document: BaseModel) -> Step:
    """Where the task stands, and whether it must be started now.

    Args:
        observed: the snapshot.
        kind: of the task.
        name: of the task, deterministic.
        document: its input.
    """
    task = observed.tasks.get(name)
    if task is not None and task.state is TaskState.ENDED and task.result is not None:
        if task.result.output is not None:
            return _judged(kind, name, task.result.output)
        return GivenUp(task.result.fault or TaskFault(reason=REASON_TASK_FAILED, message="the task left nothing"))
    if task is not None and task.state is TaskState.RUNNING:
        return Waiting()
    if task is not None and task.lost_attempts >= observed.search.spec.budget.attempts:
        message = f"{name} was tried {task.lost_attempts} times without a result; last: {task.problem}"
        return GivenUp(TaskFault(reason=REASON_TASK_FAILED, message=message[:2000]))
    content = document.model_dump(mode="json", by_alias=True, exclude_none=True)
    return Waiting(start=TaskRequest(kind=kind, name=name, input=content))


def _judged(kind: TaskKind, name: str, output: dict[str, Any]) -> Step:
    """An output that does not fit its kind is a fault of this task alone: it must not stop the whole search."""
    try:
        _OUTPUTS[kind].model_validate(output)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        message = f"{name} left a result that cannot be used: {where}: {first['msg']}"
        return GivenUp(TaskFault(reason=REASON_TASK_FAILED, message=message[:2000]))
    return Done(output)
