"""Samples and tokens per second of a training step on one core, sampling and training apart, against the plain engine.

    python benchmarks/bench_engine.py [--repeats 5] [--json FILE]

Both engines train GRPO for the same few steps from the same weights, on the same problems and random numbers, in turn,
in this process.  The weights are the base's after half of a training run, when responses have about the mean length of
the run.  Tokens are response tokens (no prompts, no padding).  The median over the repeats is shown.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import torch

from benchmarks import plain_engine
from poise_lib.algorithms.loading import algorithm_from_module
from poise_lib.algorithms.zoo import grpo
from poise_lib.evaluation import trajectory as names
from poise_lib.evaluation.nano.base import base_policy
from poise_lib.evaluation.nano.config import FULL
from poise_lib.evaluation.nano.model import Policy
from poise_lib.evaluation.nano.training import train

ALGORITHM = algorithm_from_module(grpo, "grpo")
ENGINES = {"plain": plain_engine.in_place, "engine": nullcontext}
STEPS = 2


def measure(start: Callable[[], Policy]) -> dict[str, float]:
    """Samples and tokens per second of STEPS steps, sampling and training apart."""
    config = FULL.model_copy(update={"steps": STEPS, "warmup_steps": 0})
    trajectory = train(ALGORITHM, ALGORITHM.hyper(), config, 0, lambda record: None, start).trajectory
    samples = STEPS * config.prompts_per_step * config.group_size
    tokens = samples * statistics.mean(record[names.RESPONSE_LENGTH] for record in trajectory)
    seconds = {
        "sampling": sum(record[names.TIME_SAMPLE] for record in trajectory),
        "training": sum(record[names.TIME_UPDATE] for record in trajectory),
    }
    seconds["step"] = sum(seconds.values())
    rates = {f"{part} samples/s": samples / taken for part, taken in seconds.items()}
    return rates | {f"{part} tokens/s": tokens / taken for part, taken in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    started = time.perf_counter()
    half = FULL.model_copy(update={"steps": FULL.steps // 2})
    weights = train(ALGORITHM, ALGORITHM.hyper(), half, 0, lambda record: None).policy.state_dict()

    def start() -> Policy:
        policy = base_policy()
        policy.load_state_dict(weights)
        return policy

    found: dict[str, list[dict[str, float]]] = {name: [] for name in ENGINES}
    for _ in range(options.repeats):
        for name, engine in ENGINES.items():
            with engine():
                found[name].append(measure(start))
    medians = {
        name: {metric: statistics.median(run[metric] for run in runs) for metric in runs[0]}
        for name, runs in found.items()
    }
    print(f"{'':22} {'plain':>10} {'engine':>10} {'ratio':>7}")
    for metric, plain in medians["plain"].items():
        print(
            f"{metric:22} {plain:10,.0f} {medians['engine'][metric]:10,.0f} {medians['engine'][metric] / plain:6.2f}x"
        )
    print(f"one core, one thread; median of {options.repeats}; {time.perf_counter() - started:.0f} s in all")
    if options.json:
        options.json.write_text(json.dumps(medians, indent=2) + "\n")


if __name__ == "__main__":
    main()
