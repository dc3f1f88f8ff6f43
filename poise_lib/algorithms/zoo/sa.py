"""SA: a baseline between the group's mean and the batch's, and a fixed scale (one of the paper's failures).

    A_i = (r_i - (a * mu_g + (1 - a) * mu_batch)) / sigma_fixed

Uniform groups keep a signal: all-fail ones are pushed away, all-correct ones are reinforced. The paper gives no a
and no sigma_fixed; 0.5 is the greatest deviation of a binary reward.
"""

from torch import Tensor

from poise_lib.algorithms import ops
from poise_lib.algorithms.contract import Batch, Family, Hyper, Hyperparameter, LossInputs, LossOutput, Mechanism

TITLE = "SA-GRPO"
SOURCE = "Xia et al., POISE, arXiv:2603.23951 (SA, Overall 34.5)"
AGGREGATION = "seq-mean-token-mean"
NEEDS = ("reference",)
HYPERPARAMETERS = {
    "group_weight": Hyperparameter(0.5, 0.0, 1.0, "a: weight of the group's mean in the baseline"),
    "sigma_fixed": Hyperparameter(0.5, 0.05, 2.0, "what every advantage is divided by"),
    "clip_ratio": Hyperparameter(0.2, 0.0, 1.0, "half width of the clip interval around a ratio of 1"),
    "kl_coef": Hyperparameter(0.001, 0.0, 0.1, "weight of the k3 KL term to the reference"),
}
MECHANISMS = (
    Mechanism("shared-anchor", Family.CORE_SIGNAL, "Uniform groups are judged against the batch.", "group_weight", 1.0),
    Mechanism("reference-kl", Family.STABILISATION, "Keeps the policy close to the reference.", "kl_coef", 0.0),
)


def advantages(batch: Batch, hyper: Hyper) -> Tensor:
    """Reward less the anchor, over the fixed scale."""
    weight = hyper["group_weight"]
    anchor = weight * ops.group_mean(batch.rewards, batch.group) + (1.0 - weight) * batch.rewards.mean()
    return ops.spread((batch.rewards - anchor) / hyper["sigma_fixed"], batch.response_mask)


def policy_loss(inputs: LossInputs, hyper: Hyper) -> LossOutput:
    """PPO's clipped surrogate plus the k3 KL term."""
    return ops.clipped_objective(inputs, hyper["clip_ratio"], hyper["clip_ratio"], kl_coef=hyper["kl_coef"])
