"""Retention: once a search has ended, trained weights that are not to be kept are removed, by a task of their own."""

from __future__ import annotations

from dataclasses import dataclass

from poise_lib.resources.evaluation import FINAL_EVALUATION_PHASES
from poise_lib.resources.search import Best, Checkpoints
from poise_lib.search.actions import StartTask
from poise_lib.search.naming import candidate_name
from poise_lib.search.observed import Observed
from poise_lib.search.steps import Done, GivenUp, Waiting, mark, step
from poise_lib.tasks.documents import CollectInput, CollectOutput
from poise_lib.tasks.protocol import TaskKind


@dataclass(frozen=True, slots=True)
class Collection:
    """How far it is."""

    actions: tuple[StartTask, ...] = ()
    ended: bool = False
    collected: str = ""
    """Stands for what has been removed now; kept in the status, so that nothing is removed again."""
    message: str = ""


def removable(observed: Observed, best: Best | None) -> tuple[str, ...]:
    """Digests of trained weights that spec.retention does not keep, sorted; none that another run keeps too."""
    wanted = observed.search.spec.retention.checkpoints
    if wanted is Checkpoints.ALL or (wanted is Checkpoints.BEST and best is None):
        return ()
    keepers = {candidate_name(observed.search.metadata.name, 0, 0), best.candidate if best is not None else ""}
    if wanted is Checkpoints.NONE:
        keepers = set()
    weights = [(run, run.status.policy) for run in observed.evaluations.values() if run.status.policy is not None]
    done = {policy for run, policy in weights if run.status.phase in FINAL_EVALUATION_PHASES}
    kept = {
        policy
        for run, policy in weights
        if run.spec.candidate in keepers or run.status.phase not in FINAL_EVALUATION_PHASES
    }
    return tuple(sorted(done - kept))


def plan_retention(observed: Observed, best: Best | None) -> Collection:
    """What retention needs next, for a search in which nothing else is left to do."""
    remove = removable(observed, best)
    if not remove:
        return Collection(ended=True)
    document = CollectInput(remove=remove)
    this = mark(document)
    if observed.search.status.collected == this:
        return Collection(ended=True)
    name = f"{observed.search.metadata.name}-collect-{this}"
    match step(observed, TaskKind.COLLECT, name, document, CollectOutput):
        case Done():
            return Collection(ended=True, collected=this)
        case GivenUp(fault):
            # What is left over costs room and nothing else.
            return Collection(ended=True, message=f"trained weights could not be removed: {fault.message}")
        case Waiting(start):
            return Collection(actions=(StartTask(start),) if start is not None else ())
