"""A reflection under an objective of several metrics: how the child stands in each, and what is an ailment then."""

from __future__ import annotations

import pytest

from poise_lib.archive.entry import Entry
from poise_lib.reflection import reflect
from poise_lib.resources.candidate import Reflection
from poise_lib.resources.objective import Constraint, Direction, Metric, Objective

SHORTER = Objective(
    metrics=(
        Metric(name="overall", weight=0.8),
        Metric(name="response_length", weight=0.2, direction=Direction.MINIMIZE, scale=0.24),
    ),
    constraints=(Constraint(metric="overall", minimum=49.0),),
)


def entry(name: str, overall: float, length: float, *parents: str) -> Entry:
    shrunk = {"response_length/mean.first": 20.0, "response_length/mean.last": length}
    return Entry(
        name=name, title=name, parents=parents, utility=0.8 * overall - length / 1.2, trajectory=shrunk,
        metrics={"overall": overall, "response_length": length},
    )  # fmt: skip


def reflected(overall: float, length: float, objective: Objective | None) -> Reflection:
    parent = entry("p", 50.0, 24.0)
    return reflect(entry("c", overall, length, "p"), parent, parent, objective)


def test_it_tells_each_metric_and_the_bound_that_breaks() -> None:
    found = reflected(48.0, 18.0, SHORTER)
    assert "By the metrics of the objective: overall 48.0 (-2.0), response_length 18.0 (-6.0)." in found.diagnosis
    assert "It breaks a bound: overall has to be at least 49.0." in found.diagnosis
    shown = {item.metric: (item.value, item.reference) for item in found.evidence}
    assert shown["response_length"] == (18.0, 24.0)
    assert shown["overall"] == (48.0, 50.0)
    assert "breaks a bound" not in reflected(49.0, 18.0, SHORTER).diagnosis


def test_the_suites_own_objective_adds_nothing() -> None:
    assert "metrics of the objective" not in reflected(48.0, 18.0, None).diagnosis


@pytest.mark.parametrize(
    ("overall", "objective", "ailing"),
    [(50.0, None, True), (50.0, SHORTER, False), (40.0, SHORTER, True)],
)
def test_short_responses_are_an_ailment_unless_they_are_asked_for_and_cost_nothing(
    overall: float, objective: Objective | None, ailing: bool
) -> None:
    assert ("length-collapse" in reflected(overall, 9.0, objective).findings) is ailing
