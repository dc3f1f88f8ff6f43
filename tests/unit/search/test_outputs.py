"""What tasks leave is not always fit to keep: one candidate's output never stops the search of the others."""

from __future__ import annotations

import random
from typing import Any

import pytest

from poise_lib.resources.candidate import CandidatePhase
from poise_lib.resources.search import SearchPhase
from poise_lib.tasks.protocol import TaskKind, TaskRequest, TaskResult
from tests.unit.search.world import World, answer, make_search


@pytest.mark.parametrize("name", ["candidate/my metric", "candidate/" + "x" * 80, ""])
def test_metrics_that_a_candidate_named_as_it_liked_are_left_out_of_its_trajectory(name: str) -> None:
    def respond(request: TaskRequest) -> TaskResult:
        result = answer(request)
        if request.kind is TaskKind.TRAIN and result.output is not None:
            result.output["trajectory"] = [{"actor/entropy": 0.5, name: 1.0}]
        return result

    world = World(make_search(), respond)
    world.run(random.Random(0))
    assert world.search.status.phase is SearchPhase.COMPLETE
    assert world.evaluations["s-000-0-full-0"].status.trajectory == ({"actor/entropy": 0.5},)


def test_a_trajectory_of_many_metrics_stays_small() -> None:
    def respond(request: TaskRequest) -> TaskResult:
        result = answer(request)
        if request.kind is TaskKind.TRAIN and result.output is not None:
            step = {f"candidate/{index:03d}{'x' * 50}": 1.0 for index in range(190)}
            result.output["trajectory"] = [step | {"actor/entropy": 0.5}] * 24
        return result

    world = World(make_search(budget={"candidates": 1}), respond)
    world.run(random.Random(0))
    kept = world.evaluations["s-000-0-full-0"].status
    assert all("actor/entropy" in point for point in kept.trajectory)
    assert len(kept.model_dump_json()) < 256 * 1024


@pytest.mark.parametrize(
    "kind", [TaskKind.IMPLEMENT, TaskKind.VERIFY, TaskKind.TRAIN, TaskKind.SCORE, TaskKind.REFLECT]
)
@pytest.mark.parametrize("output", [{"source": 1}, {"metrics": {"a b": "x"}}])
def test_an_output_that_cannot_be_read_fails_its_candidate_and_the_search_goes_on(
    kind: TaskKind, output: dict[str, Any]
) -> None:
    def respond(request: TaskRequest) -> TaskResult:
        if request.kind is kind and request.name.startswith("s-001-0"):
            return TaskResult(output=output)
        return answer(request)

    world = World(make_search(budget={"candidates": 4}), respond)
    world.run(random.Random(0))
    child = world.candidates["s-001-0"]
    reflected = kind is TaskKind.REFLECT
    assert child.status.phase is (CandidatePhase.ARCHIVED if reflected else CandidatePhase.FAILED)
    assert "cannot be used" in child.status.message
    assert world.search.status.phase is SearchPhase.COMPLETE


def test_one_slot_without_a_proposal_does_not_end_a_continuous_search() -> None:
    def respond(request: TaskRequest) -> TaskResult:
        if request.kind is TaskKind.PROPOSE and request.name == "s-002-0-propose":
            return TaskResult(output={"proposals": []})
        return answer(request)

    world = World(make_search(strategy={"mode": "Continuous"}), respond)
    world.run(random.Random(0))
    assert world.search.status.stop_reason == "CandidatesSpent"
    assert len(world.candidates) == 6


def test_a_continuous_search_in_which_nothing_new_is_proposed_ends() -> None:
    def respond(request: TaskRequest) -> TaskResult:
        if request.kind is TaskKind.PROPOSE and request.name > "s-002":
            return TaskResult(output={"proposals": []})
        return answer(request)

    world = World(make_search(strategy={"mode": "Continuous"}), respond)
    world.run(random.Random(0))
    assert world.search.status.stop_reason == "NoProposals"
    assert world.search.status.phase is SearchPhase.COMPLETE
