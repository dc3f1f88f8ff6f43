"""The adapter's arithmetic on an accelerator against the CPU: advantages, loss and gradient of every algorithm of the zoo.

python -m benchmarks.verl_device [--device cuda] [--rows 256] [--length 512]

Needs torch alone, neither VeRL nor Ray: it is what VeRL's trainer and actor call, on tensors as they hold them (int64 masks,
uid strings), inside bfloat16 autocast as VeRL's engine has it.  Prints the largest relative differences, and exits with 1
where one is above 1e-5.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from poise_lib.algorithms import registry
from poise_lib.algorithms.contract import Algorithm
from poise_lib.evaluation.verl.adapter.convert import Samples, StepState, advantages_of
from poise_lib.evaluation.verl.adapter.objective import MicroBatch, MiniBatch, share_of

BOUND = 1e-5
GROUP = 8
HISTORY = [{"actor/entropy": 1.0, "critic/rewards/mean": 0.1}, {"actor/entropy": 0.8, "critic/rewards/mean": 0.3}]


@dataclass(frozen=True)
class Numbers:
    """What one device makes of a batch."""

    advantages: Tensor
    loss: float
    gradient: Tensor
    seconds: float


def samples(rows: int, length: int) -> tuple[Samples, Tensor]:
    """A step's batch on the CPU, and log-probabilities under a policy that has moved."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(1, length + 1, (rows,), generator=generator)
    lengths[0] = length
    mask = torch.arange(length) < lengths.unsqueeze(-1)
    old = -3.0 * torch.rand(rows, length, generator=generator)
    noise = torch.randn(2, rows, length, generator=generator)
    correct = torch.rand(rows, generator=generator) < 0.4
    last = torch.arange(length) == (lengths - 1).unsqueeze(-1)
    extras = [
        {"correct": float(right), "valid": float(right or row % 3 > 0)} for row, right in enumerate(correct.tolist())
    ]
    made = Samples(
        scores=last.float() * correct.float().unsqueeze(-1),
        response_mask=mask.to(torch.int64),
        uid=[f"prompt-{row // GROUP}" for row in range(rows)],
        old_logprobs=old,
        ref_logprobs=old + 0.2 * noise[0],
        entropy=2.0 * torch.rand(rows, length, generator=generator),
        extras=extras,
    )
    return made, old + 0.1 * noise[1]


def numbers(algorithm: Algorithm, made: Samples, current: Tensor, device: torch.device) -> Numbers:
    """One step of a candidate's on a device: advantages, then the loss of the whole batch as one micro-batch."""
    hyper = algorithm.hyper()
    coefficients = algorithm.schedule(HISTORY, hyper) if algorithm.schedule else {}
    state = StepState(2, 10, made.response_mask.shape[1], coefficients)
    names = ("scores", "response_mask", "old_logprobs", "ref_logprobs", "entropy")
    there = replace(made, **{name: getattr(made, name).to(device) for name in names})
    leaf, entropy = current.to(device).requires_grad_(), there.entropy.clone().requires_grad_()
    whole = MiniBatch(int(made.response_mask.sum()), made.response_mask.shape[0])
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        leaf.grad = None
        advantages = advantages_of(algorithm, hyper, there, state).advantages
        part = MicroBatch(
            leaf, there.old_logprobs, advantages, there.response_mask, there.ref_logprobs, there.old_logprobs, entropy
        )
        with torch.autocast(device.type, torch.bfloat16):
            share = share_of(algorithm, hyper, part, whole, state)
        share.loss.backward()
        loss = share.loss.item()
        seconds.append(time.perf_counter() - started)
    return Numbers(advantages.cpu(), loss, leaf.grad.cpu(), min(seconds))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--length", type=int, default=512)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    made, current = samples(arguments.rows, arguments.length)
    what = torch.cuda.get_device_name(device) if device.type == "cuda" else "the CPU itself"
    print(f"{what}, torch {torch.__version__}: {arguments.rows} responses of up to {arguments.length} tokens")
    print(
        "| algorithm | advantages | loss | gradient | CPU, ms | device, ms |\n| --- | ---: | ---: | ---: | ---: | ---: |"
    )
    worst = 0.0
    for name in registry.NAMES:
        algorithm = registry.load(name)
        left, right = (numbers(algorithm, made, current.clone(), where) for where in (torch.device("cpu"), device))
        scale = float((left.advantages.abs() * made.response_mask).sum() / made.response_mask.sum())
        differences = (
            float((left.advantages - right.advantages).abs().max() / left.advantages.abs().max()),
            abs(left.loss - right.loss) / max(abs(left.loss), scale),
            float((left.gradient - right.gradient).abs().max() / left.gradient.abs().max()),
        )
        worst = max(worst, *differences)
        print(f"| {name} | {' | '.join(f'{value:.1e}' for value in differences)} | "
              f"{left.seconds * 1e3:.1f} | {right.seconds * 1e3:.1f} |")  # fmt: skip
    print(f"largest: {worst:.1e}")
    return int(not worst <= BOUND)


if __name__ == "__main__":
    sys.exit(main())
