"""One step's samples: the problems of a step, their responses, and what the verifier says of them.

Problems and sampling noise depend on the seed and the step alone, never on the algorithm: two algorithms on one
seed see the same problems in the same order and draw from the same random numbers.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
from torch import Tensor

from poise_lib.evaluation.nano import suite
from poise_lib.evaluation.nano.config import NanoConfig
from poise_lib.evaluation.nano.model import Policy
from poise_lib.evaluation.nano.sampling import Samples, sample
from poise_lib.evaluation.nano.task import Problem, Verdict, verify


@dataclass(frozen=True, slots=True)
class Rollout:
    """B = prompts * group size responses, group after group."""

    prompts: Tensor
    """[N, P] int64."""
    group: Tensor
    """[B] int64: the row of ``prompts`` that a response answers."""
    samples: Samples
    mask: Tensor
    """[B, T] bool."""
    correct: Tensor
    """[B] bool."""
    valid: Tensor
    """[B] bool."""


def roll_out(policy: Policy, config: NanoConfig, seed: int, step: int) -> Rollout:
    """Draw the problems of a step, answer each ``group_size`` times, and judge the answers."""
    rng = random.Random(f"train/{seed}/{step}")
    problems = [suite.training_problem(rng) for _ in range(config.prompts_per_step)]
    prompts = torch.tensor([problem.prompt() for problem in problems])
    rows = config.prompts_per_step * config.group_size
    noise = torch.rand(rows, config.response_length, generator=torch.Generator().manual_seed(rng.getrandbits(63)))
    samples = sample(policy, prompts, config.group_size, noise, config.response_length)
    verdicts = judge(problems, config.group_size, samples)
    return Rollout(
        prompts=prompts,
        group=torch.arange(config.prompts_per_step).repeat_interleave(config.group_size),
        samples=samples,
        mask=torch.arange(samples.tokens.shape[1]) < samples.length.unsqueeze(-1),
        correct=torch.tensor([verdict.correct for verdict in verdicts]),
        valid=torch.tensor([verdict.valid for verdict in verdicts]),
    )


def judge(problems: list[Problem] | tuple[Problem, ...], copies: int, samples: Samples) -> list[Verdict]:
    """The verdict on every response, in the order of ``samples``: ``copies`` of them per problem."""
    answers = [problem.answer for problem in problems for _ in range(copies)]
    rows = zip(answers, samples.tokens.tolist(), samples.length.tolist(), strict=True)
    return [verify(answer, tokens[:length]) for answer, tokens, length in rows]
