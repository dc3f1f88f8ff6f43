"""What a step is measured by before its first update, in the same way for every engine."""

from __future__ import annotations

from torch import Tensor

from poise_lib.algorithms import ops
from poise_lib.algorithms.contract import Batch
from poise_lib.evaluation import trajectory as names


def batch_metrics(
    batch: Batch, advantages: Tensor, cut: Tensor, entropy: Tensor | None, ref_logprobs: Tensor | None
) -> dict[str, float]:
    """Metrics of a batch, under the names of :mod:`~poise_lib.evaluation.trajectory`.

    Args:
        batch: what the candidate saw.
        advantages: [B, T], the candidate's.
        cut: [B] bool: the response reached the longest length without ending.
        entropy: [B, T], nats, of the policy that sampled; None where it was not computed.
        ref_logprobs: [B, T]; None without a reference.
    """
    mask, length = batch.response_mask, batch.length.float()
    per_group = ops.group_mean(batch.correct.float(), batch.group)
    successes = ops.group_sum(batch.correct.float(), batch.group)
    chosen = advantages[mask]
    metrics = {
        names.REWARD: batch.rewards.mean(),
        names.ACCURACY: batch.correct.float().mean(),
        names.FORMAT_VALID: batch.valid.float().mean(),
        names.RESPONSE_LENGTH: length.mean(),
        names.RESPONSE_LENGTH_MAX: length.max(),
        names.RESPONSE_CUT: cut.float().mean(),
        names.GROUPS_ALL_FAIL: (per_group == 0).float().mean(),
        names.GROUPS_MIXED: ((per_group > 0) & (per_group < 1)).float().mean(),
        names.GROUPS_ALL_CORRECT: (per_group == 1).float().mean(),
        names.GROUPS_RARE_SUCCESS: (successes == 1).float().mean(),
        names.ADVANTAGE_MEAN: chosen.mean(),
        names.ADVANTAGE_STD: chosen.std(correction=0),
        names.ADVANTAGE_MAX: chosen.max(),
        names.ADVANTAGE_MIN: chosen.min(),
    }
    if entropy is not None:
        metrics[names.ENTROPY] = ops.masked_mean(entropy, mask)
    if ref_logprobs is not None:
        metrics[names.KL] = ops.masked_mean(ops.kl_k3(batch.old_logprobs, ref_logprobs, mask), mask)
    return {name: float(value) for name, value in metrics.items()}
