"""AV: the group deviation from the first two moments, with a floor.

    R_i = 1[correct] - format_penalty * 1[invalid], a strict penalty
    mu = mean_g(R), mu2 = mean_g(R^2), sigma = sqrt(mu2 - mu^2)
    A_i = (R_i - mu) / max(sigma, sigma_min)
    loss = clipped surrogate + beta * k3(pi || ref) - eta * entropy, eta below BN's

With binary rewards sigma is sqrt(mu * (1 - mu)), the deviation of a Bernoulli variable. Groups of G with binary
rewards have sigma = 0 or at least sqrt(G - 1) / G (0.33 for G = 8): a floor below that is felt only through graded
rewards. The paper gives no values for the floor, the penalty and eta.
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

TITLE = "AV-GRPO"
SOURCE = "Xia et al., POISE, arXiv:2603.23951, lineage GRPO -> RF -> BN -> AV"
AGGREGATION = "seq-mean-token-mean"
NEEDS = ("reference", "entropy")
HYPERPARAMETERS = {
    "sigma_min": Hyperparameter(0.1, 1e-3, 1.0, "floor of the analytic deviation"),
    "normalise": Hyperparameter(1.0, 0.0, 1.0, "power of the deviation in the denominator; 0 only centres"),
    "format_penalty": Hyperparameter(1.0, 0.0, 2.0, "what a malformed response loses"),
    "clip_ratio": Hyperparameter(0.2, 0.0, 1.0, "half width of the clip interval around a ratio of 1"),
    "kl_coef": Hyperparameter(0.001, 0.0, 0.1, "weight of the k3 KL term to the reference"),
    "entropy_coef": Hyperparameter(0.0005, 0.0, 0.1, "weight of the entropy bonus"),
}
MECHANISMS = (
    Mechanism(
        "analytic-variance",
        Family.CORE_SIGNAL,
        "Scales by what the success rate implies, and never by less than a floor.",
        "normalise",
        0.0,
    ),
    Mechanism("entropy-bonus", Family.STABILISATION, "Slows the collapse of entropy.", "entropy_coef", 0.0),
    Mechanism("strict-format", Family.REWARD, "Malformed costs as much as right gains.", "format_penalty", 0.0),
    Mechanism("reference-kl", Family.STABILISATION, "Keeps the policy close to the reference.", "kl_coef", 0.0),
)


def rewards(outcomes: Outcomes, hyper: Hyper) -> Tensor:
    """1 for right, 0 for wrong, -format_penalty for malformed."""
    return outcomes.correct.float() - hyper["format_penalty"] * (~outcomes.valid).float()


def advantages(batch: Batch, hyper: Hyper) -> Tensor:
    """Group-centred rewards over the floored analytic deviation."""
    mean = ops.group_mean(batch.rewards, batch.group)
    second = ops.group_mean(batch.rewards * batch.rewards, batch.group)
    sigma = (second - mean * mean).clamp(min=0.0).sqrt().clamp(min=hyper["sigma_min"])
    return ops.spread((batch.rewards - mean) / sigma ** hyper["normalise"], batch.response_mask)


def policy_loss(inputs: LossInputs, hyper: Hyper) -> LossOutput:
    """PPO's clipped surrogate plus the KL term, less the entropy bonus."""
    return ops.clipped_objective(
        inputs,
        hyper["clip_ratio"],
        hyper["clip_ratio"],
        kl_coef=hyper["kl_coef"],
        entropy_coef=hyper["entropy_coef"],
    )
