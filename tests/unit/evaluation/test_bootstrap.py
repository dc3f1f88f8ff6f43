"""Bootstrap intervals against what is known in closed form."""

from __future__ import annotations

import math

import pytest

from poise_lib.evaluation.bootstrap import intervals

COIN = [0.0, 100.0] * 50


def test_the_spread_of_a_mean_is_that_of_the_binomial() -> None:
    low, high = intervals({"a": COIN}, {"a": 1.0}, seed=1, resamples=20_000)["a"]
    half = 1.96 * 50 / math.sqrt(100)  # normal approximation of a mean of a hundred coins
    assert (low, high) == (pytest.approx(50 - half, abs=1.0), pytest.approx(50 + half, abs=1.0))


def test_the_overall_is_drawn_benchmark_by_benchmark() -> None:
    spread = intervals({"a": COIN, "b": COIN}, {"a": 0.5, "b": 0.5}, seed=1, resamples=20_000)
    half = 1.96 * 50 / math.sqrt(200)
    assert spread["overall"] == (pytest.approx(50 - half, abs=1.0), pytest.approx(50 + half, abs=1.0))


def test_no_spread_where_all_problems_are_alike() -> None:
    assert intervals({"a": [30.0] * 9}, {"a": 1.0}, seed=0)["overall"] == (pytest.approx(30.0), pytest.approx(30.0))


def test_seeded_and_independent_of_other_benchmarks() -> None:
    both = intervals({"a": COIN, "b": COIN}, {"a": 0.5, "b": 0.5}, seed=3)
    assert both == intervals({"a": COIN, "b": COIN}, {"a": 0.5, "b": 0.5}, seed=3)
    assert both["b"] == intervals({"b": COIN}, {"b": 1.0}, seed=3)["b"]
    assert both["b"] != both["a"]


def test_less_confidence_is_narrower_and_nothing_to_draw_from_is_refused() -> None:
    wide, narrow = (intervals({"a": COIN}, {"a": 1.0}, seed=0, confidence=c)["a"] for c in (0.95, 0.5))
    assert wide[0] < narrow[0] < narrow[1] < wide[1]
    with pytest.raises(ValueError, match="no problems of a"):
        intervals({}, {"a": 1.0}, seed=0)
