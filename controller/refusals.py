"""What the API server will not take: a quota, an admission rule, a template that is wrong.

It is told in a condition, and not asked for again until a while has passed; everything else of the search goes on.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from controller.cache import Broken
from poise_lib.search import Action, Create, StartTask, Update

HOLD_SECONDS: Final = 30.0
TASKS: Final = "tasks"
"""One task refused, and no other is started either: they all meet the same quota or template."""


@dataclass(slots=True)
class Refusal:
    """What is held back, until when, and why."""

    text: str = ""
    until: float = 0.0
    held: set[str] = field(default_factory=set)

    def hold(self, what: str, text: str, seconds: float = HOLD_SECONDS) -> None:
        """Do not ask for ``what`` again for a while."""
        self.held.add(what)
        self.text = self.text or text
        self.until = max(self.until, time.monotonic() + seconds)

    @property
    def over(self) -> bool:
        """Whether it may be asked for again."""
        return time.monotonic() >= self.until

    @property
    def seconds(self) -> float:
        """Until then."""
        return max(0.1, self.until - time.monotonic())


def subject(action: Action) -> str:
    """What an action is about."""
    if isinstance(action, StartTask):
        return TASKS
    return f"{action.resource.kind} {action.resource.metadata.name}"


def first_in_the_way(actions: Iterable[Action], broken: list[Broken]) -> str:
    """Whether something nobody can read bears a name that is wanted, in a sentence; empty when not."""
    wanted = {subject(action) for action in actions if isinstance(action, Create)}
    for item in broken:
        if f"{item.kind} {item.name}" in wanted:
            return f"{item.kind} {item.name} does not fit its model ({item.problem}): repair it or delete it"
    return ""


def can_be_told(action: Action) -> bool:
    """Whether a refusal can be told in the search's status; not that of this very status."""
    return not (isinstance(action, Update) and action.resource.kind == "Search")
