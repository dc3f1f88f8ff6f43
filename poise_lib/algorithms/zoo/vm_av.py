"""VM-AV: analytic variance over valid responses only; malformed ones get a floor of their own.

    V = the valid responses of the group, m = prior_mean, n = prior_strength
    mu = (sum over V of R + n * m) / (|V| + n), sigma = sqrt(mu * (1 - mu))
    A_i = (R_i - mu) / max(sigma, sigma_floor) for i in V, else A_floor
    rel_i = clip(L_i / mean length of V, 0.5, 2); A_i := A_i / rel_i where i in V and A_i < 0
    loss = clipped surrogate + beta * k3(pi || ref) - eta_t * entropy

The paper's prior counts a and b are n * m and n * (1 - m); it gives no values, and 1/2 and 1/2 (Jeffreys) were
chosen. A_floor is -3: in groups of up to 8 a wrong answer of mean length gets more than that, so that malformed <<
wrong < right holds. The adaptive entropy control is ours: eta_t = eta * max(0, 1 + gain * (1 - H / H*)) with the
target H* a share of the entropy at the first step.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from poise_lib.algorithms import ops
from poise_lib.algorithms.contract import Batch, Family, Hyper, Hyperparameter, LossInputs, LossOutput, Mechanism

TITLE = "VM-AV-GRPO"
SOURCE = "Xia et al., POISE, arXiv:2603.23951, lineage GRPO -> RF -> BN -> AV -> VM-AV (its best algorithm)"
AGGREGATION = "seq-mean-token-mean"
NEEDS = ("reference", "entropy")
HYPERPARAMETERS = {
    "mask_invalid": Hyperparameter(1.0, 0.0, 1.0, "above 0.5 malformed responses are set apart, else they are wrong"),
    "invalid_advantage": Hyperparameter(-3.0, -5.0, 0.0, "A_floor: the advantage of a malformed response"),
    "prior_strength": Hyperparameter(1.0, 0.0, 8.0, "pseudo-responses added to each group (a + b)"),
    "prior_mean": Hyperparameter(0.5, 0.0, 1.0, "success rate of the pseudo-responses, a / (a + b)"),
    "normalise": Hyperparameter(1.0, 0.0, 1.0, "power of the deviation in the denominator; 0 only centres"),
    "sigma_floor": Hyperparameter(0.1, 1e-3, 1.0, "floor of the analytic deviation"),
    "length_power": Hyperparameter(1.0, 0.0, 2.0, "power of the relative length that divides negative advantages"),
    "clip_ratio": Hyperparameter(0.2, 0.0, 1.0, "half width of the clip interval around a ratio of 1"),
    "kl_coef": Hyperparameter(0.001, 0.0, 0.1, "weight of the k3 KL term to the reference"),
    "entropy_coef": Hyperparameter(0.001, 0.0, 0.1, "weight of the entropy bonus at the target"),
    "entropy_gain": Hyperparameter(4.0, 0.0, 20.0, "how strongly the bonus answers to a distance from the target"),
    "entropy_target": Hyperparameter(0.5, 0.05, 1.5, "target entropy, as a share of the first step's"),
}
MECHANISMS = (
    Mechanism(
        "validity-mask", Family.ROUTING, "Malformed responses do not blur the success rate.", "mask_invalid", 0.0
    ),
    Mechanism("analytic-variance", Family.CORE_SIGNAL, "Scales by what the success rate implies.", "normalise", 0.0),
    Mechanism(
        "success-prior",
        Family.FAILURE_CONTROL,
        "Uniform groups keep a small signal: below zero if all fail, above if all succeed.",
        "prior_strength",
        0.0,
    ),
    Mechanism(
        "length-relative-negatives",
        Family.LENGTH_SHAPING,
        "Long attempts that fail are punished less than short ones.",
        "length_power",
        0.0,
    ),
    Mechanism(
        "adaptive-entropy", Family.CONTROLLER, "Raises the bonus as entropy falls below a target.", "entropy_gain", 0.0
    ),
    Mechanism("reference-kl", Family.STABILISATION, "Keeps the policy close to the reference.", "kl_coef", 0.0),
)


def advantages(batch: Batch, hyper: Hyper) -> Tensor:
    """Bernoulli-standardised rewards of valid responses; a floor for the others."""
    inside = batch.valid if hyper["mask_invalid"] > 0.5 else torch.ones_like(batch.valid)
    strength = hyper["prior_strength"]
    successes = ops.group_sum(batch.rewards, batch.group, inside) + strength * hyper["prior_mean"]
    mean = successes / (ops.group_count(batch.group, inside) + strength).clamp(min=1e-6)
    sigma = (mean * (1.0 - mean)).clamp(min=0.0).sqrt().clamp(min=hyper["sigma_floor"])
    signal = (batch.rewards - mean) / sigma ** hyper["normalise"]
    length = batch.length.float()
    relative = (length / ops.group_mean(length, batch.group, inside).clamp(min=1.0)).clamp(0.5, 2.0)
    signal = torch.where(signal < 0, signal / relative ** hyper["length_power"], signal)
    floor = torch.full_like(signal, hyper["invalid_advantage"])
    return ops.spread(torch.where(inside, signal, floor), batch.response_mask)


def policy_loss(inputs: LossInputs, hyper: Hyper) -> LossOutput:
    """PPO's clipped surrogate plus the KL term, less the controlled entropy bonus."""
    return ops.clipped_objective(
        inputs,
        hyper["clip_ratio"],
        hyper["clip_ratio"],
        kl_coef=hyper["kl_coef"],
        entropy_coef=inputs.coefficients.get("entropy_coef", hyper["entropy_coef"]),
    )


def schedule(history: Sequence[Mapping[str, float]], hyper: Hyper) -> Mapping[str, float]:
    """The entropy bonus for the next step, proportional to the distance from the target."""
    first = history[0].get("actor/entropy", 0.0) if history else 0.0
    if first <= 0.0:
        return {}
    target = hyper["entropy_target"] * first
    shortfall = 1.0 - history[-1].get("actor/entropy", target) / target
    return {"entropy_coef": hyper["entropy_coef"] * max(0.0, 1.0 + hyper["entropy_gain"] * shortfall)}
