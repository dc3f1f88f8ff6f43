"""The whole actor loss of a micro-batch, as the candidate defines it.

VeRL adds up the gradients of micro-batches and averages them over data-parallel ranks, so a micro-batch contributes

    share = dp_size * (candidate's loss, reduced with counts over the whole mini-batch, all ranks)

and neither a split into micro-batches nor one over ranks changes anything.  VeRL's own entropy and KL terms are not
added: they are the candidate's.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from poise_lib.algorithms import ops
from poise_lib.algorithms.aggregation import MiniBatchCounts, aggregate
from poise_lib.algorithms.contract import Algorithm, Hyper, LossInputs
from poise_lib.errors import CandidateError
from poise_lib.evaluation.nano.checks import require
from poise_lib.evaluation.verl.adapter.blame import blamed
from poise_lib.evaluation.verl.adapter.convert import StepState
from poise_lib.evaluation.verl.adapter.metrics import RATIO_OUTSIDE, MetricSums


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """A micro-batch as VeRL's actor holds it, padded: b rows of T response positions."""

    logprobs: Tensor
    """[b, T], with a gradient."""
    old_logprobs: Tensor
    advantages: Tensor
    response_mask: Tensor
    """[b, T], int64 or bool."""
    ref_logprobs: Tensor | None = None
    rollout_logprobs: Tensor | None = None
    entropy: Tensor | None = None
    """[b, T] nats, with a gradient."""


@dataclass(frozen=True, slots=True)
class MiniBatch:
    """What a mini-batch counts over all micro-batches and all ranks; VeRL's ``global_batch_info``."""

    tokens: int
    sequences: int
    dp_size: int = 1


@dataclass(frozen=True, slots=True)
class Share:
    """What a micro-batch adds."""

    loss: Tensor
    """Scalar with a gradient, times ``dp_size``."""
    metrics: MetricSums


def share_of(algorithm: Algorithm, hyper: Hyper, part: MicroBatch, whole: MiniBatch, state: StepState) -> Share:
    """The candidate's loss on a micro-batch, and sums for its metrics.

    Args:
        algorithm: the candidate.
        hyper: a value for every hyperparameter.
        part: the micro-batch.
        whole: the mini-batch that it belongs to.
        state: of the step.

    Raises:
        CandidateError: the candidate raised, returned something of the wrong shape or not finite, or its loss does not
            depend on ``logprobs``.
    """
    mask = part.response_mask.bool()
    with torch.autocast(mask.device.type, enabled=False):
        inputs = _inputs(algorithm, part, mask, state)
        with blamed("policy_loss", state.step):
            output = algorithm.policy_loss(inputs, hyper)
        per_sequence = algorithm.aggregation == "seq-mean"
        loss = require("policy_loss", output.loss, mask.shape[:1] if per_sequence else mask.shape, state.step)
        if per_sequence:
            loss = loss.where(mask.any(-1), loss.new_zeros(()))  # VeRL fills a batch up with rows without a token
        counts = MiniBatchCounts(whole.tokens, whole.sequences, state.max_length)
        reduced = aggregate(loss, mask, algorithm.aggregation, counts)
        if not reduced.requires_grad:
            raise CandidateError(
                f"step {state.step}: the loss does not depend on logprobs; nothing can be learnt from it"
            )
        sums = MetricSums(tokens=float(mask.sum()), rows=float(mask.any(-1).sum()))
        ratio = ops.log_ratio(inputs.logprobs.detach(), inputs.old_logprobs, mask).exp()
        sums.add(RATIO_OUTSIDE, ((ratio - 1.0).abs() > 0.2).float(), mask)
        for name, values in output.metrics.items():
            sums.add(name, require(f"metric {name!r}", values, (mask.shape, mask.shape[:1]), state.step), mask)
    return Share(reduced * whole.dp_size, sums)


def _inputs(algorithm: Algorithm, part: MicroBatch, mask: Tensor, state: StepState) -> LossInputs:
    """The contract's view: float32, 0 outside the mask, and only what the candidate needs."""

    def shown(values: Tensor | None) -> Tensor | None:
        return None if values is None else ops.masked(values.float(), mask)

    return LossInputs(
        logprobs=ops.masked(part.logprobs.float(), mask),
        old_logprobs=ops.masked(part.old_logprobs.float(), mask),
        ref_logprobs=shown(part.ref_logprobs) if "reference" in algorithm.needs else None,
        rollout_logprobs=shown(part.rollout_logprobs),
        advantages=ops.masked(part.advantages.float(), mask),
        response_mask=mask,
        entropy=shown(part.entropy) if "entropy" in algorithm.needs else None,
        coefficients=state.coefficients,
        step=state.step,
        total_steps=state.total_steps,
    )
