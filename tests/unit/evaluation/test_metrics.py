"""pass@k against brute force, and the weighted score."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poise_lib.evaluation.metrics import PAPER_WEIGHTS, overall, pass_at_k


@given(st.integers(1, 9).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_k_is_the_share_of_subsets_with_a_success(case: tuple[int, int, int]) -> None:
    samples, correct, k = case
    outcomes = [1] * correct + [0] * (samples - correct)
    subsets = list(combinations(outcomes, k))
    assert pass_at_k(samples, correct, k) == pytest.approx(sum(any(subset) for subset in subsets) / len(subsets))


@pytest.mark.parametrize(("samples", "correct", "k"), [(4, 5, 1), (4, -1, 1), (4, 2, 5), (4, 2, 0)])
def test_pass_at_k_refuses_the_impossible(samples: int, correct: int, k: int) -> None:
    with pytest.raises(ValueError, match="pass@k needs"):
        pass_at_k(samples, correct, k)


def test_overall_is_the_weighted_mean() -> None:
    scores = {"AIME24": 10.0, "AIME25": 20.0, "AMC": 30.0, "MATH": 40.0, "Minerva": 50.0, "Olympiad": 60.0, "more": 1.0}
    assert overall(scores, PAPER_WEIGHTS) == pytest.approx(0.2 * 30 + 0.15 * 180)


def test_overall_refuses_weights_that_do_not_sum_to_one_and_missing_benchmarks() -> None:
    with pytest.raises(ValueError, match="sum to 1"):
        overall({"a": 1.0}, {"a": 0.9})
    with pytest.raises(ValueError, match="no score for b"):
        overall({"a": 1.0}, {"a": 0.5, "b": 0.5})
