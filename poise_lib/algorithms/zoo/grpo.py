"""GRPO: group-relative advantages, PPO clipping, KL to a fixed reference (the baseline of every search).

    A_i = (r_i - mu_g) / sqrt(var_g + eps)
    loss = -min(rho * A, clip(rho, 1 - c, 1 + c) * A) + beta * k3(pi || ref)

Libraries compute the advantage differently. Here each difference is a hyperparameter: VeRL divides by the sample
deviation (``ddof`` 1) with epsilon outside the root (``eps_outside`` 1e-6), and gives a response that is alone in its
group its reward as the advantage (``lone_reward`` 1).
"""

from torch import Tensor

from poise_lib.algorithms import ops
from poise_lib.algorithms.contract import Batch, Family, Hyper, Hyperparameter, LossInputs, LossOutput, Mechanism

TITLE = "GRPO"
SOURCE = "Shao et al., DeepSeekMath, arXiv:2402.03300, section 4.1; epsilon inside the root as in arXiv:2603.23951"
AGGREGATION = "seq-mean-token-mean"
NEEDS = ("reference",)
HYPERPARAMETERS = {
    "eps": Hyperparameter(1e-6, 1e-8, 1e-2, "added to the group variance, inside the root"),
    "eps_outside": Hyperparameter(0.0, 0.0, 1e-2, "added to the group deviation, outside the root"),
    "ddof": Hyperparameter(0.0, 0.0, 1.0, "0 takes the population's deviation, 1 the sample's"),
    "lone_reward": Hyperparameter(
        0.0, 0.0, 1.0, "advantage of a response alone in its group, as a share of its reward"
    ),
    "normalise": Hyperparameter(1.0, 0.0, 1.0, "power of the group deviation in the denominator; 0 only centres"),
    "clip_ratio": Hyperparameter(0.2, 0.0, 1.0, "half width of the clip interval around a ratio of 1"),
    "kl_coef": Hyperparameter(0.001, 0.0, 0.1, "weight of the k3 KL term to the reference"),
}
MECHANISMS = (
    Mechanism(
        "group-normalisation", Family.CORE_SIGNAL, "Equalises the scale of easy and hard groups.", "normalise", 0.0
    ),
    Mechanism("reference-kl", Family.STABILISATION, "Keeps the policy close to the reference.", "kl_coef", 0.0),
)


def advantages(batch: Batch, hyper: Hyper) -> Tensor:
    """(r - group mean) / group deviation, the same for every token of a response."""
    relative = ops.group_standardised(
        batch.rewards,
        batch.group,
        eps_inside=hyper["eps"],
        eps_outside=hyper["eps_outside"],
        ddof=hyper["ddof"],
        power=hyper["normalise"],
    )
    alone = ops.group_count(batch.group) == 1
    return ops.spread(relative + hyper["lone_reward"] * batch.rewards * alone, batch.response_mask)


def policy_loss(inputs: LossInputs, hyper: Hyper) -> LossOutput:
    """PPO's clipped surrogate plus the k3 KL term."""
    return ops.clipped_objective(inputs, hyper["clip_ratio"], hyper["clip_ratio"], kl_coef=hyper["kl_coef"])
