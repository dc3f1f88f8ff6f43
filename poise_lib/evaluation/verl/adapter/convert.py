"""From VeRL's tensors to a candidate's advantages: once a step, over the whole batch, in the trainer's process.

VeRL pads responses on the right and masks with int64; samples of a prompt share a ``uid`` (a string); what a reward
function found out beyond its score travels as a mapping per sample.  Correct and valid are read from there:

- ``correct``: the first of :data:`CORRECT_KEYS` that the reward function reports, else whether the score is positive.
- ``valid``: the first of :data:`VALID_KEYS`, else True: a reward function that says nothing of a format has none.
  A correct response counts as valid, as the contract says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import torch
from torch import Tensor

from poise_lib.algorithms import ops
from poise_lib.algorithms.contract import Algorithm, Batch, Hyper, Outcomes
from poise_lib.evaluation.nano.checks import require
from poise_lib.evaluation.verl.adapter.blame import blamed

CORRECT_KEYS: Final = ("correct", "acc")
VALID_KEYS: Final = ("valid", "format_valid", "format_ok")

Extras = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class StepState:
    """What stays the same within a step."""

    step: int
    """Steps done so far, from 0 (VeRL counts from 1)."""
    total_steps: int
    max_length: int
    """The longest response allowed, tokens."""
    coefficients: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Samples:
    """A step's batch as VeRL's trainer holds it, B rows of T response positions."""

    scores: Tensor
    """[B, T] float: VeRL's token-level scores, of which a response has the sum."""
    response_mask: Tensor
    """[B, T], int64 or bool."""
    uid: Sequence[object]
    """B labels; responses to the same prompt share one."""
    old_logprobs: Tensor
    """[B, T] float: VeRL's ``old_log_probs``."""
    ref_logprobs: Tensor | None = None
    """[B, T] float: VeRL's ``ref_log_prob``."""
    entropy: Tensor | None = None
    """[B, T] float, nats, of the policy that ``old_logprobs`` come from."""
    extras: Sequence[Extras] | None = None
    """What the reward function reported beside the score, a mapping per sample."""


@dataclass(frozen=True, slots=True)
class Advantages:
    """What a candidate made of a batch."""

    batch: Batch
    advantages: Tensor
    """[B, T] float32, 0 outside the mask."""


def group_index(uid: Sequence[object]) -> Tensor:
    """[B] int64: labels as numbers, by first appearance."""
    known: dict[object, int] = {}
    return torch.tensor([known.setdefault(label, len(known)) for label in uid], dtype=torch.int64)


def outcomes_of(samples: Samples, state: StepState) -> Outcomes:
    """What the verifier found, on the device of the mask."""
    mask = samples.response_mask.bool()
    device = mask.device
    correct = _flags(samples.extras, CORRECT_KEYS)
    if correct is None:
        correct = samples.scores.sum(-1) > 0
    correct = correct.to(device)
    valid = _flags(samples.extras, VALID_KEYS)
    valid = torch.ones_like(correct) if valid is None else valid.to(device) | correct
    return Outcomes(
        correct=correct,
        valid=valid,
        length=mask.sum(-1),
        group=group_index(samples.uid).to(device),
        max_length=state.max_length,
        step=state.step,
        total_steps=state.total_steps,
        coefficients=state.coefficients,
    )


def advantages_of(algorithm: Algorithm, hyper: Hyper, samples: Samples, state: StepState) -> Advantages:
    """The candidate's rewards and advantages for a batch.

    Raises:
        CandidateError: the candidate raised, or returned something of the wrong shape or not finite.
    """
    outcomes, mask = outcomes_of(samples, state), samples.response_mask.bool()
    rewards = outcomes.correct.float()
    if algorithm.rewards is not None:
        with blamed("rewards", state.step):
            rewards = require("rewards", algorithm.rewards(outcomes, hyper), rewards.shape, state.step).float()
    batch = Batch(
        rewards=rewards,
        correct=outcomes.correct,
        valid=outcomes.valid,
        group=outcomes.group,
        length=outcomes.length,
        max_length=state.max_length,
        response_mask=mask,
        old_logprobs=ops.masked(samples.old_logprobs.float(), mask),
        ref_logprobs=_needed(algorithm, "reference", samples.ref_logprobs, mask),
        entropy=_needed(algorithm, "entropy", samples.entropy, mask),
        coefficients=state.coefficients,
        step=state.step,
        total_steps=state.total_steps,
    )
    with blamed("advantages", state.step):
        advantages = require("advantages", algorithm.advantages(batch, hyper), mask.shape, state.step)
    return Advantages(batch, ops.masked(advantages.detach().float(), mask))


def _needed(algorithm: Algorithm, need: str, values: Tensor | None, mask: Tensor) -> Tensor | None:
    """``values`` if the candidate needs them, 0 outside the mask."""
    return None if need not in algorithm.needs or values is None else ops.masked(values.float(), mask)


def _flags(extras: Sequence[Extras] | None, keys: Sequence[str]) -> Tensor | None:
    """[B] bool from the first key that every sample reports; None where no key is."""
    for key in keys:
        if extras and all(isinstance(extra.get(key), bool | int | float) for extra in extras):
            return torch.tensor([float(extra[key]) > 0.5 for extra in extras])  # type: ignore[arg-type]
    return None
