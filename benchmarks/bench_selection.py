"""Parent selection over archives of 64, 1,000 and 10,000 nodes: median of several runs beside the bar.

python -m benchmarks.bench_selection

One thread, after imports; the bar is held against CPU time, which equals wall time on an idle machine and does not
depend on what else runs on a busy one.  Archives are synthetic: a tree grown from one root by a seeded generator,
six metrics that drift from parent to child, a composition of eight slots with parameters, one candidate in twelve
rejected, a trajectory summary.  The synthetic gains are only there to give the surrogate its full load; they say
nothing about the quality of a selection.
"""

import os

for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_variable] = "1"

import random  # noqa: E402 (the environment comes first)
import statistics  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402

from poise_lib.archive.entry import Entry  # noqa: E402
from poise_lib.resources.candidate import CandidatePhase, Component  # noqa: E402
from poise_lib.resources.search import Objective, Strategy  # noqa: E402
from poise_lib.resources.suites import CHAINS_V1  # noqa: E402
from poise_lib.selection.acquisition import select  # noqa: E402

BARS = ((64, 15, 0.020), (1_000, 7, 0.300), (10_000, 3, 5.0))
"""Nodes, runs, seconds allowed."""
SLOTS, KINDS, CURVES = 8, 6, ("actor/entropy", "actor/kl", "actor/grad_norm", "response_length/mean")


def archive(count: int, seed: int = 0) -> list[Entry]:
    """A synthetic archive of ``count`` entries, three a round."""
    rng = random.Random(seed)
    entries: list[Entry] = []
    for i in range(count):
        parent = rng.choice(entries[-40:]) if entries else None
        rejected = parent is not None and rng.random() < 1 / 12
        base = parent.metrics if parent and parent.metrics else dict.fromkeys(CHAINS_V1.weights(), 50.0)
        composition = list(parent.composition) if parent else [_component(rng, slot) for slot in range(SLOTS)]
        changed = rng.randrange(SLOTS)
        composition[changed] = _component(rng, changed)
        entries.append(
            Entry(
                name=f"c-{i:05d}",
                parents=(parent.name,) if parent else (),
                round=(i + 2) // 3,
                slot=i % 3,
                depth=parent.depth + 1 if parent else 0,
                phase=CandidatePhase.REJECTED if rejected else CandidatePhase.ARCHIVED,
                composition=tuple(composition),
                metrics={} if rejected else {name: value + rng.gauss(0, 1.5) for name, value in base.items()},
                trajectory={f"{curve}.last": rng.gauss(0, 1) for curve in CURVES},
            )
        )
    return entries


def _component(rng: random.Random, slot: int) -> Component:
    return Component(slot=f"slot{slot}", kind=f"kind{rng.randrange(KINDS)}", parameters={"rate": rng.random()})


def main() -> int:
    strategy, objective = Strategy(), Objective()
    select(archive(16), strategy, objective, CHAINS_V1, round=1, seed=0)  # imports scikit-learn
    missed = False
    for count, runs, bar in BARS:
        entries, cpu, wall = archive(count), [], []
        for run in range(runs):
            start = time.process_time(), time.perf_counter()
            select(entries, strategy, objective, CHAINS_V1, round=count // 3 + 1, seed=run)
            cpu.append(time.process_time() - start[0])
            wall.append(time.perf_counter() - start[1])
        median = statistics.median(cpu)
        missed |= median > bar
        figures = f"{median * 1e3:8.1f} ms CPU {statistics.median(wall) * 1e3:8.1f} ms wall   bar {bar * 1e3:6.0f} ms"
        print(f"select over {count:6,} nodes, median of {runs:2d}: {figures}   {'MISSED' if median > bar else 'ok'}")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
