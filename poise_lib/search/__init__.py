"""The planner: ``plan(observed) -> actions``, pure, deterministic and level-triggered."""

from poise_lib.search.actions import Action, Create, StartTask, Update
from poise_lib.search.observed import Asked, Observed, TaskObservation, TaskState
from poise_lib.search.planner import plan

__all__ = ["Action", "Asked", "Create", "Observed", "StartTask", "TaskObservation", "TaskState", "Update", "plan"]
