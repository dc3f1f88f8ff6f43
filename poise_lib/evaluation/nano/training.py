"""Train a policy with a candidate: the GRPO-style loop that runs any algorithm of the contract.

A step: coefficients from ``schedule`` → responses → ``rewards`` → ``advantages`` → epochs of mini-batches, each an
AdamW update on ``policy_loss``, reduced with counts over the whole mini-batch.  All of the objective is the
candidate's.

The candidate's ``old_logprobs`` and ``entropy`` are those computed while sampling: sampler and trainer run the same
weights in the same arithmetic (a test compares them), which saves a forward pass per step.  Reference
log-probabilities are computed only when NEEDS asks for them.

Results are the same on every run and for every micro-batch size (up to rounding), and depend on no other process: one
thread, every random number drawn from the seed.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn import functional as F

from poise_lib.algorithms import ops
from poise_lib.algorithms.aggregation import MiniBatchCounts, aggregate
from poise_lib.algorithms.contract import Algorithm, Batch, LossInputs, Outcomes
from poise_lib.errors import CandidateError
from poise_lib.evaluation import trajectory as names
from poise_lib.evaluation.nano.base import base_policy
from poise_lib.evaluation.nano.checks import finite_coefficients, require
from poise_lib.evaluation.nano.config import NanoConfig
from poise_lib.evaluation.nano.measure import Meter, rollout_metrics
from poise_lib.evaluation.nano.model import Policy, Prefix, SharedPrefix
from poise_lib.evaluation.nano.optimiser import AdamW
from poise_lib.evaluation.nano.rollout import Rollout, roll_out

OnStep = Callable[[dict[str, float]], None]


@dataclass(frozen=True, slots=True)
class TrainedPolicy:
    """The weights after the last step, and one record of metrics per step (:mod:`poise_lib.evaluation.trajectory`)."""

    policy: Policy
    trajectory: list[dict[str, float]]


def train(
    algorithm: Algorithm,
    hyper: Mapping[str, float],
    config: NanoConfig,
    seed: int,
    on_step: OnStep,
    base: Callable[[], Policy] = base_policy,
) -> TrainedPolicy:
    """Train the base with ``algorithm``.

    Args:
        algorithm: the candidate.
        hyper: a value for every hyperparameter that it declares (:meth:`Algorithm.hyper`).
        config: the training settings.
        seed: decides the problems and all random numbers.
        on_step: receives each step's record as it is made.
        base: makes a fresh copy of the policy to start from.

    Raises:
        CandidateError: the candidate returned something of the wrong shape or not finite, or its gradient
        is not finite;
            the message says what, and at which step.
    """
    policy, reference = base(), base() if "reference" in algorithm.needs else None
    optimiser = AdamW.over(policy.parameters(), config.learning_rate)
    trajectory: list[dict[str, float]] = []
    for step in range(config.steps):
        rate = config.learning_rate * min(1.0, (step + 1) / (config.warmup_steps + 1))
        optimiser.rate = rate
        history = tuple(MappingProxyType(record) for record in trajectory)
        coefficients = finite_coefficients(algorithm, history, hyper, step)
        started = time.perf_counter()
        rollout = roll_out(policy, config, seed, step)
        sampled = time.perf_counter()
        meter = _update(
            _Step(algorithm, hyper, config, seed, step, coefficients), policy, reference, optimiser, rollout
        )
        record = {names.STEP: float(step), names.LEARNING_RATE: rate, **meter.means()}
        record |= {names.COEFFICIENT_PREFIX + name: value for name, value in coefficients.items()}
        record[names.TIME_SAMPLE] = sampled - started
        record[names.TIME_UPDATE] = time.perf_counter() - sampled
        trajectory.append(record)
        on_step(dict(record))
    return TrainedPolicy(policy, trajectory)


@dataclass(frozen=True, slots=True)
class _Step:
    """What stays the same within a step."""

    algorithm: Algorithm
    hyper: Mapping[str, float]
    config: NanoConfig
    seed: int
    step: int
    coefficients: Mapping[str, float]


def token_logprobs(
    policy: Policy, prefix: Prefix, index: Tensor, tokens: Tensor, mask: Tensor, entropy: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Log-probabilities of responses, and the policy's entropy on request.

    Args:
        policy: the weights.
        prefix: of N prompts, under the same weights.
        index: [B] int64: the prompt that each response answers.
        tokens: [B, T] int64.
        mask: [B, T] bool.
        entropy: whether to compute it.

    Returns:
        [B, T] log-probabilities, and [B, T] entropy in nats or None; 0 outside the mask.
    """
    logs = F.log_softmax(policy.logits(prefix, tokens, index), -1)
    chosen = logs.gather(-1, tokens.unsqueeze(-1)).squeeze(-1) * mask
    return chosen, -(logs.exp() * logs).sum(-1) * mask if entropy else None


@dataclass(frozen=True, slots=True)
class Bucket:
    """A micro-batch: rows of the step's batch, and how many response positions they are computed on."""

    rows: Tensor
    width: int


def micro_batches(rows: Tensor, length: Tensor, tokens: int) -> list[Bucket]:
    """Split ``rows`` into buckets of similar length, each of at most ``tokens`` padded tokens (but at least a row)."""
    ordered = rows[length[rows].argsort(stable=True)]
    widths = length[ordered].tolist()
    buckets: list[Bucket] = []
    start = 0
    for end in range(1, len(widths) + 1):
        if end == len(widths) or (end + 1 - start) * widths[end] > tokens:
            buckets.append(Bucket(ordered[start:end], widths[end - 1]))
            start = end
    return buckets


def _reference_logprobs(reference: Policy, rollout: Rollout, config: NanoConfig) -> Tensor:
    """[B, T] under the reference policy, bucket by bucket."""
    result = torch.zeros_like(rollout.samples.logprobs)
    with torch.no_grad():
        prefix = SharedPrefix(reference, rollout.prompts).prefix
        everything = torch.arange(result.shape[0])
        for bucket in micro_batches(everything, rollout.samples.length, config.micro_batch_tokens):
            rows, width = bucket.rows, bucket.width
            tokens, mask = rollout.samples.tokens[rows, :width], rollout.mask[rows, :width]
            result[rows, :width] = token_logprobs(reference, prefix, rollout.group[rows], tokens, mask)[0]
    return result


def _batch(at: _Step, rollout: Rollout, ref_logprobs: Tensor | None) -> Batch:
    """Everything that ``advantages`` may see, with the candidate's rewards."""
    samples, algorithm = rollout.samples, at.algorithm
    outcomes = Outcomes(
        correct=rollout.correct,
        valid=rollout.valid,
        length=samples.length,
        group=rollout.group,
        max_length=at.config.response_length,
        step=at.step,
        total_steps=at.config.steps,
        coefficients=at.coefficients,
    )
    rewards = rollout.correct.float()
    if algorithm.rewards is not None:
        rewards = require("rewards", algorithm.rewards(outcomes, at.hyper), rewards.shape, at.step).float()
    return Batch(
        rewards=rewards,
        correct=rollout.correct,
        valid=rollout.valid,
        group=rollout.group,
        length=samples.length,
        max_length=at.config.response_length,
        response_mask=rollout.mask,
        old_logprobs=samples.logprobs,
        ref_logprobs=ref_logprobs,
        entropy=samples.entropy if "entropy" in algorithm.needs else None,
        coefficients=at.coefficients,
        step=at.step,
        total_steps=at.config.steps,
    )


def _update(at: _Step, policy: Policy, reference: Policy | None, optimiser: AdamW, rollout: Rollout) -> Meter:
    """All epochs and mini-batches of one step; returns what was measured."""
    config, mask = at.config, rollout.mask
    ref_logprobs = None if reference is None else _reference_logprobs(reference, rollout, config)
    batch = _batch(at, rollout, ref_logprobs)
    advantages = require("advantages", at.algorithm.advantages(batch, at.hyper), mask.shape, at.step).detach() * mask
    meter = Meter(rollout_metrics(rollout, batch, advantages))
    generator = torch.Generator().manual_seed(random.Random(f"order/{at.seed}/{at.step}").getrandbits(63))
    for _ in range(config.epochs):
        for prompts in torch.randperm(config.prompts_per_step, generator=generator).tensor_split(config.mini_batches):
            if not prompts.numel():
                continue
            rows = torch.isin(rollout.group, prompts).nonzero().squeeze(-1)
            _mini_batch(at, policy, rollout, batch, advantages, rows, meter)
            norm = float(torch.nn.utils.clip_grad_norm_(policy.parameters(), config.max_grad_norm))
            if not norm < float("inf"):
                raise CandidateError(f"step {at.step}: the gradient of policy_loss is not finite (norm {norm})")
            meter.add(names.GRAD_NORM, norm, 1.0)
            optimiser.step()
            optimiser.clear()
    return meter


def _mini_batch(
    at: _Step, policy: Policy, rollout: Rollout, batch: Batch, advantages: Tensor, rows: Tensor, meter: Meter
) -> None:
    """Accumulate the gradient of one mini-batch over its micro-batches."""
    samples, algorithm = rollout.samples, at.algorithm
    counts = MiniBatchCounts(int(samples.length[rows].sum()), rows.shape[0], at.config.response_length)
    prompts, index = torch.unique(rollout.group[rows], return_inverse=True)
    place = torch.zeros_like(rollout.group).scatter(0, rows, index)  # by row of the batch: its prompt in the prefix
    shared = SharedPrefix(policy, rollout.prompts[prompts])
    total = 0.0
    for bucket in micro_batches(rows, samples.length, at.config.micro_batch_tokens):
        part, width = bucket.rows, bucket.width
        mask, old = rollout.mask[part, :width], samples.logprobs[part, :width]
        logprobs, entropy = token_logprobs(
            policy, shared.prefix, place[part], samples.tokens[part, :width], mask, "entropy" in algorithm.needs
        )
        inputs = LossInputs(
            logprobs=logprobs,
            old_logprobs=old,
            ref_logprobs=None if batch.ref_logprobs is None else batch.ref_logprobs[part, :width],
            rollout_logprobs=None,
            advantages=advantages[part, :width],
            response_mask=mask,
            entropy=entropy,
            coefficients=at.coefficients,
            step=at.step,
            total_steps=at.config.steps,
        )
        output = algorithm.policy_loss(inputs, at.hyper)
        shape = mask.shape[:1] if algorithm.aggregation == "seq-mean" else mask.shape
        loss = aggregate(require("policy_loss", output.loss, shape, at.step), mask, algorithm.aggregation, counts)
        if not loss.requires_grad:
            raise CandidateError(f"step {at.step}: the loss does not depend on logprobs; nothing can be learnt from it")
        loss.backward()
        total += loss.item()
        outside = ((ops.log_ratio(logprobs.detach(), old, mask).exp() - 1.0).abs() > 0.2).float()
        meter.add_mean(names.RATIO_OUTSIDE, outside, mask)
        for name, values in output.metrics.items():
            metric = require(f"metric {name!r}", values, (mask.shape, mask.shape[:1]), at.step)
            meter.add_mean(
                names.CLIP_FRACTION if name == "clip_fraction" else names.CANDIDATE_PREFIX + name, metric, mask
            )
    shared.backward()
    meter.add(names.LOSS, total, 1.0)
