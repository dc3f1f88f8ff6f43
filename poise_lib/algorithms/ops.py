"""Tensor operations that candidates share: group statistics, masked means, surrogates.

Candidates import this module so that their own code holds the idea and not the bookkeeping.  Every function is pure,
works for groups that are not adjacent and differ in size, and gives finite values for groups of one.

Notation: B samples, T response positions; ``group`` is [B] int64 with any values; ``where`` is [B] bool.
"""

from __future__ import annotations

import torch
from torch import Tensor

from poise_lib.algorithms.contract import LossInputs, LossOutput


def _scatter(values: Tensor, group: Tensor) -> tuple[Tensor, Tensor]:
    """Sum ``values`` [B] per group; returns (sums [groups], index [B] into them)."""
    labels, index = torch.unique(group, return_inverse=True)
    sums = torch.zeros(labels.shape[0], dtype=values.dtype, device=values.device)
    return sums.index_add(0, index, values), index


def group_sum(values: Tensor, group: Tensor, where: Tensor | None = None) -> Tensor:
    """Each sample's group total of ``values`` [B] over the samples selected by ``where``; returns [B]."""
    if where is not None:
        values = torch.where(where, values, torch.zeros_like(values))
    sums, index = _scatter(values, group)
    return sums[index]


def group_count(group: Tensor, where: Tensor | None = None) -> Tensor:
    """Each sample's group size (of the samples selected by ``where``) as float32 [B]."""
    ones = torch.ones(group.shape[0], dtype=torch.float32, device=group.device)
    return group_sum(ones, group, where)


def group_mean(values: Tensor, group: Tensor, where: Tensor | None = None) -> Tensor:
    """Each sample's group mean of ``values`` [B]; 0 where a group has no selected sample."""
    return group_sum(values, group, where) / group_count(group, where).clamp(min=1.0)


def group_var(values: Tensor, group: Tensor, where: Tensor | None = None, ddof: float = 0.0) -> Tensor:
    """Each sample's group variance [B]; ``ddof`` 0 is the population's, 1 the sample's; 0 when a group is too small."""
    centred = values - group_mean(values, group, where)
    total = group_sum(centred * centred, group, where)
    freedom = group_count(group, where) - ddof
    enough = freedom > 0
    return torch.where(enough, total / torch.where(enough, freedom, torch.ones_like(freedom)), torch.zeros_like(total))


def group_std(values: Tensor, group: Tensor, where: Tensor | None = None, ddof: float = 0.0) -> Tensor:
    """Square root of :func:`group_var`; not for tensors that carry a gradient (its slope at 0 is infinite)."""
    return group_var(values, group, where, ddof).sqrt()


def group_standardised(
    values: Tensor,
    group: Tensor,
    where: Tensor | None = None,
    *,
    eps_inside: float = 0.0,
    eps_outside: float = 0.0,
    ddof: float = 0.0,
    power: float = 1.0,
) -> Tensor:
    """``(v - mean) / (sqrt(var + eps_inside) + eps_outside) ** power`` within each group; GRPO's advantage.

    Papers and libraries differ in where epsilon stands and in the deviation; all of it is an argument here.

    Args:
        values: [B], without a gradient.
        group: [B].
        where: [B] bool; statistics are those of the selected samples, and the others get 0.
        eps_inside: added to the variance, inside the root.
        eps_outside: added to the deviation, outside the root.
        ddof: 0 for the population's deviation, 1 for the sample's.
        power: 1 divides by the deviation, 0 only centres.

    Returns:
        [B]; 0 where the denominator is 0.
    """
    centred = values - group_mean(values, group, where)
    if where is not None:
        centred = torch.where(where, centred, torch.zeros_like(centred))
    scale = ((group_var(values, group, where, ddof) + eps_inside).sqrt() + eps_outside) ** power
    return torch.where(
        scale > 0, centred / torch.where(scale > 0, scale, torch.ones_like(scale)), torch.zeros_like(scale)
    )


def group_max(values: Tensor, group: Tensor) -> Tensor:
    """Each sample's group maximum of ``values`` [B]."""
    labels, index = torch.unique(group, return_inverse=True)
    best = torch.full((labels.shape[0],), -torch.inf, dtype=values.dtype, device=values.device)
    return best.scatter_reduce(0, index, values, reduce="amax")[index]


def leave_one_out_mean(values: Tensor, group: Tensor) -> Tensor:
    """Mean of ``values`` over the other members of each sample's group [B]; 0 for a group of one (arXiv:2402.14740)."""
    others = group_count(group) - 1.0
    total = group_sum(values, group) - values
    return torch.where(others > 0, total / others.clamp(min=1.0), torch.zeros_like(values))


def spread(per_sample: Tensor, response_mask: Tensor) -> Tensor:
    """Give every token of a response its sample's value: [B], [B, T] -> [B, T], 0 outside the mask."""
    return per_sample.unsqueeze(-1) * response_mask.to(per_sample.dtype)


def masked(values: Tensor, response_mask: Tensor) -> Tensor:
    """``values`` [B, T] where the mask is True, 0 elsewhere whatever stands there."""
    return torch.where(response_mask, values, torch.zeros_like(values))


def sequence_mean(values: Tensor, response_mask: Tensor) -> Tensor:
    """Mean of ``values`` [B, T] over each response's tokens; [B], 0 for an empty response."""
    return masked(values, response_mask).sum(-1) / response_mask.sum(-1).clamp(min=1)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of ``values`` where ``mask`` is True, same shapes; scalar, 0 when nothing is selected."""
    return masked(values, mask).sum() / mask.sum().clamp(min=1)


def log_ratio(logprobs: Tensor, old_logprobs: Tensor, response_mask: Tensor) -> Tensor:
    """log pi / pi_old per token [B, T]; 0 outside the mask, clamped to [-20, 20] so that its exponential is finite."""
    return masked(logprobs - old_logprobs, response_mask).clamp(-20.0, 20.0)


def clipped_surrogate(ratio: Tensor, advantages: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    """PPO's pessimistic surrogate as a loss (arXiv:1707.06347, eq. 7).

    Args:
        ratio: importance ratio, [B, T] or [B].
        advantages: same shape.
        low: lower clip ratio; the ratio is clipped to [1 - low, 1 + high].
        high: upper clip ratio.

    Returns:
        (loss, clipped): ``-min(ratio*A, clip(ratio)*A)``, and 1.0 where the clip took the gradient away; both of the
        shape of ``ratio``.
    """
    plain = -advantages * ratio
    bounded = -advantages * ratio.clamp(1.0 - low, 1.0 + high)
    return torch.maximum(plain, bounded), (bounded > plain).to(ratio.dtype).detach()


def kl_k3(logprobs: Tensor, ref_logprobs: Tensor | None, response_mask: Tensor) -> Tensor:
    """Schulman's k3 estimate of KL(pi || ref) per token [B, T], never negative; GRPO's (arXiv:2402.03300, eq. 4).

    Raises:
        ValueError: there is no reference, because NEEDS does not name it.
    """
    if ref_logprobs is None:
        raise ValueError('ref_logprobs is None; name "reference" in NEEDS')
    gap = log_ratio(ref_logprobs, logprobs, response_mask)
    return gap.exp() - gap - 1.0


def kl_k1(logprobs: Tensor, ref_logprobs: Tensor | None, response_mask: Tensor) -> Tensor:
    """log pi / ref per token [B, T]: the plain estimate of KL(pi || ref), of either sign; 0 outside the mask.

    Raises:
        ValueError: there is no reference, because NEEDS does not name it.
    """
    if ref_logprobs is None:
        raise ValueError('ref_logprobs is None; name "reference" in NEEDS')
    return log_ratio(logprobs, ref_logprobs, response_mask)


def token_entropy(entropy: Tensor | None, response_mask: Tensor) -> Tensor:
    """Entropy per token [B, T], nats; 0 outside the mask.

    Raises:
        ValueError: there is no entropy, because NEEDS does not name it.
    """
    if entropy is None:
        raise ValueError('entropy is None; name "entropy" in NEEDS')
    return masked(entropy, response_mask)


def clipped_objective(
    inputs: LossInputs,
    clip_low: float,
    clip_high: float,
    *,
    kl_coef: float | None = None,
    entropy_coef: float | None = None,
) -> LossOutput:
    """The objective that most candidates share: clipped surrogate ``+ kl_coef * k3 - entropy_coef * entropy``.

    Args:
        inputs: what :func:`policy_loss` got.
        clip_low: the ratio is clipped to [1 - clip_low, 1 + clip_high].
        clip_high: see ``clip_low``.
        kl_coef: weight of the k3 term; None for an objective without one (then NEEDS has no use for "reference").
        entropy_coef: weight of the entropy bonus; None for an objective without one.

    Returns:
        A loss [B, T]; the metrics ``clip_fraction`` and, with a KL term, ``kl``.
    """
    mask = inputs.response_mask
    ratio = log_ratio(inputs.logprobs, inputs.old_logprobs, mask).exp()
    loss, clipped = clipped_surrogate(ratio, inputs.advantages, clip_low, clip_high)
    metrics = {"clip_fraction": clipped}
    if kl_coef is not None:
        kl = kl_k3(inputs.logprobs, inputs.ref_logprobs, mask)
        loss = loss + kl_coef * kl
        metrics["kl"] = kl.detach()
    if entropy_coef is not None:
        loss = loss - entropy_coef * token_entropy(inputs.entropy, mask)
    return LossOutput(loss, metrics)
