"""The numbers of one step: what the rollout looked like, and running means over its updates."""

from __future__ import annotations

import torch
from torch import Tensor

from poise_lib.algorithms import ops
from poise_lib.evaluation import trajectory as names
from poise_lib.evaluation.nano.rollout import Rollout
from poise_lib.evaluation.nano.task import END_ID


class Meter:
    """Weighted running means by metric name, on top of metrics that are known from the start."""

    def __init__(self, fixed: dict[str, float]) -> None:
        self._fixed = fixed
        self._sums: dict[str, tuple[float, float]] = {}

    def add(self, name: str, total: float, weight: float) -> None:
        """Add ``total`` (a sum over ``weight`` things)."""
        before, count = self._sums.get(name, (0.0, 0.0))
        self._sums[name] = (before + total, count + weight)

    def add_mean(self, name: str, values: Tensor, mask: Tensor) -> None:
        """Add values per token [B, T], averaged over the mask, or per response [B]."""
        values = values.detach()
        if values.shape == mask.shape:
            self.add(name, float((values * mask).sum()), float(mask.sum()))
        else:
            self.add(name, float(values.sum()), float(values.shape[0]))

    def means(self) -> dict[str, float]:
        """Every metric's mean."""
        return self._fixed | {name: total / max(weight, 1e-9) for name, (total, weight) in self._sums.items()}


def rollout_metrics(
    rollout: Rollout, rewards: Tensor, advantages: Tensor, ref_logprobs: Tensor | None
) -> dict[str, float]:
    """Everything about a step that is known before its first update.

    Args:
        rollout: the step's responses.
        rewards: [B], the candidate's.
        advantages: [B, T], the candidate's.
        ref_logprobs: [B, T] or None.
    """
    samples, mask = rollout.samples, rollout.mask
    length = samples.length.float()
    per_group = ops.group_mean(rollout.correct.float(), rollout.group)
    successes = ops.group_sum(rollout.correct.float(), rollout.group)
    chosen = advantages[mask]
    limit_reached = (samples.length == samples.tokens.shape[1]) & ~_ended(rollout)
    metrics = {
        names.REWARD: rewards.mean(),
        names.ACCURACY: rollout.correct.float().mean(),
        names.FORMAT_VALID: rollout.valid.float().mean(),
        names.ENTROPY: ops.masked_mean(samples.entropy, mask),
        names.RESPONSE_LENGTH: length.mean(),
        names.RESPONSE_LENGTH_MAX: length.max(),
        names.RESPONSE_CUT: limit_reached.float().mean(),
        names.GROUPS_ALL_FAIL: (per_group == 0).float().mean(),
        names.GROUPS_MIXED: ((per_group > 0) & (per_group < 1)).float().mean(),
        names.GROUPS_ALL_CORRECT: (per_group == 1).float().mean(),
        names.GROUPS_RARE_SUCCESS: (successes == 1).float().mean(),
        names.ADVANTAGE_MEAN: chosen.mean(),
        names.ADVANTAGE_STD: chosen.std(correction=0),
        names.ADVANTAGE_MAX: chosen.max(),
        names.ADVANTAGE_MIN: chosen.min(),
    }
    if ref_logprobs is not None:
        metrics[names.KL] = ops.masked_mean(ops.kl_k3(samples.logprobs, ref_logprobs, mask), mask)
    return {name: float(value) for name, value in metrics.items()}


def _ended(rollout: Rollout) -> Tensor:
    """[B] bool: the response's last token is the end token."""
    last = rollout.samples.tokens.gather(-1, (rollout.samples.length - 1).unsqueeze(-1)).squeeze(-1)
    return torch.eq(last, END_ID)
