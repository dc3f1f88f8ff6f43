"""GMPO: the geometric mean of a response's token ratios in place of their arithmetic mean.

    d_it = sign(A_i) * log(pi / pi_old), bounded from above by log_clip: the pessimistic side, as in PPO
    loss_i = -A_i * exp(sign(A_i) * mean over tokens of d_it)

A geometric mean hardly feels a single outlying ratio, so that the clip interval can be wide: (exp -0.4, exp 0.4).
``geometric`` 0 goes back to the arithmetic mean of exp(sign(A_i) * d_it), which is GRPO with that interval.
"""

import torch
from torch import Tensor

from poise_lib.algorithms import ops
from poise_lib.algorithms.contract import Batch, Family, Hyper, Hyperparameter, LossInputs, LossOutput, Mechanism

TITLE = "GMPO"
SOURCE = "Zhao et al., Geometric-Mean Policy Optimization, arXiv:2507.20673"
AGGREGATION = "seq-mean"
HYPERPARAMETERS = {
    "eps": Hyperparameter(1e-6, 1e-8, 1e-2, "added to the group variance, inside the root"),
    "eps_outside": Hyperparameter(0.0, 0.0, 1e-2, "added to the group deviation, outside the root"),
    "ddof": Hyperparameter(0.0, 0.0, 1.0, "0 takes the population's deviation, 1 the sample's"),
    "lone_reward": Hyperparameter(
        0.0, 0.0, 1.0, "advantage of a response alone in its group, as a share of its reward"
    ),
    "normalise": Hyperparameter(1.0, 0.0, 1.0, "power of the group deviation in the denominator; 0 only centres"),
    "geometric": Hyperparameter(1.0, 0.0, 1.0, "1 takes the geometric mean over tokens, 0 the arithmetic"),
    "log_clip": Hyperparameter(0.4, 0.01, 2.0, "half width of the clip interval of a token's log-ratio"),
}
MECHANISMS = (
    Mechanism("geometric-mean", Family.OBJECTIVE, "Single tokens cannot dominate an update.", "geometric", 0.0),
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
    """One surrogate per sequence, [B]."""
    mask = inputs.response_mask
    sign = torch.sign(inputs.advantages)
    directed = sign * ops.log_ratio(inputs.logprobs, inputs.old_logprobs, mask)
    bounded = sign * directed.clamp(max=hyper["log_clip"])
    advantage = ops.sequence_mean(inputs.advantages, mask)
    geometric = -advantage * ops.sequence_mean(bounded, mask).exp()
    arithmetic = ops.sequence_mean(-inputs.advantages * bounded.exp(), mask)
    loss = hyper["geometric"] * geometric + (1.0 - hyper["geometric"]) * arithmetic
    return LossOutput(loss, {"clip_fraction": (directed > hyper["log_clip"]).float()})
