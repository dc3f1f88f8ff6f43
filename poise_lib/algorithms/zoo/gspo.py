"""GSPO: importance ratios of whole sequences, clipped as wholes.

    s_i = exp(mean over tokens of log(pi / pi_old))
    loss_i = -min(s_i * A_i, clip(s_i, 1 - clip_low, 1 + clip_high) * A_i), A_i as in GRPO; no KL term

The clip interval is the paper's, two or three orders narrower than GRPO's since a mean of log-ratios hardly moves.
``sequence_level`` goes over to one ratio per token: log rho_it = w * log s_i + (1 - w) * log rho_it, with w = 1 for
GSPO.
"""

from torch import Tensor

from poise_lib.algorithms import ops
from poise_lib.algorithms.contract import Batch, Family, Hyper, Hyperparameter, LossInputs, LossOutput, Mechanism

TITLE = "GSPO"
SOURCE = (
    "Zheng et al., Group Sequence Policy Optimization, arXiv:2507.18071, equations 5 to 7; clip ranges of section 5.1"
)
AGGREGATION = "seq-mean"
HYPERPARAMETERS = {
    "eps": Hyperparameter(1e-6, 1e-8, 1e-2, "added to the group variance, inside the root"),
    "eps_outside": Hyperparameter(0.0, 0.0, 1e-2, "added to the group deviation, outside the root"),
    "ddof": Hyperparameter(0.0, 0.0, 1.0, "0 takes the population's deviation, 1 the sample's"),
    "lone_reward": Hyperparameter(
        0.0, 0.0, 1.0, "advantage of a response alone in its group, as a share of its reward"
    ),
    "normalise": Hyperparameter(1.0, 0.0, 1.0, "power of the group deviation in the denominator; 0 only centres"),
    "sequence_level": Hyperparameter(1.0, 0.0, 1.0, "1 has one ratio per sequence, 0 one per token"),
    "clip_low": Hyperparameter(3e-4, 1e-5, 0.5, "the ratio is clipped from below at 1 - clip_low"),
    "clip_high": Hyperparameter(4e-4, 1e-5, 0.5, "the ratio is clipped from above at 1 + clip_high"),
}
MECHANISMS = (
    Mechanism(
        "sequence-ratio",
        Family.OBJECTIVE,
        "Matches the unit of the ratio to the unit of the reward.",
        "sequence_level",
        0.0,
    ),
    Mechanism(
        "group-normalisation", Family.CORE_SIGNAL, "Equalises the scale of easy and hard groups.", "normalise", 0.0
    ),
)


def advantages(batch: Batch, hyper: Hyper) -> Tensor:
    """Group-standardised rewards, the same for every token of a response (GRPO's, with its variations)."""
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
    """Clipped surrogate per sequence, [B]."""
    mask = inputs.response_mask
    token = ops.log_ratio(inputs.logprobs, inputs.old_logprobs, mask)
    sequence = ops.sequence_mean(token, mask).unsqueeze(-1)
    weight = hyper["sequence_level"]
    ratio = (weight * sequence + (1.0 - weight) * token).exp()
    loss, clipped = ops.clipped_surrogate(ratio, inputs.advantages, hyper["clip_low"], hyper["clip_high"])
    return LossOutput(ops.sequence_mean(loss, mask), {"clip_fraction": clipped})
