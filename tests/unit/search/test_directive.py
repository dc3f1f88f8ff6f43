"""A directive that is read changes what the planner asks of every task, what is best, and what the status says."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poise_lib.archive.digest import archive_digest
from poise_lib.resources import Candidate
from poise_lib.resources.candidate import CandidatePhase
from poise_lib.resources.search import SearchPhase
from poise_lib.search import plan
from poise_lib.tasks.protocol import TaskKind, TaskRequest, TaskResult
from tests.unit.search.world import World, answer, make_search

KEEP = "Shorten responses, keep accuracy"
SPEC: dict[str, Any] = {"budget": {"candidates": 7, "concurrent": 3, "attempts": 10}}


class Asked(World):
    """Remembers every request, by its kind."""

    def __init__(self, scores: Any = None, **spec: Any) -> None:
        self.requests: list[TaskRequest] = []

        def respond(request: TaskRequest) -> TaskResult:
            self.requests.append(request)
            result = answer(request)
            if scores is not None and request.kind is TaskKind.SCORE and result.output is not None:
                result.output["metrics"].update(scores(request.name))
            return result

        super().__init__(make_search(**{**SPEC, **spec}), respond)

    def inputs(self, kind: TaskKind) -> list[dict[str, Any]]:
        return [request.input for request in self.requests if request.kind is kind]


def digest(world: World) -> str:
    return archive_digest(world.search, tuple(world.candidates.values()), tuple(world.evaluations.values()))


def ended(**spec: Any) -> Asked:
    world = Asked(**spec)
    world.run(random.Random(0))
    assert world.search.status.phase is SearchPhase.COMPLETE
    return world


def test_every_task_that_judges_is_told_and_none_is_where_nothing_is_asked() -> None:
    def scores(name: str) -> dict[str, float]:
        return {"overall": 50.0, "response_length": 20.0 if name.startswith("s-000-0") else 18.0}

    asks, plain = ended(directive=KEEP, scores=scores), ended(directive="Beat GRPO.")
    base = asks.candidates["s-000-0"].status.metrics
    for kind in (TaskKind.SELECT, TaskKind.PROPOSE, TaskKind.REFLECT):
        for document in asks.inputs(kind):
            if document.get("child", {}).get("name") == "s-000-0" and kind is TaskKind.REFLECT:
                continue
            overall, length = document["objective"]["metrics"]
            assert (overall["name"], overall["weight"]) == ("overall", 0.8)
            assert (length["name"], length["direction"]) == ("response_length", "Minimize")
            assert length["scale"] == pytest.approx(base["response_length"] / 100, abs=1e-6)
            kept, aimed = document["objective"]["constraints"]
            assert kept["minimum"] == pytest.approx(base["overall"] - 1.0)
            assert (aimed["metric"], aimed["maximum"]) == ("response_length", pytest.approx(base["response_length"]))
        assert all(
            document.get("objective") in (None, {"metrics": [], "constraints": []}) for document in plain.inputs(kind)
        )
    (conclude,) = asks.inputs(TaskKind.CONCLUDE)
    assert set(conclude["baselineMetrics"]) == {"overall", "response_length"}
    assert [guard["metric"] for guard in conclude["guards"]] == ["overall"]
    assert all("baselineMetrics" not in document for document in plain.inputs(TaskKind.CONCLUDE))


def test_utilities_are_those_of_the_objective() -> None:
    world = ended(directive=KEEP)
    base = world.candidates["s-000-0"].status.metrics
    for candidate in world.candidates.values():
        if candidate.status.phase is CandidatePhase.ARCHIVED:
            seen = candidate.status.metrics
            expected = 0.8 * seen["overall"] - 0.2 * 100.0 * seen["response_length"] / base["response_length"]
            assert candidate.status.utility == pytest.approx(expected, abs=1e-3)


def test_the_status_says_what_counts_and_where_it_comes_from() -> None:
    world = ended(directive=KEEP + ", write poems")
    found = world.search.status.objective
    assert found is not None
    assert found.source.value == "Directive"
    assert [metric.name for metric in found.metrics] == ["overall", "response_length"]
    assert found.reading.ignored == ("write poems",)
    assert '"write poems"' in found.text
    best = world.search.status.best
    assert best is not None
    assert set(best.metrics) == set(best.baseline_metrics) == {"overall", "response_length"}
    world.crash()
    assert plan(world.observe()) == (), "a finished search is left as it is"


def test_the_best_keeps_accuracy_and_the_frontier_is_accuracy_against_length() -> None:
    def scores(name: str) -> dict[str, float]:
        if name.startswith("s-000-0"):
            return {"overall": 50.0, "response_length": 20.0}
        if name.startswith("s-001-0"):  # shortest by far, at a price
            return {"overall": 45.0, "response_length": 4.0}
        if name.startswith("s-001-1"):  # shorter, and nearly as good
            return {"overall": 49.5, "response_length": 16.0}
        return {"overall": 48.0, "response_length": 30.0}

    world = Asked(scores, directive=KEEP, budget={"candidates": 4}, seed=3)
    world.run(random.Random(0))
    assert {name for name, item in world.candidates.items() if item.status.phase is CandidatePhase.ARCHIVED} >= {
        "s-001-0", "s-001-1"
    }  # fmt: skip
    best = world.search.status.best
    assert best is not None
    assert best.candidate == "s-001-1"
    assert set(world.search.status.frontier) == {"s-000-0", "s-001-0", "s-001-1"}
    free = Asked(scores, directive="Shorten responses", budget={"candidates": 4}, seed=3)
    free.run(random.Random(0))
    assert free.search.status.best is not None
    assert free.search.status.best.candidate == "s-001-0"


def test_patience_is_not_kept_up_by_candidates_that_break_the_constraint() -> None:
    def scores(name: str) -> dict[str, float]:
        if name.startswith("s-000-0"):
            return {"overall": 50.0, "response_length": 20.0}
        round_ = int(name.split("-")[1])
        return {"overall": 48.0, "response_length": 18.0 - round_}  # ever shorter, never good enough

    spec = {"budget": {"candidates": 30, "patience": 2}, "strategy": {"parentsPerRound": 1}}
    kept, free = Asked(scores, directive=KEEP, **spec), Asked(scores, directive="Minimise response length", **spec)
    for world in (kept, free):
        world.run(random.Random(0))
    assert kept.search.status.stop_reason == "PatienceSpent"
    assert len(kept.candidates) < len(free.candidates)


@given(order=st.integers(0, 2**32))
@settings(max_examples=10)
def test_a_search_stopped_anywhere_ends_in_the_same_archive(order: int) -> None:
    world = World(make_search(directive=KEEP, **SPEC))
    world.run(random.Random(order), crash=0.2, lose=0.05)
    calm = World(make_search(directive=KEEP, **SPEC))
    calm.run(random.Random(0))
    assert digest(world) == digest(calm)
    assert world.search.status.objective == calm.search.status.objective


@given(order=st.integers(0, 2**32))
@settings(max_examples=10)
def test_one_written_by_hand_waits_for_the_baselines_scores(order: int) -> None:
    document = {
        "metadata": {"name": "mine"},
        "spec": {"search": "s", "proposal": {"title": "m", "hypothesis": "h"}, "source": "# m"},
    }

    def run(chance: int, crash: float) -> World:
        world = World(make_search(directive=KEEP, **SPEC))
        world.candidates["mine"] = Candidate.model_validate(document)
        world.run(random.Random(chance), crash=crash)
        return world

    world, calm = run(order, 0.1), run(0, 0.0)
    base, mine = (world.candidates[name].status for name in ("s-000-0", "mine"))
    assert mine.phase is CandidatePhase.ARCHIVED
    length = mine.metrics["response_length"] / base.metrics["response_length"]
    assert mine.utility == pytest.approx(0.8 * mine.metrics["overall"] - 20.0 * length, abs=1e-3)
    assert digest(world) == digest(calm)


def test_a_directive_that_changes_later_leaves_the_objective() -> None:
    world = World(make_search(directive=KEEP, **SPEC))
    for _ in range(12):
        world.settle()
        world.finish(sorted(world.running)[0])
    world.settle()
    before = world.search.status.objective
    changed = world.search.spec.model_copy(update={"directive": "Lengthen responses"})
    world.search = world.search.model_copy(update={"spec": changed})
    world.run(random.Random(0))
    after = world.search.status.objective
    assert before is not None
    assert after is not None
    assert after.metrics == before.metrics != ()
    assert "changed after the search began" in after.text
