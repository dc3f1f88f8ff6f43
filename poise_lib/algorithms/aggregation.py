"""Reduce a candidate's loss with counts over the whole mini-batch, so that micro-batches change nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from poise_lib.algorithms.contract import AGGREGATIONS

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class MiniBatchCounts:
    """What a reduction divides by; counted once for a mini-batch, used for each of its micro-batches."""

    tokens: int
    """Response tokens in the mini-batch."""
    sequences: int
    """Responses in the mini-batch."""
    max_length: int
    """The longest response the engine allows, tokens (Dr.GRPO's constant, arXiv:2503.20783)."""


def aggregate(loss: Tensor, response_mask: Tensor, mode: str, counts: MiniBatchCounts) -> Tensor:
    """This micro-batch's share of the mini-batch loss; the shares of all micro-batches add up to it.

    Args:
        loss: [B, T] per token, or [B] per sequence with mode "seq-mean".
        response_mask: [B, T] bool.
        mode: one of :data:`~poise_lib.algorithms.contract.AGGREGATIONS`.
        counts: of the whole mini-batch.

    Returns:
        A scalar that carries the gradient.

    Raises:
        ValueError: the mode is unknown, or the loss has a shape that the mode does not take.
    """
    if mode not in AGGREGATIONS:
        raise ValueError(f"unknown aggregation {mode!r}; use one of {', '.join(AGGREGATIONS)}")
    per_sequence = mode == "seq-mean"
    expected = response_mask.shape[:1] if per_sequence else response_mask.shape
    if loss.shape != expected:
        raise ValueError(f"aggregation {mode!r} takes a loss of shape {tuple(expected)}, got {tuple(loss.shape)}")
    sequences = max(1, counts.sequences)
    if per_sequence:
        return loss.sum() / sequences
    sums = loss.where(response_mask, loss.new_zeros(())).sum(-1)
    if mode == "token-mean":
        return sums.sum() / max(1, counts.tokens)
    if mode == "seq-mean-token-mean":
        return (sums / response_mask.sum(-1).clamp(min=1)).sum() / sequences
    if mode == "seq-mean-token-sum-norm":
        sums = sums / max(1, counts.max_length)
    return sums.sum() / sequences
