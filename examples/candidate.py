"""Hard groups first: a rare success says more than one among many, so groups that mostly fail weigh more."""

from poise_lib.algorithms import ops
from poise_lib.algorithms.contract import Batch, Family, Hyperparameter, LossInputs, LossOutput, Mechanism

TITLE = "Hard groups first"
SOURCE = "written by hand, see docs/candidates.md"
AGGREGATION = "token-mean"
NEEDS = ("reference",)
HYPERPARAMETERS = {
    "eps": Hyperparameter(0.05, 1e-3, 1.0, "added to the group deviation"),
    "focus": Hyperparameter(1.0, 0.0, 4.0, "extra weight of a group in which all fail but one"),
    "clip_low": Hyperparameter(0.2, 0.05, 1.0, "the ratio is clipped below 1 by this"),
    "clip_high": Hyperparameter(0.28, 0.05, 2.0, "and above 1 by this"),
    "kl_coef": Hyperparameter(0.001, 0.0, 0.1, "weight of the KL term to the reference"),
}
MECHANISMS = (
    Mechanism("hard-group-focus", Family.ROUTING, "Rare successes teach more.", "focus", 0.0),
    Mechanism("reference-kl", Family.STABILISATION, "Keeps the policy close to the reference.", "kl_coef", 0.0),
)


def advantages(batch: Batch, hyper):
    """(r - mean) / (deviation + eps) within the group, times 1 + focus * share of failures in the group."""
    mean = ops.group_mean(batch.rewards, batch.group)
    deviation = ops.group_std(batch.rewards, batch.group)
    failures = 1.0 - ops.group_mean(batch.correct.float(), batch.group)
    weight = 1.0 + hyper["focus"] * failures
    return ops.spread(weight * (batch.rewards - mean) / (deviation + hyper["eps"]), batch.response_mask)


def policy_loss(inputs: LossInputs, hyper):
    """PPO's surrogate with a wider upper clip, plus the k3 estimate of the KL to the reference."""
    ratio = ops.log_ratio(inputs.logprobs, inputs.old_logprobs, inputs.response_mask).exp()
    loss, clipped = ops.clipped_surrogate(ratio, inputs.advantages, hyper["clip_low"], hyper["clip_high"])
    kl = ops.kl_k3(inputs.logprobs, inputs.ref_logprobs, inputs.response_mask)
    return LossOutput(loss + hyper["kl_coef"] * kl, {"clip_fraction": clipped, "kl": kl.detach()})
