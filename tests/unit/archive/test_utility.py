"""Utility, oriented vectors and constraints."""

import math

import pytest

from poise_lib.archive.utility import feasible, metric_vector, utility
from poise_lib.resources.search import Constraint, Direction, Metric, Objective
from poise_lib.resources.suites import CHAINS_V1
from tests.unit.archive.builders import PAIR

SHORTER = Objective(
    metrics=(
        Metric(name="a", weight=0.9),
        Metric(name="response_length", weight=0.1, direction=Direction.MINIMIZE),
    )
)


def test_an_objective_without_metrics_takes_the_suites_weights() -> None:
    assert utility({"a": 40.0, "b": 80.0}, Objective(), PAIR) == pytest.approx(0.75 * 40 + 0.25 * 80)
    assert metric_vector({"b": 80.0, "a": 40.0}, Objective(), PAIR) == (40.0, 80.0)


def test_the_default_suite_weighs_six_benchmarks_like_the_paper() -> None:
    metrics = dict.fromkeys(CHAINS_V1.weights(), 10.0) | {"plus8": 60.0}
    assert utility(metrics, Objective(), CHAINS_V1) == pytest.approx(10.0 + 0.2 * 50.0)


def test_what_is_minimised_counts_negative_and_is_oriented() -> None:
    metrics = {"a": 50.0, "b": 1.0, "response_length": 20.0}
    assert utility(metrics, SHORTER, PAIR) == pytest.approx(0.9 * 50 - 0.1 * 20)
    assert metric_vector(metrics, SHORTER, PAIR) == (50.0, -20.0)


@pytest.mark.parametrize("broken", [{"a": 1.0}, {"a": 1.0, "b": math.nan}, {"a": math.inf, "b": 1.0}, {}])
def test_a_missing_or_infinite_metric_gives_no_utility_and_no_vector(broken: dict[str, float]) -> None:
    assert utility(broken, Objective(), PAIR) is None
    with pytest.raises(ValueError, match="missing or not finite"):
        metric_vector(broken, Objective(), PAIR)


def test_metrics_outside_the_objective_do_not_matter() -> None:
    assert utility({"a": 4.0, "b": 8.0, "overall": math.nan}, Objective(), PAIR) == pytest.approx(5.0)


@pytest.mark.parametrize(
    ("value", "holds"), [(9.9, False), (10.0, True), (20.0, True), (20.1, False), (math.nan, False)]
)
def test_constraints_are_closed_intervals(value: float, holds: bool) -> None:
    objective = Objective(constraints=(Constraint(metric="a", minimum=10.0, maximum=20.0),))
    assert feasible({"a": value}, objective) is holds


def test_every_constraint_must_hold_and_a_missing_metric_breaks_one() -> None:
    objective = Objective(constraints=(Constraint(metric="a", minimum=1.0), Constraint(metric="b", maximum=1.0)))
    assert feasible({"a": 1.0, "b": 1.0}, objective)
    assert not feasible({"a": 1.0, "b": 2.0}, objective)
    assert not feasible({"a": 1.0}, objective)
    assert feasible({}, Objective())
