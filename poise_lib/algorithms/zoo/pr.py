"""PR: groups are partitioned by how they fared, and each part gets a rule of its own.

    solved (success rate >= solved_rate):  A_i = 0
    all-fail:                              A_i = fail_advantage
    mixed:                                 A_i = (r_i - mu_g) / sqrt(var_g + eps)

The paper gives the partition and no values. With solved_rate 1 the first line changes nothing for binary rewards,
whose all-correct groups have no residual; below 1 it also silences groups that are nearly solved.
"""

import torch
from torch import Tensor

from poise_lib.algorithms import ops
from poise_lib.algorithms.contract import Batch, Family, Hyper, Hyperparameter, LossInputs, LossOutput, Mechanism

TITLE = "PR-GRPO"
SOURCE = "Xia et al., POISE, arXiv:2603.23951, lineage GRPO -> GLA -> PR"
AGGREGATION = "seq-mean-token-mean"
NEEDS = ("reference",)
HYPERPARAMETERS = {
    "eps": Hyperparameter(1e-6, 1e-8, 1e-2, "added to the group variance, inside the root"),
    "normalise": Hyperparameter(1.0, 0.0, 1.0, "power of the deviation in mixed groups; 0 only centres"),
    "solved_rate": Hyperparameter(1.0, 0.5, 1.0, "success rate from which a group counts as solved"),
    "fail_advantage": Hyperparameter(-0.5, -3.0, 0.0, "advantage of every response of an all-fail group"),
    "clip_ratio": Hyperparameter(0.2, 0.0, 1.0, "half width of the clip interval around a ratio of 1"),
    "kl_coef": Hyperparameter(0.001, 0.0, 0.1, "weight of the k3 KL term to the reference"),
}
MECHANISMS = (
    Mechanism(
        "mixed-normalisation",
        Family.ROUTING,
        "Only mixed groups are normalised, so none is blown up.",
        "normalise",
        0.0,
    ),
    Mechanism(
        "all-fail-penalty",
        Family.FAILURE_CONTROL,
        "All-fail groups push away from what they did.",
        "fail_advantage",
        0.0,
    ),
    Mechanism("reference-kl", Family.STABILISATION, "Keeps the policy close to the reference.", "kl_coef", 0.0),
)


def advantages(batch: Batch, hyper: Hyper) -> Tensor:
    """One rule for each part of the partition."""
    relative = ops.group_standardised(batch.rewards, batch.group, eps_inside=hyper["eps"], power=hyper["normalise"])
    rate = ops.group_mean(batch.correct.float(), batch.group)
    signal = torch.where(rate >= hyper["solved_rate"], torch.zeros_like(relative), relative)
    signal = torch.where(rate == 0, torch.full_like(signal, hyper["fail_advantage"]), signal)
    return ops.spread(signal, batch.response_mask)


def policy_loss(inputs: LossInputs, hyper: Hyper) -> LossOutput:
    """PPO's clipped surrogate plus the k3 KL term."""
    return ops.clipped_objective(inputs, hyper["clip_ratio"], hyper["clip_ratio"], kl_coef=hyper["kl_coef"])
