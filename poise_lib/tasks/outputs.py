"""What training and scoring leave, the same for both engines."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from poise_lib.artifacts.digest import canonical_json
from poise_lib.evaluation.trajectory import flat_summary
from poise_lib.tasks import documents as d
from poise_lib.tasks.context import TaskContext


def trained(
    context: TaskContext,
    policy: Path | None,
    trajectory: Sequence[dict[str, float]],
    started: float,
    ended: d.Ending | None = None,
) -> d.TrainOutput:
    """Store the weights and the whole trajectory; the output holds the latter with six decimal places.

    Args:
        context: of the task.
        policy: the checked weights; None where the run left none.
        trajectory: a record a step, without wall times.
        started: ``time.monotonic()`` before training.
        ended: why it ended before its last step; None: it did not.
    """
    return d.TrainOutput(
        policy=context.keep_file(policy) if policy is not None else None,
        trajectory=tuple(_rounded(record) for record in trajectory),
        trajectory_artifact=context.keep(canonical_json(trajectory)),
        summary=flat_summary(trajectory),
        seconds=_since(started),
        ended=ended,
    )


def scored(context: TaskContext, metrics: Mapping[str, float], records: bytes, started: float) -> d.ScoreOutput:
    """Store the records of the problems; metrics have six decimal places."""
    return d.ScoreOutput(metrics=_rounded(metrics), records=context.keep(records), seconds=_since(started))


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 6) for name, value in values.items()}


def _since(started: float) -> float:
    return round(time.monotonic() - started, 3)
