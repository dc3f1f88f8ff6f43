"""What the planner asks for.  Every action is idempotent: names are deterministic, and "already there" is success."""

from __future__ import annotations

from dataclasses import dataclass

from poise_lib.resources import Candidate, Evaluation, Search
from poise_lib.tasks.protocol import TaskRequest


@dataclass(frozen=True, slots=True)
class StartTask:
    """Start a task, or its next attempt; a result that the artifact store holds already ends it at once."""

    request: TaskRequest


@dataclass(frozen=True, slots=True)
class Create:
    """Create an object that does not exist."""

    resource: Candidate | Evaluation


@dataclass(frozen=True, slots=True)
class Update:
    """Replace the status (and our own annotations) of an object; its spec is as observed."""

    resource: Search | Candidate | Evaluation


Action = StartTask | Create | Update
