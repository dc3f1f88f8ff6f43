"""What the adapter costs inside VeRL: our GRPO through it against VeRL's own loss, on the same micro-batch.

python -m benchmarks.bench_verl [--rows 32] [--length 512] [--repeats 30] [--train]

Needs VeRL. Times are medians of a forward and a backward pass of the loss alone, from log-probabilities to their gradient: what
the model's own passes take comes on top of both. VeRL's side is `ppo_loss` with `vanilla` and its k3 KL term, which computes
the same numbers (benchmarks.verl_conformance). With --train VeRL also trains the tiny model on this machine, and the
embedded engine its own, for samples per second and the time until the first step.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from benchmarks import verl_conformance as conformance
from poise_lib.algorithms.registry import load as zoo
from poise_lib.algorithms.registry import zoo_source
from poise_lib.evaluation.verl.adapter.spec import CandidateSpec


def batch(rows: int, length: int) -> conformance.Data:
    """Responses of ``length`` / 4 to ``length`` tokens, eight to a group."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(length // 4, length + 1, (rows,), generator=generator)
    lengths[0] = length
    mask = torch.arange(length) < lengths.unsqueeze(-1)
    old = -torch.rand(rows, length, generator=generator) * mask
    prompts = torch.full((rows,), 4)
    return conformance.Data(
        uid=np.array([f"prompt-{row // 8}" for row in range(rows)], dtype=object),
        reward=(torch.rand(rows, generator=generator) < 0.4).float(),
        mask=mask,
        old=old,
        reference=old + 0.1 * torch.randn(rows, length, generator=generator) * mask,
        current=-torch.rand(int((prompts + lengths).sum()), generator=generator),
        prompt_lengths=prompts,
        lengths=lengths,
    )


@dataclass(frozen=True)
class Timed:
    median: float
    """Seconds."""
    fastest: float


def timed(action: Callable[[], object], repeats: int) -> Timed:
    action()
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - started)
    return Timed(statistics.median(seconds), min(seconds))


def overhead(rows: int, length: int, repeats: int) -> None:
    case = conformance.CASES[0]
    data = batch(rows, length)
    advantages = conformance.verl_advantages(case, data)
    parts = [torch.arange(rows)]
    print(f"loss of {rows} responses of up to {length} tokens, forward and backward, {repeats} times:")
    for name, loss in (
        ("VeRL, vanilla and k3", conformance.verl_loss(case)),
        ("GRPO, adapter", conformance.our_loss(case)),
    ):
        found = timed(lambda loss=loss: conformance.run(loss, data, advantages, parts), repeats)
        print(f"  {name:<22} median {found.median * 1e3:7.2f} ms   fastest {found.fastest * 1e3:7.2f} ms")


def training(steps: int) -> None:
    from poise_lib.evaluation.nano.config import NanoConfig
    from poise_lib.evaluation.nano.training import train
    from poise_lib.evaluation.verl.adapter.embedded import TinySettings, train_tiny

    settings = TinySettings(steps=steps)
    marks: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        spec = CandidateSpec(name="grpo", source=zoo_source("grpo"))
        report = train_tiny(spec, settings, Path(folder), lambda record: marks.append(time.monotonic()))
    rows = settings.prompts * settings.samples
    rate = rows * (len(marks) - 1) / (marks[-1] - marks[0])
    print(
        f"VeRL on this machine: {rate:.0f} samples a second; the first step was done after {report.start_seconds:.0f} s"
    )
    algorithm = zoo("grpo")
    config = NanoConfig(steps=steps, prompts_per_step=settings.prompts, group_size=settings.samples)
    started = time.monotonic()
    train(algorithm, algorithm.hyper(), config, 0, lambda record: None)
    print(
        f"embedded engine: {rows * steps / (time.monotonic() - started):.0f} samples a second (a larger model, longer responses)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--steps", type=int, default=10)
    arguments = parser.parse_args()
    if find_spec("verl") is None:
        print("VeRL is not installed here (make verl brings it into an environment of its own); nothing is measured")
        return
    torch.set_num_threads(1)
    overhead(arguments.rows, arguments.length, arguments.repeats)
    if arguments.train:
        training(arguments.steps)


if __name__ == "__main__":
    main()
