"""The six benchmarks, their fixed problem sets, and the problems to train on.

The suite has the shape of the paper's (three hard benchmarks by pass@k at temperature 1, three by greedy accuracy, its
weights), with problems of our own.  Each benchmark has two sets of problems: ``search`` scores candidates while a
search runs, ``confirm`` is kept for the claims made at its end.  Whether a problem belongs to the search set, the
confirmation set or training is decided by a hash of the problem itself, so the three are disjoint by construction,
whoever draws from them.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

from poise_lib.evaluation.nano.task import Family, Problem, draw
from poise_lib.resources.suites import SUITES

Split = Literal["search", "confirm"]
SPLITS: Final[tuple[Split, ...]] = ("search", "confirm")


SUITE: Final = SUITES["chains-v1"]
_FAMILIES: Final = (
    Family("plus8", 8, "+-"),
    Family("times7", 7, "++--*"),
    Family("times5", 5, "++--*"),
    Family("plus3", 3, "+-"),
    Family("plus5", 5, "+-"),
    Family("times3", 3, "++--*"),
)
_SAMPLED_PROBLEMS: Final = 64
_SAMPLES_PER_K: Final = 2
_GREEDY_PROBLEMS: Final = 200


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A family of problems and how it is scored."""

    family: Family
    problems: int
    samples: int
    """Responses per problem at temperature 1; 0 decodes once, greedily."""
    k: int
    """The k of pass@k; 1 for greedy accuracy."""

    @property
    def name(self) -> str:
        """The metric's name: the family's."""
        return self.family.name


def _benchmark(family: Family) -> Benchmark:
    """Attach the suite's way of scoring to a family."""
    k = next(entry.pass_k for entry in SUITE.benchmarks if entry.name == family.name)
    if k is None:
        return Benchmark(family, _GREEDY_PROBLEMS, 0, 1)
    return Benchmark(family, _SAMPLED_PROBLEMS, _SAMPLES_PER_K * k, k)


BENCHMARKS: Final = tuple(_benchmark(family) for family in _FAMILIES)


def home(problem: Problem) -> str:
    """Where a problem may be used: ``search``, ``confirm`` (a tenth of all problems each) or ``train``."""
    draw_of_ten = hashlib.blake2b(problem.key.encode(), digest_size=8).digest()[0] * 10 // 256
    return {0: "search", 1: "confirm"}.get(draw_of_ten, "train")


def stream(family: Family, where: str, rng: random.Random) -> Iterator[Problem]:
    """Problems of ``family`` that are at home in ``where``, without end."""
    while True:
        problem = draw(family, rng)
        if home(problem) == where:
            yield problem


@lru_cache
def problems(benchmark: Benchmark, split: Split) -> tuple[Problem, ...]:
    """The fixed problem set of a benchmark: distinct problems, the same in every process and on every machine."""
    rng = random.Random(f"{benchmark.name}/{split}")
    chosen: dict[str, Problem] = {}
    for problem in stream(benchmark.family, split, rng):
        chosen.setdefault(problem.key, problem)
        if len(chosen) == benchmark.problems:
            break
    return tuple(chosen.values())


def training_problem(rng: random.Random) -> Problem:
    """A problem to train on: any family, never one of a benchmark."""
    return next(stream(rng.choice(_FAMILIES), "train", rng))
