"""The confirmation of a search's best, when not all of its runs finish."""

from __future__ import annotations

import random

from poise_lib.resources.search import SearchPhase
from poise_lib.search import plan
from poise_lib.tasks.protocol import TaskFault, TaskKind, TaskRequest, TaskResult
from tests.unit.search.world import World, answer, make_search


def run(failing: tuple[str, ...], **confirmation: object) -> World:
    """A finished search in which the confirmation trainings whose names begin so failed."""

    def respond(request: TaskRequest) -> TaskResult:
        if request.kind is TaskKind.TRAIN and "-confirm-" in request.name and request.name.startswith(failing):
            return TaskResult(fault=TaskFault(reason="TrainingFailed", message="out of memory"))
        return answer(request)

    settings = {"top": 2, "seeds": 2, **confirmation}
    world = World(make_search(budget={"candidates": 6}, evaluation={"confirmation": settings}), respond)
    world.run(random.Random(0))
    assert world.search.status.phase is SearchPhase.COMPLETE
    return world


def confirmed(world: World) -> list[str]:
    best = world.search.status.best
    assert best is not None
    assert best.confirmation is not None
    return [best.confirmation.candidate, *(other.candidate for other in best.others)]


def test_the_correction_counts_a_contender_that_dropped_out() -> None:
    both = confirmed(run(failing=("none",)))
    world = run(failing=(f"{both[1]}-",))
    assert confirmed(world) == both[:1]
    best = world.search.status.best
    assert best is not None
    assert best.corrected_for == 2
    assert "corrected for 2" in world.search.status.message
    world.crash()
    world.store.clear()
    assert plan(world.observe()) == ()


def test_a_baseline_that_fails_its_confirmation_is_said_plainly() -> None:
    message = run(failing=("s-000-0-",)).search.status.message
    assert "the baseline's confirmation runs failed (0 of 2 finished" in message
    assert "nothing could be compared" in message
    assert "s-000-0-confirm-500: out of memory" in message
    one_left = run(failing=("s-000-0-confirm-500",)).search.status.message
    assert "(1 of 2 finished" in one_left


def test_a_search_without_confirmation_does_not_claim_that_nothing_was_better() -> None:
    world = run(failing=("none",), top=0)
    assert world.search.status.best is not None
    assert world.search.status.best.candidate != "s-000-0"
    assert "no candidate beat the baseline" not in world.search.status.message


def test_a_new_conclusion_is_a_task_of_its_own() -> None:
    """In a cluster the Job of the last conclusion may still be there when other settings ask for another."""
    world = run(failing=("none",), top=1)
    first = {name for name in world.started if "conclude" in name}
    wider = make_search(budget={"candidates": 6}, evaluation={"confirmation": {"top": 2, "seeds": 2}})
    world.search = world.search.model_copy(update={"spec": wider.spec})
    world.run(random.Random(1))
    assert world.search.status.phase is SearchPhase.COMPLETE
    assert len(confirmed(world)) == 2
    assert {name for name in world.started if "conclude" in name} > first
