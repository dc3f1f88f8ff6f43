"""Batches from plain rows, so that a test shows who answered what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from poise_lib.algorithms.contract import Algorithm, Batch, LossInputs, Outcomes

MAX_LENGTH = 20
WIDTH = 20


@dataclass(frozen=True)
class Row:
    """One response: its prompt, whether it is right, whether it keeps the format, its length in tokens."""

    group: int
    correct: bool
    valid: bool
    length: int


ROWS = (
    # 3: mixed, with a malformed response, short and long
    Row(3, True, True, 10),
    Row(7, False, False, 8),
    Row(3, False, True, 4),
    # 7: all fail, one of them malformed
    Row(7, False, True, 5),
    Row(3, False, False, 7),
    Row(1, True, True, 4),
    Row(3, True, True, 6),
    Row(7, False, True, 12),
    # 1: all correct, of very different lengths
    Row(1, True, True, 20),
    Row(1, True, True, 10),
    # alone in their groups: wrong, right, malformed
    Row(20, False, True, 5),
    Row(21, True, True, 9),
    Row(22, False, False, 1),
)
"""Every regime in one batch; group members are not adjacent, and groups differ in size."""


def mask_of(rows: Sequence[Row], width: int = WIDTH) -> Tensor:
    """[B, T] bool."""
    return torch.arange(width) < torch.tensor([row.length for row in rows]).unsqueeze(-1)


def outcomes_of(rows: Sequence[Row], step: int = 0, total_steps: int = 10) -> Outcomes:
    """What the verifier would say of ``rows``."""
    return Outcomes(
        correct=torch.tensor([row.correct for row in rows]),
        valid=torch.tensor([row.valid for row in rows]),
        length=torch.tensor([row.length for row in rows]),
        group=torch.tensor([row.group for row in rows]),
        max_length=MAX_LENGTH,
        step=step,
        total_steps=total_steps,
    )


def batch_of(
    algorithm: Algorithm,
    rows: Sequence[Row] = ROWS,
    hyper: Mapping[str, float] | None = None,
    coefficients: Mapping[str, float] | None = None,
    seed: int = 0,
) -> Batch:
    """A step's samples, with the candidate's own rewards and only what it needs; log-probabilities are random."""
    outcomes = outcomes_of(rows)
    values = algorithm.hyper(hyper)
    mask = mask_of(rows)
    random = torch.Generator().manual_seed(seed)
    old = -3.0 * torch.rand(mask.shape, generator=random) * mask
    ref = (old + 0.2 * torch.randn(mask.shape, generator=random)) * mask
    entropy = 2.0 * torch.rand(mask.shape, generator=random) * mask
    return Batch(
        rewards=algorithm.rewards(outcomes, values) if algorithm.rewards else outcomes.correct.float(),
        correct=outcomes.correct,
        valid=outcomes.valid,
        group=outcomes.group,
        length=outcomes.length,
        max_length=MAX_LENGTH,
        response_mask=mask,
        old_logprobs=old,
        ref_logprobs=ref if "reference" in algorithm.needs else None,
        entropy=entropy if "entropy" in algorithm.needs else None,
        coefficients=coefficients or {},
        step=0,
        total_steps=10,
    )


def loss_inputs_of(
    algorithm: Algorithm,
    advantages: Tensor,
    mask: Tensor,
    spread: float = 0.3,
    coefficients: Mapping[str, float] | None = None,
    step: int = 0,
    seed: int = 1,
    dtype: torch.dtype = torch.float32,
) -> LossInputs:
    """A micro-batch whose log-ratios are about ``spread``; log-probabilities and entropy carry gradients."""
    random = torch.Generator().manual_seed(seed)
    shape = mask.shape
    old = (-3.0 * torch.rand(shape, generator=random, dtype=dtype)) * mask
    new = (old + spread * torch.randn(shape, generator=random, dtype=dtype)) * mask
    ref = (old + 0.2 * torch.randn(shape, generator=random, dtype=dtype)) * mask
    entropy = 2.0 * torch.rand(shape, generator=random, dtype=dtype) * mask
    return LossInputs(
        logprobs=new.requires_grad_(),
        old_logprobs=old,
        ref_logprobs=ref if "reference" in algorithm.needs else None,
        rollout_logprobs=None,
        advantages=advantages.to(dtype),
        response_mask=mask,
        entropy=entropy.requires_grad_() if "entropy" in algorithm.needs else None,
        coefficients=coefficients or {},
        step=step,
        total_steps=10,
    )


def permuted(batch: Batch, order: Tensor) -> Batch:
    """The same samples in another order."""
    fields = ("rewards", "correct", "valid", "group", "length", "response_mask", "old_logprobs")
    optional = ("ref_logprobs", "entropy")
    changes = {name: getattr(batch, name)[order] for name in fields}
    changes |= {name: value[order] for name in optional if (value := getattr(batch, name)) is not None}
    return replace(batch, **changes)


def per_sample(advantages: Tensor, mask: Tensor) -> np.ndarray:
    """The one value [B] that every token of a response has; fails if tokens differ or the padding is not 0."""
    values = advantages[:, 0]
    expected = values.unsqueeze(-1) * mask
    torch.testing.assert_close(advantages, expected)
    return values.double().numpy()


class Members:
    """Rows as NumPy arrays, and the positions of each sample's group: what the references are written with."""

    def __init__(self, rows: Sequence[Row] = ROWS) -> None:
        self.correct = np.array([row.correct for row in rows], dtype=float)
        self.valid = np.array([row.valid for row in rows], dtype=bool)
        self.length = np.array([row.length for row in rows], dtype=float)
        self.group = np.array([row.group for row in rows])
        self.size = len(rows)

    def of(self, sample: int) -> np.ndarray:
        """Indices of the group of ``sample``."""
        return np.flatnonzero(self.group == self.group[sample])
