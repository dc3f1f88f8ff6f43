"""What the planner sees: objects that exist, and tasks as they stand.  Never events."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, ValuesView
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property

from poise_lib.archive.convert import entries
from poise_lib.archive.entry import Entry
from poise_lib.archive.objective import objective_of
from poise_lib.resources import Candidate, Evaluation, Search
from poise_lib.resources.base import seconds
from poise_lib.resources.candidate import FINAL_CANDIDATE_PHASES
from poise_lib.resources.objective import Objective
from poise_lib.search.naming import candidate_name
from poise_lib.tasks.protocol import TaskResult


class TaskState(StrEnum):
    """How a task stands."""

    RUNNING = "Running"
    ENDED = "Ended"
    """With a result: an output or a fault."""
    LOST = "Lost"
    """The last attempt left no result; whether it is tried again is the planner's decision."""


@dataclass(frozen=True, slots=True)
class TaskObservation:
    """One task, by its deterministic name.  A task that was never started is not observed."""

    name: str
    state: TaskState
    result: TaskResult | None = None
    lost_attempts: int = 0
    """Attempts that ended without a result."""
    problem: str = ""
    """Why the last attempt was lost."""
    lost_seconds: float | None = None
    """How long the last lost attempt ran, where the shell knows."""
    stamp: str = ""
    """Of the request that it was started with; empty when that is not known."""


class Asked(Mapping[str, TaskObservation]):
    """Tasks by name, remembering which ones a plan asked about."""

    def __init__(self, tasks: Mapping[str, TaskObservation]) -> None:
        self.tasks = tasks
        self.names: set[str] = set()

    def __getitem__(self, name: str) -> TaskObservation:
        self.names.add(name)
        found = self.tasks.get(name)
        if found is None:
            raise KeyError(name)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self.tasks)

    def __len__(self) -> int:
        return len(self.tasks)

    def values(self) -> ValuesView[TaskObservation]:
        """All of them; nobody has asked about any one."""
        return self.tasks.values()


@dataclass(frozen=True)
class Observed:
    """A snapshot of one search.

    ``now`` is seconds since the epoch; it decides nothing but the deadline and the times in conditions.
    """

    search: Search
    candidates: Mapping[str, Candidate] = field(default_factory=dict)
    evaluations: Mapping[str, Evaluation] = field(default_factory=dict)
    tasks: Mapping[str, TaskObservation] = field(default_factory=dict)
    now: float = 0.0
    blocked: str = ""
    """What keeps tasks from starting, in one sentence for people; it decides a condition, and that no training waits for what
    may be refused in every plan."""

    def peek(self, name: str) -> TaskObservation | None:
        """A task, without asking for it as the plan does for what it needs."""
        return (self.tasks.tasks if isinstance(self.tasks, Asked) else self.tasks).get(name)

    @cached_property
    def entries(self) -> tuple[Entry, ...]:
        """The archive: final candidates in the order of (round, slot, name)."""
        return entries(self.candidates.values())

    @cached_property
    def ordered_candidates(self) -> tuple[Candidate, ...]:
        """All candidates in the order of (round, slot, name)."""
        return tuple(sorted(self.candidates.values(), key=lambda c: (c.spec.round, c.spec.slot, c.metadata.name)))

    @cached_property
    def root(self) -> Candidate | None:
        """The baseline."""
        return self.candidates.get(candidate_name(self.search.metadata.name, 0, 0))

    @cached_property
    def settled_objective(self) -> Objective | None:
        """The objective that counts; None while it waits for the baseline's scores."""
        root = self.root
        found = objective_of(self.search, root.status.metrics if root is not None else {})
        if found is None and root is not None and root.status.phase in FINAL_CANDIDATE_PHASES:
            return self.search.spec.objective  # there will be no scores
        return found

    @cached_property
    def objective(self) -> Objective:
        """The same, or spec.objective while that waits."""
        return self.settled_objective or self.search.spec.objective

    @property
    def named_objective(self) -> Objective | None:
        """The same where it says more than the suite does, for tasks that need not know the suite's."""
        return self.objective if self.objective.metrics or self.objective.constraints else None

    @cached_property
    def deadline_passed(self) -> bool:
        """Whether the wall-clock budget is used up."""
        deadline, start = self.search.spec.budget.deadline, self.search.status.start_time
        if deadline is None or start is None:
            return False
        return self.now - from_timestamp(start) >= seconds(deadline)


def timestamp(now: float) -> str:
    """RFC 3339 in UTC, to the second, as Kubernetes writes times."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def from_timestamp(text: str) -> float:
    """Seconds since the epoch of an RFC 3339 time."""
    return datetime.fromisoformat(text).timestamp()
