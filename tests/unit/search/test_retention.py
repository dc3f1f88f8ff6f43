"""Trained weights at the end of a search: which go, once, and what a search that goes on makes of it."""

from __future__ import annotations

import random

import pytest

from poise_lib.resources.search import SearchPhase
from poise_lib.search import plan
from poise_lib.search.retention import removable
from poise_lib.tasks.protocol import TaskFault, TaskKind, TaskRequest, TaskResult
from tests.unit.search.world import World, answer, make_search


def finished(checkpoints: str, candidates: int = 6, crash: float = 0.0) -> tuple[World, list[str]]:
    """A finished search, and the weights that it had removed."""
    removed: list[str] = []

    def respond(request: TaskRequest) -> TaskResult:
        if request.kind is TaskKind.COLLECT:
            removed.extend(request.input["remove"])
        return answer(request)

    search = make_search(budget={"candidates": candidates}, retention={"checkpoints": checkpoints})
    world = World(search, respond)
    world.run(random.Random(3), crash=crash)
    assert world.search.status.phase is SearchPhase.COMPLETE
    return world, removed


def weights(world: World, *candidates: str) -> set[str]:
    return {
        run.status.policy
        for run in world.evaluations.values()
        if run.status.policy is not None and (not candidates or run.spec.candidate in candidates)
    }


def test_the_best_and_the_baseline_stay() -> None:
    world, removed = finished("Best")
    best = world.search.status.best
    assert best is not None
    kept = weights(world, "s-000-0", best.candidate)
    assert kept
    assert set(removed) == weights(world) - kept
    assert len(removed) == len(set(removed))


@pytest.mark.parametrize(("checkpoints", "left"), [("All", True), ("None", False)])
def test_all_or_none(checkpoints: str, left: bool) -> None:
    world, removed = finished(checkpoints)
    assert set(removed) == (set() if left else weights(world))
    assert (world.search.status.collected == "") is left


def test_nothing_is_removed_while_the_best_may_yet_change() -> None:
    world = World(make_search(budget={"candidates": 6}))
    world.settle()
    while world.running:
        collecting = any("-collect-" in name for name in world.running)
        assert not collecting or all(run.status.policy for run in world.evaluations.values())
        assert (world.search.status.phase is SearchPhase.CONFIRMING) >= collecting
        world.finish(min(world.running))
        world.settle()
    assert world.search.status.phase is SearchPhase.COMPLETE


def test_it_is_done_once_even_if_every_trace_but_the_objects_is_lost() -> None:
    world, _ = finished("Best", crash=0.1)
    world.crash()
    world.store.clear()
    assert plan(world.observe()) == ()


def test_a_search_that_goes_on_removes_what_came_after() -> None:
    world, removed = finished("Best")
    before, mark = set(removed), world.search.status.collected
    more = make_search(budget={"candidates": 12}, retention={"checkpoints": "Best"})
    world.search = world.search.model_copy(update={"spec": more.spec})
    world.run(random.Random(4))
    assert world.search.status.phase is SearchPhase.COMPLETE
    assert world.search.status.collected not in ("", mark)
    assert set(removed) > before
    best = world.search.status.best
    assert best is not None
    assert not weights(world, "s-000-0") & set(removed)


def test_weights_that_cannot_be_removed_are_told_and_hold_nothing_up() -> None:
    def respond(request: TaskRequest) -> TaskResult:
        if request.kind is TaskKind.COLLECT:
            return TaskResult(fault=TaskFault(reason="Broken", message="read-only"))
        return answer(request)

    world = World(make_search(budget={"candidates": 4}), respond)
    world.run(random.Random(5))
    assert world.search.status.phase is SearchPhase.COMPLETE
    assert "trained weights could not be removed: read-only" in world.search.status.message


def test_weights_that_a_kept_run_shares_stay() -> None:
    world, _ = finished("Best")
    best = world.search.status.best
    assert best is not None
    shared = min(weights(world, "s-000-0"))
    other = next(run for run in world.evaluations.values() if run.spec.candidate not in ("s-000-0", best.candidate))
    status = other.status.model_copy(update={"policy": shared})
    world.evaluations[other.metadata.name] = other.model_copy(update={"status": status})
    assert shared not in removable(world.observe(), best)
