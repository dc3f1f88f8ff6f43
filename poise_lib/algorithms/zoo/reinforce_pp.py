"""REINFORCE++: token-level KL in the reward, advantages normalised over the whole batch, no critic.

    G_it = r_i - beta * sum over tokens u >= t of log(pi_old / ref)
    A_it = (G_it - mean) / sqrt(var + eps), mean and variance over all tokens of the batch
    loss = -min(rho * A, clip(rho, 1 - c, 1 + c) * A), averaged over all tokens

This is the paper's basic form, made for one response a prompt. Its variant "with baseline" is ``group_baseline`` 1:
the group mean of the rewards is taken off first. (That variant of the paper moves the KL into the loss; here it
stays.) VeRL's variance is the sample's, ``ddof`` 1.
"""

import torch
from torch import Tensor

from poise_lib.algorithms import ops
from poise_lib.algorithms.contract import Batch, Family, Hyper, Hyperparameter, LossInputs, LossOutput, Mechanism

TITLE = "REINFORCE++"
SOURCE = "Hu et al., REINFORCE++, arXiv:2501.03262"
AGGREGATION = "token-mean"
NEEDS = ("reference",)
HYPERPARAMETERS = {
    "eps": Hyperparameter(1e-8, 1e-10, 1e-2, "added to the batch variance, inside the root"),
    "ddof": Hyperparameter(0.0, 0.0, 1.0, "0 takes the population's variance over the batch, 1 the sample's"),
    "normalise": Hyperparameter(1.0, 0.0, 1.0, "1 standardises over the batch, 0 takes the return as it is"),
    "group_baseline": Hyperparameter(0.0, 0.0, 1.0, "share of the group mean that is taken off the reward"),
    "kl_coef": Hyperparameter(0.01, 0.0, 0.2, "weight of a token's KL to the reference in its reward"),
    "clip_ratio": Hyperparameter(0.2, 0.0, 1.0, "half width of the clip interval around a ratio of 1"),
}
MECHANISMS = (
    Mechanism(
        "batch-normalisation",
        Family.CORE_SIGNAL,
        "One scale and one baseline for all prompts: uniform groups keep a signal.",
        "normalise",
        0.0,
    ),
    Mechanism("token-kl-in-reward", Family.STABILISATION, "Each token pays for its own drift.", "kl_coef", 0.0),
)


def advantages(batch: Batch, hyper: Hyper) -> Tensor:
    """Returns-to-go, standardised over all tokens of the batch."""
    mask = batch.response_mask
    reward = batch.rewards - hyper["group_baseline"] * ops.group_mean(batch.rewards, batch.group)
    drift = ops.kl_k1(batch.old_logprobs, batch.ref_logprobs, mask)
    drift_to_go = torch.flip(torch.cumsum(torch.flip(drift, (-1,)), -1), (-1,))
    returns = reward.unsqueeze(-1) - hyper["kl_coef"] * drift_to_go
    centred = returns - ops.masked_mean(returns, mask)
    tokens = mask.sum()
    bessel = tokens / (tokens - hyper["ddof"]).clamp(min=1.0)
    standardised = centred / (bessel * ops.masked_mean(centred * centred, mask) + hyper["eps"]).sqrt()
    weight = hyper["normalise"]
    return (weight * standardised + (1.0 - weight) * returns) * mask.to(returns.dtype)


def policy_loss(inputs: LossInputs, hyper: Hyper) -> LossOutput:
    """PPO's clipped surrogate; the KL term stands in the reward."""
    return ops.clipped_objective(inputs, hyper["clip_ratio"], hyper["clip_ratio"])
