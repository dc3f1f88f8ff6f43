"""DCBE: a two-sided brevity signal for correct responses, gated by the square of the success rate (a failure).

    A_acc = (r_i - mu_g) / sqrt(var_g + eps), mu_L = mean length of the group's correct responses
    RLI_i = (mu_L - L_i) / (mu_L + length_eps), gate = (N_correct / N_total)^2
    A_i = A_acc + b * gate * RLI_i * 1[correct]

Unlike CAG, a response shorter than its correct peers gains. In the paper responses grew by a third and Overall fell
to 27.8. The paper gives no b, and does not say over which responses mu_L is taken: the correct ones, as in CAG,
were chosen.
"""

import torch
from torch import Tensor

from poise_lib.algorithms import ops
from poise_lib.algorithms.contract import Batch, Family, Hyper, Hyperparameter, LossInputs, LossOutput, Mechanism

TITLE = "DCBE-GRPO"
SOURCE = "Xia et al., POISE, arXiv:2603.23951, search for shorter responses (DCBE, Overall 27.8, length ratio 1.333)"
AGGREGATION = "seq-mean-token-mean"
NEEDS = ("reference",)
HYPERPARAMETERS = {
    "eps": Hyperparameter(1e-6, 1e-8, 1e-2, "added to the group variance, inside the root"),
    "length_eps": Hyperparameter(1e-6, 1e-8, 1.0, "added to the mean length, tokens"),
    "efficiency_weight": Hyperparameter(0.5, 0.0, 2.0, "b: weight of the relative length"),
    "gate_power": Hyperparameter(2.0, 0.0, 4.0, "power of the success rate that gates it"),
    "clip_ratio": Hyperparameter(0.2, 0.0, 1.0, "half width of the clip interval around a ratio of 1"),
    "kl_coef": Hyperparameter(0.001, 0.0, 0.1, "weight of the k3 KL term to the reference"),
}
MECHANISMS = (
    Mechanism(
        "relative-length",
        Family.LENGTH_SHAPING,
        "Among the correct, the shorter gain and the longer lose.",
        "efficiency_weight",
        0.0,
    ),
    Mechanism("competence-gate", Family.ROUTING, "Length matters only once a prompt is solved.", "gate_power", 0.0),
    Mechanism("reference-kl", Family.STABILISATION, "Keeps the policy close to the reference.", "kl_coef", 0.0),
)


def advantages(batch: Batch, hyper: Hyper) -> Tensor:
    """Group-relative rewards plus the gated relative length of correct responses."""
    accuracy = ops.group_standardised(batch.rewards, batch.group, eps_inside=hyper["eps"])
    rate = ops.group_mean(batch.correct.float(), batch.group)
    length = batch.length.float()
    typical = ops.group_mean(length, batch.group, batch.correct)
    relative = (typical - length) / (typical + hyper["length_eps"])
    brevity = torch.where(batch.correct, relative, torch.zeros_like(relative))
    signal = accuracy + hyper["efficiency_weight"] * rate ** hyper["gate_power"] * brevity
    return ops.spread(signal, batch.response_mask)


def policy_loss(inputs: LossInputs, hyper: Hyper) -> LossOutput:
    """PPO's clipped surrogate plus the k3 KL term."""
    return ops.clipped_objective(inputs, hyper["clip_ratio"], hyper["clip_ratio"], kl_coef=hyper["kl_coef"])
