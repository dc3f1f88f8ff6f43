"""Properties of the planner, over histories that the world in :mod:`world` makes up."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poise_lib.archive.digest import archive_digest
from poise_lib.resources.candidate import FINAL_CANDIDATE_PHASES, CandidatePhase
from poise_lib.resources.search import SearchPhase
from poise_lib.search import Create, StartTask, Update, plan
from poise_lib.tasks.protocol import TaskFault, TaskKind, TaskRequest, TaskResult
from tests.unit.search.world import World, answer, make_search


def digest(world: World) -> str:
    return archive_digest(world.search, tuple(world.candidates.values()), tuple(world.evaluations.values()))


def finished(seed: int = 0, **spec: object) -> World:
    world = World(make_search(**spec))
    world.run(random.Random(seed))
    return world


def test_a_search_ends_complete_with_its_budget_spent_and_its_best_confirmed() -> None:
    world = finished(budget={"candidates": 8})
    assert world.search.status.phase is SearchPhase.COMPLETE
    assert len(world.candidates) == 8
    assert world.search.status.counts.total == 8
    assert world.search.status.counts.active == 0
    best = world.search.status.best
    assert best is not None
    assert best.confirmation is not None
    assert best.corrected_for == 2


@given(order=st.integers(0, 2**32), seed=st.integers(0, 5))
@settings(max_examples=15)
def test_the_order_in_which_tasks_end_does_not_change_the_archive(order: int, seed: int) -> None:
    world = World(make_search(seed=seed, budget={"candidates": 7, "concurrent": 4}))
    world.run(random.Random(order))
    other = World(make_search(seed=seed, budget={"candidates": 7, "concurrent": 1}))
    other.run(random.Random(0))
    assert digest(world) == digest(other)


@given(order=st.integers(0, 2**32))
@settings(max_examples=20)
def test_a_search_stopped_anywhere_and_resumed_ends_in_the_same_archive(order: int) -> None:
    spec = {"budget": {"candidates": 7, "concurrent": 3, "attempts": 10}}
    world = World(make_search(**spec))
    world.run(random.Random(order), crash=0.2, lose=0.05)
    assert digest(world) == digest(finished(**spec))


@given(order=st.integers(0, 2**32), stop=st.integers(0, 60))
@settings(max_examples=30)
def test_planning_is_pure_and_applying_twice_changes_nothing(order: int, stop: int) -> None:
    world = World(make_search(budget={"candidates": 7, "concurrent": 3}))
    chance = random.Random(order)
    for _ in range(stop):
        world.apply(plan(world.observe()))
        if world.running:
            world.finish(chance.choice(sorted(world.running)))
    observed = world.observe()
    actions = plan(observed)
    assert plan(observed) == actions
    world.apply(actions)
    once = (world.search, dict(world.candidates), dict(world.evaluations), dict(world.running))
    world.apply(actions)
    assert (world.search, world.candidates, world.evaluations, world.running) == once


@given(
    order=st.integers(0, 2**32), candidates=st.integers(1, 9), concurrent=st.integers(1, 5), parents=st.integers(1, 4)
)
@settings(max_examples=25)
def test_budgets_are_never_exceeded_and_every_search_ends(
    order: int, candidates: int, concurrent: int, parents: int
) -> None:
    for mode in ("Rounds", "Continuous"):
        world = World(
            make_search(
                budget={"candidates": candidates, "concurrent": concurrent},
                strategy={"mode": mode, "parentsPerRound": parents},
            )
        )
        world.run(random.Random(order), lose=0.1)
        assert world.search.status.phase in (SearchPhase.COMPLETE, SearchPhase.FAILED)
        assert len(world.candidates) <= candidates
        assert world.most_running <= concurrent
        assert all(candidate.status.phase in FINAL_CANDIDATE_PHASES for candidate in world.candidates.values())


def test_a_finished_search_plans_nothing_even_after_a_restart() -> None:
    world = finished()
    before = (world.search, dict(world.candidates), dict(world.evaluations))
    world.crash()
    world.store.clear()
    world.now += 1e6
    assert plan(world.observe()) == ()
    assert (world.search, world.candidates, world.evaluations) == before


def test_no_task_is_run_twice_when_nothing_is_lost() -> None:
    world = finished(budget={"candidates": 10})
    assert len(world.started) == len(set(world.started))


def test_a_bigger_budget_goes_on_where_the_search_ended() -> None:
    world = finished(budget={"candidates": 4})
    names = set(world.candidates)
    spec = world.search.spec
    bigger = spec.model_copy(update={"budget": spec.budget.model_copy(update={"candidates": 7})})
    world.search = world.search.model_copy(update={"spec": bigger})
    world.run(random.Random(1))
    assert world.search.status.phase is SearchPhase.COMPLETE
    assert names < set(world.candidates)
    assert len(world.candidates) == 7


def test_a_suspended_search_starts_nothing_and_goes_on_when_resumed() -> None:
    world = World(make_search(suspend=True))
    world.settle()
    assert not world.running
    assert world.search.status.phase is SearchPhase.SUSPENDED
    world.search = world.search.model_copy(update={"spec": world.search.spec.model_copy(update={"suspend": False})})
    world.run(random.Random(0))
    assert digest(world) == digest(finished())


def test_a_deadline_ends_the_search_after_the_round_in_progress() -> None:
    world = World(make_search(budget={"candidates": 50, "deadline": "30s"}))
    world.run(random.Random(0))
    assert world.search.status.stop_reason == "DeadlineReached"
    assert world.search.status.phase is SearchPhase.COMPLETE
    assert 1 < len(world.candidates) < 50


def test_patience_ends_a_search_that_finds_nothing_better() -> None:
    def worse(request: TaskRequest) -> TaskResult:
        result = answer(request)
        if request.kind is TaskKind.SCORE and result.output is not None:
            result.output["metrics"] = dict.fromkeys(result.output["metrics"], 10.0)
        return result

    world = World(make_search(budget={"candidates": 50, "patience": 2}), worse)
    world.run(random.Random(0))
    assert world.search.status.stop_reason == "PatienceSpent"
    assert len(world.candidates) == 1 + 2 * 3
    assert world.search.status.best is not None
    assert world.search.status.best.candidate == "s-000-0"
    assert "no candidate beat the baseline" in world.search.status.message


def test_a_failing_baseline_fails_the_search_with_its_reason() -> None:
    def broken(request: TaskRequest) -> TaskResult:
        if request.kind is TaskKind.TRAIN:
            return TaskResult(fault=TaskFault(reason="TrainingFailed", message="loss is nan at step 3"))
        return answer(request)

    world = World(make_search(), broken)
    world.run(random.Random(0))
    assert world.search.status.phase is SearchPhase.FAILED
    assert "loss is nan at step 3" in world.search.status.message


def test_a_task_that_is_always_lost_fails_its_candidate_and_the_search_goes_on() -> None:
    world = World(make_search(budget={"candidates": 4, "attempts": 3}))
    for _ in range(2000):
        world.settle()
        if not world.running:
            break
        for name in sorted(world.running):
            world.lose(name) if name == "s-001-0-full-0-train" else world.finish(name)
    failed = world.candidates["s-001-0"]
    assert failed.status.phase is CandidatePhase.FAILED
    assert failed.status.reason == "TaskFailed"
    assert world.started.count("s-001-0-full-0-train") == 3
    assert world.search.status.phase is SearchPhase.COMPLETE


def test_repairs_are_bounded_and_every_refusal_keeps_its_reason() -> None:
    def refuse(request: TaskRequest) -> TaskResult:
        result = answer(request)
        if request.kind is TaskKind.VERIFY and request.input["parentDigests"] and result.output is not None:
            result.output["verification"]["passed"] = False
            result.output["verification"]["findings"] = [
                {"name": "shape", "status": "failed", "evidence": "[3] not [4]"}
            ]
        return result

    world = World(make_search(verification={"maxRevisions": 2}, budget={"candidates": 4}), refuse)
    world.run(random.Random(0))
    children = [c for c in world.candidates.values() if c.spec.round > 0]
    assert {c.status.phase for c in children} == {CandidatePhase.REJECTED}
    assert all("[3] not [4]" in c.status.message for c in children)
    assert sum("s-001-0-implement" in name for name in world.started) == 2


def test_a_repair_starts_from_what_the_last_one_left() -> None:
    inputs: dict[str, dict[str, Any]] = {}

    def shrinking(request: TaskRequest) -> TaskResult:
        result = answer(request)
        if request.kind is TaskKind.IMPLEMENT and result.output is not None:
            inputs[request.name] = request.input
            left = request.input["previous"] or request.input["proposal"]["composition"]
            parts = [part | {"parameters": {"v": part["parameters"]["v"] / 2}} for part in left]
            result.output["composition"] = parts
        if request.kind is TaskKind.VERIFY and request.input["parentDigests"] and result.output is not None:
            result.output["verification"]["passed"] = request.input["revision"] == 3
        return result

    world = World(make_search(verification={"maxRevisions": 3}, budget={"candidates": 2}), shrinking)
    world.run(random.Random(0))
    child = world.candidates["s-001-0"]
    assert child.status.phase is CandidatePhase.ARCHIVED
    (proposed,) = child.spec.proposal.composition
    halves = [inputs[f"s-001-0-implement-{revision}"]["previous"] for revision in (1, 2, 3)]
    assert [[part["parameters"]["v"] / proposed.parameters["v"] for part in parts] for parts in halves] == [
        [],
        [0.5],
        [0.25],
    ]
    assert child.status.implementation is not None
    assert child.status.implementation.composition[0].parameters["v"] == proposed.parameters["v"] / 8
    (entry,) = (entry for entry in world.observe().entries if entry.name == "s-001-0")
    assert entry.composition == child.status.implementation.composition
    assert entry.proposed == child.spec.proposal.composition


def test_a_probe_run_that_is_lost_is_no_fault_of_the_candidate() -> None:
    world = World(make_search(budget={"candidates": 2}, evaluation={"probe": True}))
    for _ in range(2000):
        world.settle()
        if not world.running:
            break
        for name in sorted(world.running):
            world.lose(name) if name == "s-001-0-probe-0-train" else world.finish(name)
    child = world.candidates["s-001-0"]
    assert (child.status.phase, child.status.reason) == (CandidatePhase.FAILED, "TaskFailed")
    assert "s-001-0-probe-0" in child.status.message


def test_a_candidate_that_behaves_like_an_earlier_one_is_not_trained() -> None:
    def twins(request: TaskRequest) -> TaskResult:
        result = answer(request)
        if request.kind is TaskKind.VERIFY and result.output is not None:
            result.output["verification"] |= {"behaviourDigest": "sha256:" + "1" * 64, "passed": True}
        return result

    world = World(make_search(budget={"candidates": 4}), twins)
    world.run(random.Random(0))
    child = world.candidates["s-001-0"]
    assert (child.status.phase, child.status.reason) == (CandidatePhase.REJECTED, "Duplicate")
    assert not any(name.startswith("s-001-0") and name.endswith("-train") for name in world.started)


def test_a_candidate_deleted_by_hand_is_proposed_again_as_it_was() -> None:
    spec = {"budget": {"candidates": 7, "concurrent": 1}}
    world = World(make_search(**spec))
    for _ in range(5000):
        world.settle()
        if not world.running:
            break
        first, last = world.candidates.get("s-001-0"), world.candidates.get("s-001-2")
        if first is not None and first.status.phase is CandidatePhase.ARCHIVED and last is not None and not world.lost:
            del world.candidates["s-001-2"]
            world.evaluations = {k: v for k, v in world.evaluations.items() if v.spec.candidate != "s-001-2"}
            world.crash()
            world.lost["deleted"] = 1
        else:
            world.finish(sorted(world.running)[0])
    assert "deleted" in world.lost
    assert digest(world) == digest(finished(**spec))


def test_nothing_proposed_ends_the_search_with_a_reason() -> None:
    def mute(request: TaskRequest) -> TaskResult:
        return TaskResult(output={"proposals": []}) if request.kind is TaskKind.PROPOSE else answer(request)

    world = World(make_search(), mute)
    world.run(random.Random(0))
    assert world.search.status.stop_reason == "NoProposals"
    assert world.search.status.phase is SearchPhase.COMPLETE


def test_selected_parents_keep_the_terms_that_chose_them() -> None:
    world = finished()
    root = world.candidates["s-000-0"]
    assert root.status.selections[0].round == 1
    child = world.candidates["s-001-0"]
    assert child.spec.parents == ("s-000-0",)
    assert child.metadata.annotations["poise.dev/depth"] == "1"


def test_the_confirmation_uses_seeds_and_problems_of_its_own() -> None:
    world = finished()
    runs = {
        fidelity: [e for e in world.evaluations.values() if e.spec.fidelity == fidelity]
        for fidelity in ("full", "confirm")
    }
    assert {e.spec.seed for e in runs["full"]}.isdisjoint({e.spec.seed for e in runs["confirm"]})
    assert len({e.spec.candidate for e in runs["confirm"]}) == 3


def test_a_probe_run_that_collapses_saves_the_full_run() -> None:
    def collapse(request: TaskRequest) -> TaskResult:
        result = answer(request)
        if request.kind is TaskKind.SCORE and result.output is not None:
            value = 50.0 if request.name.startswith("s-000-0") else 5.0
            result.output["metrics"] = dict.fromkeys(result.output["metrics"], value)
        return result

    world = World(make_search(budget={"candidates": 2}, evaluation={"probe": True}), collapse)
    world.run(random.Random(0))
    child = world.candidates["s-001-0"]
    assert child.status.phase is CandidatePhase.FAILED
    assert child.status.reason == "Collapsed"
    assert "collapsed in the probe run" in child.status.message
    assert "s-001-0-full-0" not in world.evaluations


@pytest.mark.parametrize("kind", [Create, Update, StartTask])
def test_the_planner_uses_every_kind_of_action(kind: type) -> None:
    world = World(make_search())
    seen = set()
    for _ in range(30):
        actions = plan(world.observe())
        seen |= {type(action) for action in actions}
        world.apply(actions)
        if world.running:
            world.finish(sorted(world.running)[0])
    assert kind in seen
