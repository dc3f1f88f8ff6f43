"""Down-sampling and summaries of trajectories."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poise_lib.evaluation import trajectory as names


def steps(values: list[float]) -> list[dict[str, float]]:
    return [{names.STEP: float(step), names.REWARD: value} for step, value in enumerate(values)]


@given(st.lists(st.floats(-1e6, 1e6), max_size=60), st.integers(1, 30))
def test_down_sampling_keeps_the_order_the_end_and_the_number_of_points(values: list[float], points: int) -> None:
    thinned = names.down_sample(steps(values), points)
    assert len(thinned) == min(points, len(values))
    positions = [record[names.STEP] for record in thinned]
    assert positions == sorted(set(positions))
    if values:
        assert positions[-1] == len(values) - 1
        if len(values) % len(thinned) == 0:
            mean = sum(record[names.REWARD] for record in thinned) / len(thinned)
            assert mean == pytest.approx(sum(values) / len(values), abs=1e-6 * max(1.0, *map(abs, values)))


def test_down_sampling_averages_and_skips_what_is_missing() -> None:
    trajectory = [{names.STEP: 0.0, "a": 1.0}, {names.STEP: 1.0, "a": 3.0, "b": 5.0}, {names.STEP: 2.0, "a": 7.0}]
    assert names.down_sample(trajectory, 1) == [{names.STEP: 2.0, "a": pytest.approx(11 / 3), "b": 5.0}]
    with pytest.raises(ValueError, match="at least 1"):
        names.down_sample(trajectory, 0)


def test_a_summary_has_both_ends_and_the_extremes() -> None:
    values = [float(value) for value in range(20)]
    summary = names.summarise(steps(values))[names.REWARD]
    assert summary == names.MetricSummary(first=0.5, last=18.5, mean=9.5, low=0.0, high=19.0)


def test_values_that_are_not_finite_are_left_out() -> None:
    summary = names.summarise([{"a": math.nan, "b": math.inf}, {"a": 2.0}])
    assert summary == {"a": names.MetricSummary(2.0, 2.0, 2.0, 2.0, 2.0)}
    assert names.summarise([]) == {}


def test_the_flat_summary_names_metric_and_part() -> None:
    flat = names.flat_summary(steps([0.25, 0.75]))
    reward = {
        f"{names.REWARD}.{part}": value
        for part, value in zip(("first", "last", "low", "high"), (0.25, 0.75) * 2, strict=True)
    }
    assert flat == reward
