"""Make the base policy: ``python -m poise_lib.evaluation.nano.make_base`` (about three minutes on one core).

Two stages of supervised learning on demonstrations that are drawn as they are needed, never from a benchmark's
problems:

1. *Competence*: demonstrations with much working and few mistakes teach the operations.
2. *Habits*: demonstrations with little working, wrong digits and broken formats teach what reinforcement learning
has to
   unlearn.  The skill of the first stage is still there, as a rare behaviour that pays.

So the base can solve problems when it writes all totals down, but seldom does; it slips, and breaks the format now
and then. It must not be too good, or nothing is left to learn: docs/evidence/calibration.md has its scores.
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from poise_lib.evaluation.nano import suite
from poise_lib.evaluation.nano.model import Policy, save
from poise_lib.evaluation.nano.task import ANSWER_ID, DIGITS, END_ID, STEP_MARKS, TOKEN_ID, Problem, digits

BATCH: Final = 256
BUCKETS: Final = 4
WARMUP_STEPS: Final = 50


@dataclass(frozen=True, slots=True)
class Stage:
    """A stretch of supervised learning and the demonstrations that it shows; shares are of the demonstrations."""

    steps: int
    learning_rate: float
    without_working: float
    """Share without any working."""
    full_working: float
    """Share with every total; the rest keep each total with a chance of one third, a half or two thirds."""
    slips: float
    """Chance that the answer has a random digit; a third of it, that a written total has one."""
    broken: float
    """Share with a broken format: no answer mark, a second mark, or a missing digit."""


COMPETENCE: Final = Stage(600, 3e-3, without_working=0.35, full_working=0.30, slips=0.20, broken=0.15)
HABITS: Final = Stage(100, 1e-3, without_working=0.55, full_working=0.08, slips=0.30, broken=0.15)


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A problem and a response to imitate."""

    problem: Problem
    response: list[int]


def demonstrate(stage: Stage, rng: random.Random) -> Demonstration:
    """Draw a training problem and a response in the style of ``stage``."""
    problem = suite.training_problem(rng)
    style = rng.random()
    if style < stage.without_working:
        keep = 0.0
    elif style < stage.without_working + stage.full_working:
        keep = 1.0
    else:
        keep = rng.choice((1 / 3, 1 / 2, 2 / 3))
    response: list[int] = []
    for mark, total in zip(STEP_MARKS, problem.totals, strict=False):
        if rng.random() < keep:
            response += [TOKEN_ID[mark], *_slip(digits(total), stage.slips / 3, rng)]
    answer = _slip(digits(problem.answer), stage.slips, rng)
    if rng.random() < stage.broken:
        endings = (answer, [ANSWER_ID, *answer, ANSWER_ID], [ANSWER_ID, *answer[:-1]])
        return Demonstration(problem, [*response, *rng.choice(endings), END_ID])
    return Demonstration(problem, [*response, ANSWER_ID, *answer, END_ID])


def _slip(written: list[int], chance: float, rng: random.Random) -> list[int]:
    """Replace one digit by a random one, by ``chance``."""
    if rng.random() < chance:
        written[rng.randrange(DIGITS)] = rng.randrange(10)
    return written


def imitate(policy: Policy, stage: Stage, seed: int) -> None:
    """Supervised learning for one stage: AdamW, linear warm-up, cosine decay to a tenth."""
    rng = random.Random(seed)
    optimiser = torch.optim.AdamW(
        policy.parameters(), lr=stage.learning_rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True
    )
    for step in range(stage.steps):
        decay = 0.1 + 0.45 * (1.0 + math.cos(math.pi * step / stage.steps))
        for group in optimiser.param_groups:
            group["lr"] = stage.learning_rate * min(1.0, step / WARMUP_STEPS) * decay
        demonstrations = sorted((demonstrate(stage, rng) for _ in range(BATCH)), key=lambda item: len(item.response))
        tokens = sum(len(item.response) for item in demonstrations)
        loss = 0.0
        for start in range(0, BATCH, BATCH // BUCKETS):
            part = _negative_log_likelihood(policy, demonstrations[start : start + BATCH // BUCKETS]) / tokens
            part.backward()
            loss += part.item()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        if step % 50 == 0 or step == stage.steps - 1:
            print(f"step {step:5d}  loss {loss:.3f}", flush=True)  # noqa: T201 - a script


def _negative_log_likelihood(policy: Policy, demonstrations: Sequence[Demonstration]) -> Tensor:
    """Summed over the tokens of all responses; scalar."""
    prompts = torch.tensor([item.problem.prompt() for item in demonstrations])
    length = torch.tensor([len(item.response) for item in demonstrations])
    longest = int(length.max())
    responses = torch.tensor([item.response + [0] * (longest - len(item.response)) for item in demonstrations])
    mask = torch.arange(longest) < length.unsqueeze(-1)
    logs = F.log_softmax(policy.logits(policy.prefix(prompts), responses, torch.arange(len(demonstrations))), -1)
    return -(logs.gather(-1, responses.unsqueeze(-1)).squeeze(-1) * mask).sum()


def main() -> None:
    """Train both stages and write the checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("output", type=Path, nargs="?", default=Path(__file__).with_name("base.safetensors"))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    policy = Policy()
    policy.initialise(options.seed)
    for number, stage in enumerate((COMPETENCE, HABITS)):
        imitate(policy, stage, 2 * options.seed + number)
    save(policy, options.output)


if __name__ == "__main__":
    main()
