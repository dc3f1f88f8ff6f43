"""How far trainings are while they run, for people to see: off the progress lines of the container with candidate code.

Untrusted code writes that log.  Two whole numbers are read off its end and nothing else, and nothing depends on them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from controller.api import ANY_VERSION, PODS, Api, ApiError
from controller.attempts import age
from controller.groups import speaks
from controller.jobs import JobState, JobView, pods_of
from controller.pods import CANDIDATE_CONTAINER
from poise_lib.resources import Evaluation
from poise_lib.resources.evaluation import EvaluationPhase
from poise_lib.search.naming import run_of
from poise_lib.tasks.protocol import FrameReader, TaskKind

LOOK_SECONDS: Final = 25.0
"""A training that is over sooner is not looked at, and none is looked at more often."""
LINES: Final = 20
BYTES: Final = 64 * 1024
MAX_STEPS: Final = 10_000_000


@dataclass(slots=True)
class Follower:
    """Looks at the trainings of all searches, each once in a while."""

    api: Api
    looked: dict[str, float] = field(default_factory=dict)
    """When, by the uid of the Job."""

    async def look(
        self, jobs: Iterable[JobView], evaluations: Mapping[str, Evaluation], now: float
    ) -> list[Evaluation]:
        """The evaluations of a search that are further than their status says, with what they say now."""
        found = []
        for job in jobs:
            run = evaluations.get(run_of(job.task, TaskKind.TRAIN)) if job.kind == TaskKind.TRAIN.value else None
            if run is None or job.state is not JobState.RUNNING:
                self.looked.pop(job.uid, None)
                continue
            due = max(self.looked.get(job.uid, 0.0), now - age(job, now)) + LOOK_SECONDS
            if run.status.phase is not EvaluationPhase.TRAINING or now < due:
                continue
            self.looked[job.uid] = now
            progress = await self._progress(job)
            if progress and progress != run.status.progress:
                found.append(run.model_copy(update={"status": run.status.model_copy(update={"progress": progress})}))
        return found

    async def _progress(self, job: JobView) -> str:
        try:
            pods = await self.api.items(PODS, job.namespace, labelSelector=pods_of(job), resourceVersion=ANY_VERSION)
            for pod in pods:
                if speaks(pod):
                    name = pod["metadata"]["name"]
                    return progress_of(await self.api.tail(job.namespace, name, CANDIDATE_CONTAINER, LINES, BYTES))
        except (ApiError, OSError):  # the container has not started, or the log is gone: the next look may tell
            pass
        return ""


def current_only(run: Evaluation) -> Evaluation:
    """An evaluation without the progress of a training that is over."""
    if run.status.progress is None or run.status.phase is EvaluationPhase.TRAINING:
        return run
    return run.model_copy(update={"status": run.status.model_copy(update={"progress": None})})


def progress_of(log: str) -> str:
    """The last progress that a log tells, as "step/steps" or "step"; empty where it tells none that makes sense."""
    reader = FrameReader("")
    for line in log.split("\n"):
        reader.feed(line)
    step, steps = (_number(reader.progress.get(name)) for name in ("step", "steps"))
    if step is None or (steps is not None and step > steps):
        return ""
    return str(step) if steps is None else f"{step}/{steps}"


def _number(value: Any) -> int | None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return value if whole and 0 <= value <= MAX_STEPS else None
