"""A search on a suite that it defines itself: what measures is told of it, and what counts are its metrics."""

from __future__ import annotations

import random
from typing import Any

import pytest

from poise_lib.archive.objective import objective_of
from poise_lib.resources import Search
from poise_lib.resources.objective import Objective
from poise_lib.resources.search import SearchPhase
from poise_lib.resources.suites import MAX_BENCHMARKS
from tests.unit.search.test_verl import Inputs, digest, finished, low_baseline, verl_search

SOURCE = {"files": ["house.jsonl"], "count": 40}
OURS: dict[str, Any] = {
    "name": "ours",
    "extends": "sums-v1",
    "benchmarks": [
        {"name": "sums_mean8", "weight": 0},
        {"name": "house_pass4", "weight": 0.375, "passK": 4, "source": SOURCE},
        {"name": "house_acc1", "weight": 0.125, "source": SOURCE, "contamination": "Never published."},
    ],
}
WEIGHTS = {"sums_acc1": 0.5, "house_pass4": 0.375, "house_acc1": 0.125}
"""What is left of sums-v1, and what joins it."""
MEASURED = {*WEIGHTS, "overall", "response_length", "format_valid"}


def own_search(definition: dict[str, Any] = OURS, **spec: Any) -> Search:
    return verl_search({"suite": definition["name"], "suiteDefinition": definition}, **spec)


def test_what_measures_is_told_of_the_suite_and_what_trains_is_not() -> None:
    world = Inputs(own_search(), low_baseline)
    finished(world)
    spec = world.search.spec.evaluation
    assert spec.suite_definition is not None
    told = spec.suite_definition.to_document()
    assert all(any(kind in name for name in world.inputs) for kind in ("-train", "-score", "-select", "-conclude"))
    for name, document in world.inputs.items():
        if name.endswith("-score") or "-select" in name:
            assert (document["suite"], document["suiteDefinition"]) == ("ours", told), name
        else:
            assert "suiteDefinition" not in document, name
    assert {run.spec.suite for run in world.evaluations.values()} == {"ours"}
    assert all(run.spec.suite_definition == spec.suite_definition for run in world.evaluations.values())


def test_utilities_and_the_frontier_are_over_its_benchmarks() -> None:
    world = finished(Inputs(own_search(), low_baseline))
    status = world.search.status
    assert status.phase is SearchPhase.COMPLETE
    archived = {name: item for name, item in world.candidates.items() if item.status.utility is not None}
    assert len(archived) > 2
    for item in archived.values():
        scores = item.status.metrics
        assert set(scores) == MEASURED
        assert item.status.utility == pytest.approx(sum(scores[name] * w for name, w in WEIGHTS.items()), abs=1e-6)

    def dominated(one: str) -> bool:
        mine = archived[one].status.metrics
        return any(
            all(other.status.metrics[m] >= mine[m] for m in WEIGHTS)
            and any(other.status.metrics[m] > mine[m] for m in WEIGHTS)
            for other in archived.values()
        )

    assert set(status.frontier) == {name for name in archived if not dominated(name)}


def test_the_best_is_confirmed_by_its_own_metrics() -> None:
    world = finished(Inputs(own_search(), low_baseline))
    (document,) = (document for name, document in world.inputs.items() if "-conclude-" in name)
    for arm, values in document["arms"].items():
        for seed, value in zip((500, 501), values, strict=True):
            scores = world.evaluations[f"{arm}-confirm-{seed}"].status.metrics
            assert value == pytest.approx(sum(scores[name] * weight for name, weight in WEIGHTS.items()))
    assert world.search.status.best is not None
    assert world.search.status.best.confirmation is not None


def test_an_objective_may_name_its_benchmarks_and_a_directive_aim_at_them() -> None:
    named = {
        "metrics": [{"name": "house_acc1", "weight": 0.75}, {"name": "sums_acc1", "weight": 0.25}],
        "constraints": [{"metric": "house_pass4", "minimum": 1.0}],
    }
    world = finished(Inputs(own_search(objective=named), low_baseline))
    for item in world.candidates.values():
        if item.status.utility is not None:
            scores = item.status.metrics
            assert item.status.utility == pytest.approx(
                0.75 * scores["house_acc1"] + 0.25 * scores["sums_acc1"], abs=1e-6
            )
    aimed = objective_of(own_search(directive="Raise pass@4, do not hurt house_acc1"), dict.fromkeys(MEASURED, 50.0))
    assert aimed is not None
    assert [metric.name for metric in aimed.metrics] == ["overall", "house_pass4"]
    assert [bound.metric for bound in aimed.constraints] == ["house_acc1", "house_pass4"]


def test_another_definition_of_the_same_name_is_another_archive() -> None:
    """Even where every candidate, score and verdict is the same."""
    world = finished(Inputs(own_search(), low_baseline))
    before = digest(world)
    same = own_search({**OURS, "engine": "verl"})
    world.search = world.search.model_copy(update={"spec": same.spec})
    assert digest(world) == before
    other = {**OURS, "benchmarks": [{**one, "samples": 8} if one.get("passK") else one for one in OURS["benchmarks"]]}
    world.search = world.search.model_copy(update={"spec": own_search(other).spec})
    assert digest(world) != before


def test_there_is_room_for_every_metric_of_the_largest_suite() -> None:
    names = [f"part{number}" for number in range(MAX_BENCHMARKS)]
    weights = [0.0625] * (MAX_BENCHMARKS - 1) + [1.0 - 0.0625 * (MAX_BENCHMARKS - 1)]
    parts = [{"name": n, "weight": w, "source": SOURCE} for n, w in zip(names, weights, strict=True)]
    wish = "; ".join(f"raise {name}" for name in names) + "; shorten responses; improve the format"
    search = own_search({"name": "ours", "benchmarks": parts}, directive=wish)
    objective = objective_of(search, dict.fromkeys([*names, "overall", "response_length", "format_valid"], 50.0))
    assert isinstance(objective, Objective)
    assert {metric.name for metric in objective.metrics} == {*names, "overall", "response_length", "format_valid"}


def test_no_order_of_events_changes_what_it_finds() -> None:
    one, two = Inputs(own_search(), low_baseline), Inputs(own_search(), low_baseline)
    one.run(random.Random(1))
    two.run(random.Random(2), crash=0.05, lose=0.02)
    assert digest(one) == digest(two)
