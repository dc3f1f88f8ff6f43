"""The numbers of one step: what the rollout looked like, and running means over its updates."""

from __future__ import annotations

import torch
from torch import Tensor

from poise_lib.algorithms.contract import Batch
from poise_lib.evaluation.nano.rollout import Rollout
from poise_lib.evaluation.nano.task import END_ID
from poise_lib.evaluation.step_metrics import batch_metrics


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


def rollout_metrics(rollout: Rollout, batch: Batch, advantages: Tensor) -> dict[str, float]:
    """Everything about a step that is known before its first update.

    Args:
        rollout: the step's responses.
        batch: the same, as the candidate saw them.
        advantages: [B, T], the candidate's.
    """
    samples = rollout.samples
    cut = (samples.length == samples.tokens.shape[1]) & ~_ended(rollout)
    return batch_metrics(batch, advantages, cut, samples.entropy, batch.ref_logprobs)


def _ended(rollout: Rollout) -> Tensor:
    """[B] bool: the response's last token is the end token."""
    last = rollout.samples.tokens.gather(-1, (rollout.samples.length - 1).unsqueeze(-1)).squeeze(-1)
    return torch.eq(last, END_ID)
