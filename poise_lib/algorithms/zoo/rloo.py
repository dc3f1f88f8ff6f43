"""RLOO: REINFORCE with the mean reward of the other responses to the prompt as the baseline.

    R_i = r_i - beta * sum over tokens of log(pi_old / ref)
    A_i = R_i - mean of R_j over the others j of the group
    loss = -min(rho * A, clip(rho, 1 - c, 1 + c) * A), summed over each response

The paper takes one gradient step a batch. Engines here take several, so the REINFORCE term carries PPO's clipped
ratio (what libraries do as well); at a ratio of 1 its gradient is REINFORCE's for the whole response, -A_i * grad
log pi(y_i). A response that is alone in its group has no baseline: its advantage is R_i.
"""

from torch import Tensor

from poise_lib.algorithms import ops
from poise_lib.algorithms.contract import Batch, Family, Hyper, Hyperparameter, LossInputs, LossOutput, Mechanism

TITLE = "RLOO"
SOURCE = "Ahmadian et al., Back to Basics, arXiv:2402.14740"
AGGREGATION = "seq-mean-token-sum"
NEEDS = ("reference",)
HYPERPARAMETERS = {
    "leave_one_out": Hyperparameter(1.0, 0.0, 1.0, "1 leaves a response out of its own baseline, 0 counts it in"),
    "kl_coef": Hyperparameter(0.03, 0.0, 0.5, "weight of a response's KL to the reference in its reward"),
    "clip_ratio": Hyperparameter(0.2, 0.0, 1.0, "half width of the clip interval around a ratio of 1"),
}
MECHANISMS = (
    Mechanism(
        "leave-one-out", Family.CORE_SIGNAL, "The baseline does not depend on the response.", "leave_one_out", 0.0
    ),
    Mechanism("kl-in-reward", Family.STABILISATION, "Drifting from the reference costs reward.", "kl_coef", 0.0),
)


def advantages(batch: Batch, hyper: Hyper) -> Tensor:
    """Penalised reward less the mean of the others'."""
    drift = ops.kl_k1(batch.old_logprobs, batch.ref_logprobs, batch.response_mask).sum(-1)
    reward = batch.rewards - hyper["kl_coef"] * drift
    others = ops.leave_one_out_mean(reward, batch.group)
    everyone = ops.group_mean(reward, batch.group)
    baseline = hyper["leave_one_out"] * others + (1.0 - hyper["leave_one_out"]) * everyone
    return ops.spread(reward - baseline, batch.response_mask)


def policy_loss(inputs: LossInputs, hyper: Hyper) -> LossOutput:
    """PPO's clipped surrogate; the KL term stands in the reward."""
    return ops.clipped_objective(inputs, hyper["clip_ratio"], hyper["clip_ratio"])
