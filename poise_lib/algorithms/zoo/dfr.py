"""DFR: separate streams for reasoning and format; all-fail groups learn from token entropy.

    A_it = reason_it + lambda_fmt * format_i
    reason_it = (r_i - mu_g) / sqrt(var_g + eps) in groups with a success
              = entropy_weight * (H_it - mean) / sqrt(var + eps) in all-fail groups, over all tokens of the group
    format_i = (v_i - mean_g(v)) / sqrt(var_g(v) + eps), v = 1 for a valid response, else 0

The paper says that the signal of all-fail groups is zero-centred and comes from token entropy. Its sign and form
are ours: a failed group raises the tokens at which the policy hesitated and lowers those of which it was sure, that
is, it explores.
"""

import torch
from torch import Tensor

from poise_lib.algorithms import ops
from poise_lib.algorithms.contract import Batch, Family, Hyper, Hyperparameter, LossInputs, LossOutput, Mechanism

TITLE = "DFR-GRPO"
SOURCE = "Xia et al., POISE, arXiv:2603.23951, lineage GRPO -> FA -> DFR; form of the entropy signal ours"
AGGREGATION = "seq-mean-token-mean"
NEEDS = ("reference", "entropy")
HYPERPARAMETERS = {
    "eps": Hyperparameter(1e-6, 1e-8, 1e-2, "added to variances, inside the root"),
    "format_weight": Hyperparameter(0.3, 0.0, 2.0, "lambda_fmt: weight of the format stream"),
    "entropy_weight": Hyperparameter(0.1, 0.0, 1.0, "weight of the entropy signal in all-fail groups"),
    "clip_ratio": Hyperparameter(0.2, 0.0, 1.0, "half width of the clip interval around a ratio of 1"),
    "kl_coef": Hyperparameter(0.001, 0.0, 0.1, "weight of the k3 KL term to the reference"),
}
MECHANISMS = (
    Mechanism("format-stream", Family.ROUTING, "Format is learnt apart from the outcome.", "format_weight", 0.0),
    Mechanism(
        "entropy-signal", Family.FAILURE_CONTROL, "All-fail groups explore where in doubt.", "entropy_weight", 0.0
    ),
    Mechanism("reference-kl", Family.STABILISATION, "Keeps the policy close to the reference.", "kl_coef", 0.0),
)


def group_token_standardised(values: Tensor, mask: Tensor, group: Tensor, eps: float) -> Tensor:
    """Standardise [B, T] over all masked tokens of each group; 0 outside the mask."""
    inside = mask.to(values.dtype)
    tokens = ops.group_sum(inside.sum(-1), group).clamp(min=1.0)
    mean = ops.group_sum((values * inside).sum(-1), group) / tokens
    centred = (values - mean.unsqueeze(-1)) * inside
    variance = ops.group_sum((centred * centred).sum(-1), group) / tokens
    return centred / (variance.unsqueeze(-1) + eps).sqrt()


def advantages(batch: Batch, hyper: Hyper) -> Tensor:
    """The outcome stream, or the entropy signal where all failed, plus the format stream."""
    mask, eps = batch.response_mask, hyper["eps"]
    outcome = ops.spread(ops.group_standardised(batch.rewards, batch.group, eps_inside=eps), mask)
    doubt = group_token_standardised(ops.token_entropy(batch.entropy, mask), mask, batch.group, eps)
    failed = ops.group_max(batch.correct.float(), batch.group) == 0
    reason = torch.where(failed.unsqueeze(-1), hyper["entropy_weight"] * doubt, outcome)
    form = ops.group_standardised(batch.valid.float(), batch.group, eps_inside=eps)
    return reason + hyper["format_weight"] * ops.spread(form, mask)


def policy_loss(inputs: LossInputs, hyper: Hyper) -> LossOutput:
    """PPO's clipped surrogate plus the k3 KL term."""
    return ops.clipped_objective(inputs, hyper["clip_ratio"], hyper["clip_ratio"], kl_coef=hyper["kl_coef"])
