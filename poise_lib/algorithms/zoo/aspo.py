"""ASPO: flipped importance ratios for tokens of positive advantage, so that unlikely tokens get the larger weight.

    masked:  A > 0 and rho > 1 + clip_high, or A < 0 and rho < 1 - clip_low: no gradient, as in PPO
    weight:  w = 1 / rho if A > 0 else rho, held constant and at most dual_clip
    loss = -A * w * pi / sg(pi): the gradient is -A * w * grad log pi

The flip is the paper's pi_old * pi / sg(pi^2). The soft dual clip bounds the weight and keeps the gradient, as
CISPO does. Chosen here: both signs are bounded alike, at the 3 that is customary for dual clipping. Everything else
is DAPO's: decoupled clip interval, token-mean, group-standardised advantages, no KL term.
"""

import torch
from torch import Tensor

from poise_lib.algorithms import ops
from poise_lib.algorithms.contract import Batch, Family, Hyper, Hyperparameter, LossInputs, LossOutput, Mechanism

TITLE = "ASPO"
SOURCE = "Wang et al., Asymmetric Importance Sampling Policy Optimization, arXiv:2510.06062"
AGGREGATION = "token-mean"
HYPERPARAMETERS = {
    "eps": Hyperparameter(1e-6, 1e-8, 1e-2, "added to the group variance, inside the root"),
    "ddof": Hyperparameter(0.0, 0.0, 1.0, "0 takes the population's deviation, 1 the sample's"),
    "normalise": Hyperparameter(1.0, 0.0, 1.0, "power of the group deviation in the denominator; 0 only centres"),
    "flip": Hyperparameter(1.0, 0.0, 1.0, "1 flips the ratio of positive tokens, 0 keeps it"),
    "soft_dual_clip": Hyperparameter(1.0, 0.0, 1.0, "1 bounds the weights by dual_clip, 0 does not"),
    "dual_clip": Hyperparameter(3.0, 1.0, 10.0, "the largest weight of a token"),
    "clip_low": Hyperparameter(0.2, 0.0, 1.0, "negative tokens are masked below 1 - clip_low"),
    "clip_high": Hyperparameter(0.28, 0.0, 1.0, "positive tokens are masked above 1 + clip_high"),
}
MECHANISMS = (
    Mechanism("ratio-flip", Family.OBJECTIVE, "Positive tokens that lag behind catch up first.", "flip", 0.0),
    Mechanism(
        "soft-dual-clip", Family.STABILISATION, "Bounds extreme weights and keeps gradients.", "soft_dual_clip", 0.0
    ),
    Mechanism(
        "group-normalisation", Family.CORE_SIGNAL, "Equalises the scale of easy and hard groups.", "normalise", 0.0
    ),
)


def advantages(batch: Batch, hyper: Hyper) -> Tensor:
    """Group-standardised rewards, the same for every token of a response."""
    relative = ops.group_standardised(
        batch.rewards, batch.group, eps_inside=hyper["eps"], ddof=hyper["ddof"], power=hyper["normalise"]
    )
    return ops.spread(relative, batch.response_mask)


def policy_loss(inputs: LossInputs, hyper: Hyper) -> LossOutput:
    """Policy gradient with asymmetric, bounded weights on the tokens that clipping leaves."""
    advantage = inputs.advantages
    log_ratio = ops.log_ratio(inputs.logprobs, inputs.old_logprobs, inputs.response_mask)
    ratio = log_ratio.detach().exp()
    flipped = hyper["flip"] * (1.0 / ratio) + (1.0 - hyper["flip"]) * ratio
    weight = torch.where(advantage > 0, flipped, ratio)
    bounded = weight.clamp(max=hyper["dual_clip"])
    weight = hyper["soft_dual_clip"] * bounded + (1.0 - hyper["soft_dual_clip"]) * weight
    too_high = (advantage > 0) & (ratio > 1.0 + hyper["clip_high"])
    too_low = (advantage < 0) & (ratio < 1.0 - hyper["clip_low"])
    masked = too_high | too_low
    unit = (log_ratio - log_ratio.detach()).exp()
    loss = -advantage * weight * torch.where(masked, unit.detach(), unit)
    return LossOutput(loss, {"clip_fraction": masked.float(), "weight": weight})
