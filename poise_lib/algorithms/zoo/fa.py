"""FA: all-fail groups are told off by what went wrong, in place of no signal at all.

    max reward of the group > 0: A_i = clip((r_i - mu_g) / (sigma_g + eps), -3, 3)
    else: A_i = -2.0 if malformed, -0.5 if valid but wrong

``failure_scale`` multiplies the second line; 0 leaves all-fail groups without a signal, as GRPO does.
"""

import torch
from torch import Tensor

from poise_lib.algorithms import ops
from poise_lib.algorithms.contract import Batch, Family, Hyper, Hyperparameter, LossInputs, LossOutput, Mechanism

TITLE = "FA-GRPO"
SOURCE = "Xia et al., POISE, arXiv:2603.23951, lineage GRPO -> FA"
AGGREGATION = "seq-mean-token-mean"
NEEDS = ("reference",)
HYPERPARAMETERS = {
    "eps": Hyperparameter(1e-6, 1e-8, 1e-2, "added to the group deviation, outside the root"),
    "bound": Hyperparameter(3.0, 0.5, 10.0, "advantages of groups with a success are clipped to [-bound, bound]"),
    "failure_scale": Hyperparameter(1.0, 0.0, 2.0, "scale of the advantages in all-fail groups"),
    "invalid_advantage": Hyperparameter(-2.0, -5.0, 0.0, "advantage of a malformed response in an all-fail group"),
    "wrong_advantage": Hyperparameter(-0.5, -5.0, 0.0, "advantage of a valid one there"),
    "clip_ratio": Hyperparameter(0.2, 0.0, 1.0, "half width of the clip interval around a ratio of 1"),
    "kl_coef": Hyperparameter(0.001, 0.0, 0.1, "weight of the k3 KL term to the reference"),
}
MECHANISMS = (
    Mechanism(
        "failure-advantage",
        Family.FAILURE_CONTROL,
        "All-fail groups push away from what they did.",
        "failure_scale",
        0.0,
    ),
    Mechanism(
        "graded-failure",
        Family.FAILURE_CONTROL,
        "Malformed failures are pushed away harder than well-formed ones.",
        "invalid_advantage",
        -0.5,
    ),
    Mechanism("reference-kl", Family.STABILISATION, "Keeps the policy close to the reference.", "kl_coef", 0.0),
)


def advantages(batch: Batch, hyper: Hyper) -> Tensor:
    """Bounded group-relative rewards, or fixed penalties where nothing was right."""
    relative = ops.group_standardised(batch.rewards, batch.group, eps_outside=hyper["eps"])
    bounded = relative.clamp(-hyper["bound"], hyper["bound"])
    valid = batch.valid.float()
    penalty = hyper["failure_scale"] * (hyper["wrong_advantage"] * valid + hyper["invalid_advantage"] * (1.0 - valid))
    succeeded = ops.group_max(batch.rewards, batch.group) > 0
    return ops.spread(torch.where(succeeded, bounded, penalty), batch.response_mask)


def policy_loss(inputs: LossInputs, hyper: Hyper) -> LossOutput:
    """PPO's clipped surrogate plus the k3 KL term."""
    return ops.clipped_objective(inputs, hyper["clip_ratio"], hyper["clip_ratio"], kl_coef=hyper["kl_coef"])
