"""The benchmarks: fixed, disjoint from each other and from training, and out of reach for guessing."""

import random

import pytest

from poise_lib.evaluation.nano import suite

FIRST_PROBLEMS = {
    "plus8": "550+5+7-7+1+6+4-9+8",
    "times7": "980-6*7-5-9-3-6+9",
    "times5": "309+1+4+1+7*8",
    "plus3": "957-5-6-5",
    "plus5": "182-1+6-5+9+5",
    "times3": "273*8+6*9",
}


def keys(split: suite.Split) -> set[str]:
    return {problem.key for benchmark in suite.BENCHMARKS for problem in suite.problems(benchmark, split)}


def test_splits_and_training_share_no_problem() -> None:
    search, confirm = keys("search"), keys("confirm")
    assert not search & confirm
    rng = random.Random(0)
    training = {suite.training_problem(rng).key for _ in range(3000)}
    assert not training & (search | confirm)


def test_a_set_holds_distinct_problems_of_its_family() -> None:
    for benchmark in suite.BENCHMARKS:
        for split in suite.SPLITS:
            found = suite.problems(benchmark, split)
            assert len({problem.key for problem in found}) == len(found) == benchmark.problems
            assert {suite.home(problem) for problem in found} == {split}
            assert {len(problem.operations) for problem in found} == {benchmark.family.operations}


def test_problem_sets_are_the_same_everywhere() -> None:
    first = {benchmark.name: suite.problems(benchmark, "search")[0].key for benchmark in suite.BENCHMARKS}
    assert first == FIRST_PROBLEMS


def test_the_suite_is_shaped_like_the_papers() -> None:
    weights = suite.SUITE.weights()
    assert [weights[benchmark.name] for benchmark in suite.BENCHMARKS] == [0.2, 0.2, 0.15, 0.15, 0.15, 0.15]
    for benchmark in suite.BENCHMARKS:
        assert benchmark.samples == 0 or benchmark.samples >= 2 * benchmark.k
    assert sum(1 for benchmark in suite.BENCHMARKS if benchmark.k > 1) == 3


@pytest.mark.parametrize("benchmark", suite.BENCHMARKS, ids=lambda benchmark: benchmark.name)
def test_guessing_does_not_pay(benchmark: suite.Benchmark) -> None:
    """The best blind guesser says the most frequent answers; it stays near k in a thousand."""
    rng = random.Random(1)
    sample = [next(suite.stream(benchmark.family, "train", rng)).answer for _ in range(4000)]
    common = sorted(set(sample), key=sample.count, reverse=True)[: benchmark.k]
    for split in suite.SPLITS:
        answers = [problem.answer for problem in suite.problems(benchmark, split)]
        assert sum(answer in common for answer in answers) / len(answers) <= 0.05
