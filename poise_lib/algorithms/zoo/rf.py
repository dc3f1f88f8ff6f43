"""RF: GRPO that falls back to the reference where it fails.

    R_i = 1[correct] - format_penalty * 1[invalid]: right over wrong over malformed
    A_i = (R_i - mu_g) / (sqrt(var_g + eps) + damping)
    in groups without a correct response: A_it = A_i - fallback_kl * log(pi_old / ref)_it
    loss = clipped surrogate + beta * k3(pi || ref)

The paper names damped normalisation, a performance-gated KL fallback for all-fail groups and hierarchical format
rewards without formulas. Chosen here: damping is added to the deviation, which bounds |A| by |R - mu| / damping;
the fallback is the policy gradient of the KL to the reference, through the advantages, since only they know the
groups.
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

TITLE = "RF-GRPO"
SOURCE = "Xia et al., POISE, arXiv:2603.23951, lineage GRPO -> RF; formulas ours"
AGGREGATION = "seq-mean-token-mean"
NEEDS = ("reference",)
HYPERPARAMETERS = {
    "eps": Hyperparameter(1e-6, 1e-8, 1e-2, "added to the group variance, inside the root"),
    "damping": Hyperparameter(0.1, 0.0, 1.0, "added to the group deviation"),
    "format_penalty": Hyperparameter(0.2, 0.0, 2.0, "what a malformed response loses"),
    "fallback_kl": Hyperparameter(0.05, 0.0, 1.0, "weight of the pull to the reference in all-fail groups"),
    "clip_ratio": Hyperparameter(0.2, 0.0, 1.0, "half width of the clip interval around a ratio of 1"),
    "kl_coef": Hyperparameter(0.001, 0.0, 0.1, "weight of the k3 KL term to the reference"),
}
MECHANISMS = (
    Mechanism("damped-normalisation", Family.STABILISATION, "Caps the advantages of rare outcomes.", "damping", 0.0),
    Mechanism(
        "kl-fallback",
        Family.FAILURE_CONTROL,
        "Where nothing succeeds, the policy returns to what it knew.",
        "fallback_kl",
        0.0,
    ),
    Mechanism("format-hierarchy", Family.REWARD, "Malformed is worse than wrong.", "format_penalty", 0.0),
    Mechanism("reference-kl", Family.STABILISATION, "Keeps the policy close to the reference.", "kl_coef", 0.0),
)


def rewards(outcomes: Outcomes, hyper: Hyper) -> Tensor:
    """1 for right, 0 for wrong, -format_penalty for malformed."""
    return outcomes.correct.float() - hyper["format_penalty"] * (~outcomes.valid).float()


def advantages(batch: Batch, hyper: Hyper) -> Tensor:
    """Damped group-relative rewards; all-fail groups are pulled to the reference besides."""
    relative = ops.group_standardised(batch.rewards, batch.group, eps_inside=hyper["eps"], eps_outside=hyper["damping"])
    failed = ops.group_max(batch.correct.float(), batch.group) == 0
    drift = ops.kl_k1(batch.old_logprobs, batch.ref_logprobs, batch.response_mask)
    pull = torch.where(failed.unsqueeze(-1), drift, torch.zeros_like(drift))
    return ops.spread(relative, batch.response_mask) - hyper["fallback_kl"] * pull


def policy_loss(inputs: LossInputs, hyper: Hyper) -> LossOutput:
    """PPO's clipped surrogate plus the k3 KL term."""
    return ops.clipped_objective(inputs, hyper["clip_ratio"], hyper["clip_ratio"], kl_coef=hyper["kl_coef"])
