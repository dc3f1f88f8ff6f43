"""BN: one deviation for the whole batch, and a hard bound on advantages.

    R_i = 1[correct] - format_penalty * 1[invalid]
    raw_i = R_i - mu_g
    A_i = clip(raw_i / (sqrt(mean over the batch of raw^2) + eps), -bound, bound)
    loss = clipped surrogate + beta * k3(pi || ref) - eta * entropy

The KL and entropy terms stand in the loss, as the paper says; their weights are customary ones. The reward
hierarchy is inherited from RF. Group-normalisation would give rare outcomes a large advantage; a scale common to
all groups does not.
"""

from torch import Tensor

from poise_lib.algorithms import ops
from poise_lib.algorithms.contract import (
    Batch,
    Family,
    Hyper,
    Hyperparameter,
    LossInputs,
    LossOutput,
    Mechanism,
    Outcomes,
)

TITLE = "BN-GRPO"
SOURCE = "Xia et al., POISE, arXiv:2603.23951, lineage GRPO -> RF -> BN"
AGGREGATION = "seq-mean-token-mean"
NEEDS = ("reference", "entropy")
HYPERPARAMETERS = {
    "eps": Hyperparameter(1e-6, 1e-6, 1e-2, "added to the deviation, outside the root"),
    "normalise": Hyperparameter(1.0, 0.0, 1.0, "power of the batch deviation in the denominator; 0 only centres"),
    "bound": Hyperparameter(3.0, 0.5, 10.0, "advantages are clipped to [-bound, bound]"),
    "format_penalty": Hyperparameter(0.2, 0.0, 2.0, "what a malformed response loses"),
    "clip_ratio": Hyperparameter(0.2, 0.0, 1.0, "half width of the clip interval around a ratio of 1"),
    "kl_coef": Hyperparameter(0.001, 0.0, 0.1, "weight of the k3 KL term to the reference"),
    "entropy_coef": Hyperparameter(0.001, 0.0, 0.1, "weight of the entropy bonus"),
}
MECHANISMS = (
    Mechanism(
        "batch-normalisation",
        Family.STABILISATION,
        "Groups keep their relative scale; the batch sets it.",
        "normalise",
        0.0,
    ),
    Mechanism("entropy-bonus", Family.STABILISATION, "Slows the collapse of entropy.", "entropy_coef", 0.0),
    Mechanism("format-hierarchy", Family.REWARD, "Malformed is worse than wrong.", "format_penalty", 0.0),
    Mechanism("reference-kl", Family.STABILISATION, "Keeps the policy close to the reference.", "kl_coef", 0.0),
)


def rewards(outcomes: Outcomes, hyper: Hyper) -> Tensor:
    """1 for right, 0 for wrong, -format_penalty for malformed."""
    return outcomes.correct.float() - hyper["format_penalty"] * (~outcomes.valid).float()


def advantages(batch: Batch, hyper: Hyper) -> Tensor:
    """Group-centred rewards over the batch deviation, clipped."""
    raw = batch.rewards - ops.group_mean(batch.rewards, batch.group)
    deviation = ((raw * raw).mean().sqrt() + hyper["eps"]) ** hyper["normalise"]
    return ops.spread((raw / deviation).clamp(-hyper["bound"], hyper["bound"]), batch.response_mask)


def policy_loss(inputs: LossInputs, hyper: Hyper) -> LossOutput:
    """PPO's clipped surrogate plus the KL term, less the entropy bonus."""
    return ops.clipped_objective(
        inputs,
        hyper["clip_ratio"],
        hyper["clip_ratio"],
        kl_coef=hyper["kl_coef"],
        entropy_coef=hyper["entropy_coef"],
    )
