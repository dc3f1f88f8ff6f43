"""CAG: correct responses longer than their correct peers lose a little, the more the better the prompt is solved.

    SR = success rate of the group, mu_L = mean length of its correct responses
    A_acc = (r_i - mu_g) / sqrt(var_g + eps)
    eff_i = min((mu_L - L_i) / mu_L, 0)
    A_i = A_acc + b * SR^2 * eff_i * 1[correct]

Short responses gain nothing, so there is no prize for giving up working. The paper gives no b_base.
"""

import torch
from torch import Tensor

from poise_lib.algorithms import ops
from poise_lib.algorithms.contract import Batch, Family, Hyper, Hyperparameter, LossInputs, LossOutput, Mechanism

TITLE = "CAG-GRPO"
SOURCE = "Xia et al., POISE, arXiv:2603.23951, search for shorter responses (CAG, Overall 49.5, length ratio 0.854)"
AGGREGATION = "seq-mean-token-mean"
NEEDS = ("reference",)
HYPERPARAMETERS = {
    "eps": Hyperparameter(1e-6, 1e-8, 1e-2, "added to the group variance, inside the root"),
    "efficiency_weight": Hyperparameter(0.5, 0.0, 2.0, "b_base: weight of the length penalty"),
    "gate_power": Hyperparameter(2.0, 0.0, 4.0, "power of the success rate that gates the penalty"),
    "clip_ratio": Hyperparameter(0.2, 0.0, 1.0, "half width of the clip interval around a ratio of 1"),
    "kl_coef": Hyperparameter(0.001, 0.0, 0.1, "weight of the k3 KL term to the reference"),
}
MECHANISMS = (
    Mechanism(
        "overlength-penalty",
        Family.LENGTH_SHAPING,
        "Correct responses lose by being longer than their correct peers.",
        "efficiency_weight",
        0.0,
    ),
    Mechanism("competence-gate", Family.ROUTING, "Length matters only once a prompt is solved.", "gate_power", 0.0),
    Mechanism("reference-kl", Family.STABILISATION, "Keeps the policy close to the reference.", "kl_coef", 0.0),
)


def advantages(batch: Batch, hyper: Hyper) -> Tensor:
    """Group-relative rewards less the gated penalty on long correct responses."""
    accuracy = ops.group_standardised(batch.rewards, batch.group, eps_inside=hyper["eps"])
    rate = ops.group_mean(batch.correct.float(), batch.group)
    length = batch.length.float()
    typical = ops.group_mean(length, batch.group, batch.correct).clamp(min=1.0)
    excess = torch.where(batch.correct, (typical - length) / typical, torch.zeros_like(length)).clamp(max=0.0)
    penalty = hyper["efficiency_weight"] * rate ** hyper["gate_power"] * excess
    return ops.spread(accuracy + penalty, batch.response_mask)


def policy_loss(inputs: LossInputs, hyper: Hyper) -> LossOutput:
    """PPO's clipped surrogate plus the k3 KL term."""
    return ops.clipped_objective(inputs, hyper["clip_ratio"], hyper["clip_ratio"], kl_coef=hyper["kl_coef"])
