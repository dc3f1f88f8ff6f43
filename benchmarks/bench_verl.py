"""What the adapter costs inside VeRL: our GRPO through it against VeRL's own loss, on the same micro-batch.

python -m benchmarks.bench_verl [--rows 32] [--length 512] [--repeats 30]

Needs VeRL. Times are medians of a forward and a backward pass of the loss alone, from log-probabilities to their gradient: what
the model's own passes take comes on top of both. VeRL's side is `ppo_loss` with `vanilla` and its k3 KL term, which computes
the same numbers (benchmarks.verl_conformance). Whole runs are compared by benchmarks.bench_trainers.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import torch

from benchmarks import verl_conformance as conformance


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=30)
    arguments = parser.parse_args()
    if find_spec("verl") is None:
        print("VeRL is not installed here (make verl brings it into an environment of its own); nothing is measured")
        return
    torch.set_num_threads(1)
    overhead(arguments.rows, arguments.length, arguments.repeats)


if __name__ == "__main__":
    main()
