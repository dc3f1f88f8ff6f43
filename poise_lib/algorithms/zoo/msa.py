"""MSA: the deviation of outcomes anchors the scale, uniform groups count less, length bends the signal.

    R_i = 1[correct] - format_penalty * 1[invalid]
    sigma = deviation of correctness in the group if that is > eps, else deviation of R, at least eps
    A_i = scale_g * (R_i - mu_g) / sigma, scale_g = 1 for mixed groups, alpha_uniform for all-fail and all-correct ones
    rel_i = L_i / mean length of the group; A_i := A_i * rel_i^lambda if A_i > 0, A_i * rel_i^-lambda if A_i < 0

So long responses gain more when right and lose less when wrong. The paper gives no values for alpha_uniform, lambda
and the format penalty, without which R and correctness would be the same.
"""

import torch
from torch import Tensor

from poise_lib.algorithms import ops
from poise_lib.algorithms.contract import (
    Batch,
    Family,
    Hyper,
    Hyperparameter,
    LossInputs,
    LossOutput,
    Mechanism,
    Outcomes,
)

TITLE = "MSA-GRPO"
SOURCE = "Xia et al., POISE, arXiv:2603.23951, lineage RA -> MSA"
AGGREGATION = "seq-mean-token-mean"
NEEDS = ("reference",)
HYPERPARAMETERS = {
    "eps": Hyperparameter(1e-3, 1e-5, 1e-1, "least deviation that counts as one"),
    "outcome_anchor": Hyperparameter(
        1.0, 0.0, 1.0, "1 scales mixed groups by the outcome's deviation, 0 by the reward's"
    ),
    "alpha_uniform": Hyperparameter(0.3, 0.0, 1.0, "scale of groups whose outcomes are all the same"),
    "length_power": Hyperparameter(0.2, 0.0, 1.0, "lambda: power of the relative length"),
    "format_penalty": Hyperparameter(0.5, 0.0, 2.0, "what a malformed response loses"),
    "clip_ratio": Hyperparameter(0.2, 0.0, 1.0, "half width of the clip interval around a ratio of 1"),
    "kl_coef": Hyperparameter(0.001, 0.0, 0.1, "weight of the k3 KL term to the reference"),
}
MECHANISMS = (
    Mechanism(
        "outcome-anchor",
        Family.CORE_SIGNAL,
        "Format noise does not change the scale of the outcome signal.",
        "outcome_anchor",
        0.0,
    ),
    Mechanism(
        "uniform-damping", Family.ROUTING, "Groups that differ only in format speak softly.", "alpha_uniform", 1.0
    ),
    Mechanism(
        "length-bending",
        Family.LENGTH_SHAPING,
        "Effort is rewarded when right, excused when wrong.",
        "length_power",
        0.0,
    ),
    Mechanism("format-hierarchy", Family.REWARD, "Malformed is worse than wrong.", "format_penalty", 0.0),
    Mechanism("reference-kl", Family.STABILISATION, "Keeps the policy close to the reference.", "kl_coef", 0.0),
)


def rewards(outcomes: Outcomes, hyper: Hyper) -> Tensor:
    """1 for right, 0 for wrong, -format_penalty for malformed."""
    return outcomes.correct.float() - hyper["format_penalty"] * (~outcomes.valid).float()


def advantages(batch: Batch, hyper: Hyper) -> Tensor:
    """Anchored, damped and bent group-relative rewards."""
    total = ops.group_std(batch.rewards, batch.group)
    outcome = ops.group_std(batch.correct.float(), batch.group)
    mixed = outcome > hyper["eps"]
    weight = hyper["outcome_anchor"]
    anchored = weight * outcome + (1.0 - weight) * total
    sigma = torch.where(mixed, anchored, total).clamp(min=hyper["eps"])
    signal = (batch.rewards - ops.group_mean(batch.rewards, batch.group)) / sigma
    signal = torch.where(mixed, signal, hyper["alpha_uniform"] * signal)
    length = batch.length.float().clamp(min=1.0)
    bend = (length / ops.group_mean(length, batch.group)) ** hyper["length_power"]
    return ops.spread(torch.where(signal > 0, signal * bend, signal / bend), batch.response_mask)


def policy_loss(inputs: LossInputs, hyper: Hyper) -> LossOutput:
    """PPO's clipped surrogate plus the k3 KL term."""
    return ops.clipped_objective(inputs, hyper["clip_ratio"], hyper["clip_ratio"], kl_coef=hyper["kl_coef"])
