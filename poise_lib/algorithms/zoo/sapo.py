"""SAPO: a smooth sigmoid gate on the ratio in place of clipping, tighter for negative advantages.

    f(rho) = 4 / tau * sigmoid(tau * (rho - 1)), tau = tau_pos if A > 0 else tau_neg
    loss = -f(rho) * A, A as in GRPO; no KL term

The slope of f is 1 at rho = 1 for every tau and fades on both sides. ``soft_gate`` 0 leaves the bare ratio, which
is an importance-weighted policy gradient with no bound at all. The metric ``gate`` is the slope of f: 1 on policy.
"""

import torch
from torch import Tensor

from poise_lib.algorithms import ops
from poise_lib.algorithms.contract import Batch, Family, Hyper, Hyperparameter, LossInputs, LossOutput, Mechanism

TITLE = "SAPO"
SOURCE = "Gao et al., Soft Adaptive Policy Optimization, arXiv:2511.20347"
AGGREGATION = "seq-mean-token-mean"
HYPERPARAMETERS = {
    "eps": Hyperparameter(1e-6, 1e-8, 1e-2, "added to the group variance, inside the root"),
    "eps_outside": Hyperparameter(0.0, 0.0, 1e-2, "added to the group deviation, outside the root"),
    "ddof": Hyperparameter(0.0, 0.0, 1.0, "0 takes the population's deviation, 1 the sample's"),
    "lone_reward": Hyperparameter(
        0.0, 0.0, 1.0, "advantage of a response alone in its group, as a share of its reward"
    ),
    "normalise": Hyperparameter(1.0, 0.0, 1.0, "power of the group deviation in the denominator; 0 only centres"),
    "soft_gate": Hyperparameter(1.0, 0.0, 1.0, "1 gates the ratio, 0 takes it bare"),
    "tau_pos": Hyperparameter(1.0, 0.1, 20.0, "sharpness of the gate for positive advantages"),
    "tau_neg": Hyperparameter(1.05, 0.1, 20.0, "sharpness of the gate for the others"),
}
MECHANISMS = (
    Mechanism("soft-gate", Family.OBJECTIVE, "Fades off-policy tokens out and cuts none off.", "soft_gate", 0.0),
    Mechanism(
        "asymmetric-temperature",
        Family.STABILISATION,
        "Negative updates, which raise many unsampled tokens, fade sooner.",
        "tau_neg",
        1.0,
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
    """The gated surrogate."""
    ratio = ops.log_ratio(inputs.logprobs, inputs.old_logprobs, inputs.response_mask).exp()
    positive = (inputs.advantages > 0).to(ratio.dtype)
    tau = hyper["tau_pos"] * positive + hyper["tau_neg"] * (1.0 - positive)
    sigmoid = torch.sigmoid(tau * (ratio - 1.0))
    weight = hyper["soft_gate"] * 4.0 / tau * sigmoid + (1.0 - hyper["soft_gate"]) * ratio
    slope = (4.0 * sigmoid * (1.0 - sigmoid)).detach()
    return LossOutput(-weight * inputs.advantages, {"gate": slope})
