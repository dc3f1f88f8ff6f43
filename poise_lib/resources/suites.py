"""Benchmark suites by name: what they measure and how the parts weigh.  The problems themselves belong to the
engines."""

from __future__ import annotations

from poise_lib.names import METRIC_FORMAT_VALID, METRIC_OVERALL, METRIC_RESPONSE_LENGTH
from poise_lib.resources.base import Model

EXTRA_METRICS = (METRIC_OVERALL, METRIC_RESPONSE_LENGTH, METRIC_FORMAT_VALID)


class SuiteBenchmark(Model):
    """One benchmark: pass@k at temperature 1 when ``pass_k`` is set, greedy acc@1 otherwise."""

    name: str
    weight: float
    pass_k: int | None = None


class Suite(Model):
    """Six benchmarks like the paper's: hard ones by pass@k (weights .2 .2 .15), the others by acc@1 (.15 each)."""

    name: str
    benchmarks: tuple[SuiteBenchmark, ...]

    def weights(self) -> dict[str, float]:
        """Benchmark name to weight; the weights sum to 1."""
        return {benchmark.name: benchmark.weight for benchmark in self.benchmarks}

    def metric_names(self) -> frozenset[str]:
        """Every metric that a score of this suite carries."""
        return frozenset(self.weights()) | frozenset(EXTRA_METRICS)


CHAINS_V1 = Suite(
    name="chains-v1",
    benchmarks=(
        SuiteBenchmark(name="plus8", weight=0.2, pass_k=8),
        SuiteBenchmark(name="times7", weight=0.2, pass_k=8),
        SuiteBenchmark(name="times5", weight=0.15, pass_k=8),
        SuiteBenchmark(name="plus3", weight=0.15),
        SuiteBenchmark(name="plus5", weight=0.15),
        SuiteBenchmark(name="times3", weight=0.15),
    ),
)

SUITES: dict[str, Suite] = {suite.name: suite for suite in (CHAINS_V1,)}
