"""The numbers of a step, by hand: two groups of three responses, limit four tokens."""

import pytest
import torch

from poise_lib.algorithms.contract import Batch
from poise_lib.evaluation import trajectory as names
from poise_lib.evaluation.nano.measure import Meter, rollout_metrics
from poise_lib.evaluation.nano.rollout import Rollout
from poise_lib.evaluation.nano.sampling import Samples
from poise_lib.evaluation.nano.task import END_ID

LENGTH = torch.tensor([2, 4, 4, 1, 3, 4])
MASK = torch.arange(4) < LENGTH.unsqueeze(-1)
OUTSIDE = 99.0
"""Stands where no token is: it must enter no mean."""


def rollout() -> Rollout:
    tokens = torch.full((6, 4), 7)
    for row in (0, 1, 3, 4):  # the others reached the limit without an end
        tokens[row, LENGTH[row] - 1] = END_ID
    per_row = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]).unsqueeze(-1)
    return Rollout(
        prompts=torch.zeros(2, 3, dtype=torch.int64),
        group=torch.tensor([0, 0, 0, 1, 1, 1]),
        samples=Samples(
            tokens, torch.where(MASK, -per_row, OUTSIDE), torch.where(MASK, per_row, torch.tensor(OUTSIDE)), LENGTH
        ),
        mask=MASK,
        correct=torch.tensor([True, False, False, False, False, False]),
        valid=torch.tensor([True, True, False, True, False, False]),
    )


def seen(made: Rollout, rewards: torch.Tensor, reference: torch.Tensor | None = None) -> Batch:
    """The same as a candidate sees it."""
    return Batch(
        rewards=rewards,
        correct=made.correct,
        valid=made.valid,
        group=made.group,
        length=made.samples.length,
        max_length=4,
        response_mask=made.mask,
        old_logprobs=made.samples.logprobs,
        ref_logprobs=reference,
        entropy=None,
        coefficients={},
        step=0,
        total_steps=1,
    )


def test_every_metric_by_hand() -> None:
    advantages = torch.where(MASK, torch.tensor([2.0, -1.0, -1.0, 0.0, 0.0, 0.0]).unsqueeze(-1), OUTSIDE)
    rewards = torch.tensor([1.0, 0.5, 0.0, 0.5, 0.0, 0.0])
    found = rollout_metrics(rollout(), seen(rollout(), rewards), advantages)
    tokens = 18
    mean = (2 * 2.0 - 8 * 1.0) / tokens
    square = (2 * 4.0 + 8 * 1.0) / tokens
    assert found == pytest.approx(
        {
            names.REWARD: 2.0 / 6,
            names.ACCURACY: 1 / 6,
            names.FORMAT_VALID: 3 / 6,
            names.ENTROPY: (2 * 0.1 + 4 * 0.2 + 4 * 0.3 + 1 * 0.4 + 3 * 0.5 + 4 * 0.6) / tokens,
            names.RESPONSE_LENGTH: 3.0,
            names.RESPONSE_LENGTH_MAX: 4.0,
            names.RESPONSE_CUT: 2 / 6,
            names.GROUPS_ALL_FAIL: 0.5,
            names.GROUPS_MIXED: 0.5,
            names.GROUPS_ALL_CORRECT: 0.0,
            names.GROUPS_RARE_SUCCESS: 0.5,
            names.ADVANTAGE_MEAN: mean,
            names.ADVANTAGE_STD: (square - mean * mean) ** 0.5,
            names.ADVANTAGE_MAX: 2.0,
            names.ADVANTAGE_MIN: -1.0,
        }
    )


def test_kl_is_the_k3_estimate_over_the_tokens() -> None:
    made = rollout()
    reference = torch.where(MASK, made.samples.logprobs - 0.5, OUTSIDE)
    found = rollout_metrics(made, seen(made, torch.zeros(6), reference), torch.zeros(6, 4))
    assert found[names.KL] == pytest.approx(torch.tensor(-0.5).exp().item() + 0.5 - 1.0)


def test_running_means_weigh_by_tokens_or_by_responses() -> None:
    meter = Meter({"fixed": 1.0})
    for value, rows in ((1.0, slice(0, 1)), (4.0, slice(1, 2))):  # two tokens of 1, then four of 4
        meter.add_mean("token", torch.full_like(MASK[rows], value, dtype=torch.float32), MASK[rows])
        meter.add_mean("response", torch.tensor([value]), MASK[rows])
    assert meter.means() == pytest.approx({"fixed": 1.0, "token": (2 * 1.0 + 4 * 4.0) / 6, "response": 2.5})
