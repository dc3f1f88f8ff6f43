"""Candidates that people write, change and delete: they never wedge a search, and get no score but their own."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poise_lib.archive.digest import archive_digest
from poise_lib.names import ANNOTATION_DEPTH
from poise_lib.resources import Candidate
from poise_lib.resources.candidate import FINAL_CANDIDATE_PHASES, CandidatePhase
from poise_lib.resources.search import SearchPhase
from poise_lib.search import StartTask, plan
from poise_lib.tasks.protocol import TaskKind, TaskRequest, TaskResult
from tests.unit.search.world import World, answer, make_search


def by_hand(name: str = "mine", source: str = "# mine", **spec: object) -> Candidate:
    proposal = {"title": name, "hypothesis": "h"}
    document = {"metadata": {"name": name}, "spec": {"search": "s", "proposal": proposal, "source": source, **spec}}
    return Candidate.model_validate(document)


def world_with(*candidates: Candidate, **spec: object) -> World:
    spec.setdefault("budget", {"candidates": 8, "concurrent": 3})
    world = World(make_search(**spec))
    world.candidates |= {candidate.metadata.name: candidate for candidate in candidates}
    return world


def until_archived(world: World, name: str) -> None:
    for _ in range(5000):
        world.settle()
        found = world.candidates.get(name)
        if found is not None and found.status.phase is CandidatePhase.ARCHIVED:
            return
        world.finish(sorted(world.running)[0])
    raise AssertionError(f"{name} was never archived")


@given(order=st.integers(0, 2**32))
@settings(max_examples=15)
def test_one_that_is_there_from_the_start_leaves_the_archive_independent_of_timing(order: int) -> None:
    def digest(chance: int, crash: float) -> str:
        world = world_with(by_hand())
        world.run(random.Random(chance), crash=crash)
        assert world.candidates["mine"].status.phase is CandidatePhase.ARCHIVED
        return archive_digest(world.search, tuple(world.candidates.values()), tuple(world.evaluations.values()))

    assert digest(order, 0.1) == digest(0, 0.0)


def test_a_name_too_long_for_its_runs_fails_the_candidate_with_the_reason() -> None:
    world = world_with(by_hand("m" * 60))
    world.run(random.Random(0))
    long = world.candidates["m" * 60]
    assert long.status.phase is CandidatePhase.FAILED
    assert "name has 60 characters" in long.status.message
    assert world.search.status.phase is SearchPhase.COMPLETE


@pytest.mark.parametrize("depth", ["many", ""])
def test_an_annotation_that_makes_no_sense_does_not_stop_the_search(depth: str) -> None:
    candidate = by_hand(parents=("s-000-0",), source="# mine 1")
    metadata = candidate.metadata.model_copy(update={"annotations": {ANNOTATION_DEPTH: depth}})
    world = world_with(candidate.model_copy(update={"metadata": metadata}))
    world.run(random.Random(0))
    assert world.candidates["mine"].status.phase is CandidatePhase.ARCHIVED


def test_one_that_claims_to_be_archived_without_a_score_does_not_stop_the_search() -> None:
    candidate = by_hand()
    claimed = candidate.status.model_copy(update={"phase": CandidatePhase.ARCHIVED})
    world = world_with(candidate.model_copy(update={"status": claimed}))
    world.run(random.Random(0))
    assert world.search.status.phase is SearchPhase.COMPLETE
    assert "mine" not in world.search.status.frontier


def test_nothing_is_trained_before_it_is_verified_even_if_its_run_exists_already() -> None:
    world = world_with()
    until_archived(world, "s-001-0")
    run = world.evaluations["s-001-0-full-0"]
    world.evaluations[run.metadata.name] = run.model_copy(update={"status": type(run.status)()})
    world.candidates["s-001-0"] = by_hand("s-001-0", source="# not verified", round=1, parents=("s-000-0",))
    world.crash()
    for _ in range(100):
        world.settle()
        trained = "s-001-0-full-0-train" in world.running
        checked = world.candidates["s-001-0"].status.verification
        assert not trained or (checked is not None and checked.passed)
        if trained or not world.running:
            return
        world.finish(next((n for n in sorted(world.running) if "implement" in n), sorted(world.running)[0]))


def test_one_written_over_a_finished_one_gets_no_score_of_the_old_code() -> None:
    world = world_with()
    until_archived(world, "s-001-0")
    old = world.candidates["s-001-0"].status
    world.candidates["s-001-0"] = by_hand("s-001-0", source="# other code", round=1, parents=("s-000-0",))
    world.crash()
    world.started.clear()
    world.run(random.Random(0))
    new = world.candidates["s-001-0"].status
    assert new.phase is CandidatePhase.ARCHIVED
    assert "s-001-0-full-0-train" in world.started
    assert new.metrics != old.metrics


def test_a_finished_one_deleted_and_made_again_from_the_same_code_is_not_trained_again() -> None:
    world = world_with()
    until_archived(world, "s-001-0")
    del world.candidates["s-001-0"]
    world.crash()
    world.started.clear()
    world.run(random.Random(0))
    assert world.candidates["s-001-0"].status.phase in FINAL_CANDIDATE_PHASES
    assert not any("s-001-0-full" in name for name in world.started)


def test_parents_deleted_in_the_middle_of_their_round_do_not_end_the_search() -> None:
    def lost_without_parent(request: TaskRequest) -> TaskResult:
        if request.kind is TaskKind.PROPOSE:
            known = {entry["name"] for entry in request.input["entries"]}
            assert request.input["parent"]["name"] in known, "proposed for a parent that is gone"
        return answer(request)

    world = World(make_search(budget={"candidates": 10, "concurrent": 3}, seed=1), lost_without_parent)
    deleted: set[str] = set()
    for _ in range(5000):
        world.settle()
        if not world.running:
            break
        chosen = world.search.status.selection
        if chosen is not None and chosen.round == 2 and not deleted and "s-002-0" not in world.candidates:
            deleted = {choice.name for choice in chosen.parents} - {"s-000-0"}
            for name in deleted:
                del world.candidates[name]
            world.crash()
            continue
        world.finish(sorted(world.running)[0])
    assert deleted
    assert world.search.status.phase is SearchPhase.COMPLETE
    assert world.search.status.stop_reason == "CandidatesSpent"


def test_a_starting_task_is_never_one_of_a_candidate_that_is_gone() -> None:
    world = world_with()
    until_archived(world, "s-001-0")
    del world.candidates["s-001-0"]
    actions = plan(world.observe())
    assert not any(isinstance(a, StartTask) and a.request.name.startswith("s-001-0-full") for a in actions)
