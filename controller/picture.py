"""What one reconcile works on: a search as it stands, and where it comes from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Protocol

from controller.api import Document
from controller.cache import Broken, Key, parse
from controller.jobs import JobView, Outcome
from poise_lib.resources import Candidate, Evaluation, Search
from poise_lib.search.status import FINAL_SEARCH_PHASES
from poise_lib.tasks.protocol import TaskRequest

Resources = Search | Candidate | Evaluation


class World(Protocol):
    """What the watch streams have brought, by search."""

    def open(self, key: Key) -> None:
        """Make ready what the others return; may be called in a thread."""

    def search(self, key: Key) -> Search | Broken | None:
        """The search itself."""

    def candidates(self, key: Key) -> Iterable[Candidate | Broken]:
        """Its candidates."""

    def evaluations(self, key: Key) -> Iterable[Evaluation | Broken]:
        """Its evaluations."""

    def jobs(self, key: Key) -> Iterable[JobView]:
        """The Jobs of its tasks."""


@dataclass(slots=True)
class Picture:
    """One search as it stands: the watch's objects under our own writes."""

    search: Search
    candidates: dict[str, Candidate]
    evaluations: dict[str, Evaluation]
    jobs: dict[str, JobView]
    broken: list[Broken]
    unrecorded: set[str] = field(default_factory=set)
    """Names of Jobs whose result was read and is not noted on them yet."""

    def read(self, job: JobView) -> None:
        """A Job's result was read: that is noted on it when all else is done, for no next step waits for the note."""
        self.jobs[job.name] = replace(job, outcome=Outcome.RESULT)
        self.unrecorded.add(job.name)

    @property
    def ended(self) -> bool:
        """Whether the search itself is over."""
        return self.search.status.phase in FINAL_SEARCH_PHASES


def whole(answer: Document) -> Resources:
    """What a write returned.

    Raises:
        RuntimeError: it does not fit its model, so neither did what was written.
    """
    item = parse(answer)
    if isinstance(item, Broken):
        raise RuntimeError(f"{item.name}: what the API server returned does not fit its model: {item.problem}")
    return item


def known(picture: Picture, resource: Resources) -> Resources:
    """A resource as the picture has it."""
    if isinstance(resource, Search):
        return picture.search
    name = resource.metadata.name
    return picture.candidates[name] if isinstance(resource, Candidate) else picture.evaluations[name]


def next_attempt(picture: Picture, request: TaskRequest) -> int:
    """Number of the attempt that a task is started with now."""
    return 1 + max((job.attempt for job in picture.jobs.values() if job.task == request.name), default=0)
