"""The statistics of the calibration against known cases and simulation."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))

import calibration_stats as stats

# Shrout and Fleiss 1979, table 2: six targets, four judges; the paper's ICC(3,1) is .71.
RATINGS = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], dtype=float)


def test_icc_of_the_papers_example() -> None:
    assert stats.icc_consistency(RATINGS) == pytest.approx(0.7148, abs=1e-4)
    assert stats.icc_consistency(RATINGS + np.array([5.0, 0.0, -3.0, 100.0])) == pytest.approx(0.7148, abs=1e-4)


def test_halves_are_disjoint_equal_and_each_split_comes_once() -> None:
    splits = list(stats.halves(6))
    assert len(splits) == 10
    for first, second in splits:
        assert sorted(first + second) == list(range(6))
        assert len(first) == len(second) == 3
    assert len({frozenset((tuple(first), tuple(second))) for first, second in splits}) == 10


def test_agreement_is_perfect_without_noise_and_absent_without_signal() -> None:
    signal = np.arange(11.0)[:, None] + np.zeros((11, 6))
    assert min(stats.split_half_agreement(signal)) == pytest.approx(1.0)
    noise = np.random.default_rng(0).normal(size=(200, 6))
    assert abs(np.mean(stats.split_half_agreement(noise))) < 0.15


def test_the_upper_half_is_the_better_one() -> None:
    table = np.array([[1.0, 1.0], [5.0, 3.0], [2.0, 2.0], [3.0, 3.5], [0.0, 0.0]])
    assert stats.upper_half(table).tolist() == [1, 3, 2]


def test_the_interval_of_a_known_sample() -> None:
    interval = stats.t_interval(np.array([1.0, 2.0, 3.0, 4.0]))
    assert (interval.mean, interval.low, interval.high) == pytest.approx((2.5, 0.4457, 4.5543), abs=1e-4)


@pytest.mark.parametrize("comparisons", [1, 3])
def test_the_detectable_difference_is_detected_as_often_as_it_says(comparisons: int) -> None:
    from scipy.stats import t

    effect = stats.detectable_difference(2.0, seeds=8, comparisons=comparisons)
    drawn = np.random.default_rng(1).normal(effect, 2.0, size=(20_000, 8))
    statistic = drawn.mean(1) / (drawn.std(1, ddof=1) / np.sqrt(8))
    found = (statistic > t.ppf(1 - 0.025 / comparisons, 7)).mean()
    assert found == pytest.approx(0.8, abs=0.015)


def test_the_deviation_of_pairs_ignores_what_seeds_share() -> None:
    shared = np.array([0.0, 10.0, -10.0, 3.0])
    table = np.stack([shared, shared + np.array([1.0, 2.0, 3.0, 4.0]), shared + 7.0])
    pooled = np.sqrt((np.var([1.0, 2.0, 3.0, 4.0], ddof=1) + 0.0) / 2)
    assert stats.paired_deviation(table, 0, np.array([0, 1, 2])) == pytest.approx(pooled)
