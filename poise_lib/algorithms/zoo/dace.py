"""DACE: hard prompts count more, brevity counts where prompts are solved, entropy follows an annealed target.

    P = success rate of the group
    acc_i = (r_i - mu_g) / sqrt(var_g + eps) * (1 + a * (1 - P))
    eff_i = -L_i standardised among the correct of the group, times P^gate_power
    A_i = acc_i + b * eff_i * 1[correct]
    loss = clipped surrogate + beta * k3(pi || ref) - eta_t * entropy

The paper gives no a, b and no form of the annealing. Chosen here: the target is a share of the entropy at the first
step and falls linearly from target_start to target_end over training; eta_t = eta * (target - H) / target, at least
0.
"""

from collections.abc import Mapping, Sequence

from torch import Tensor

from poise_lib.algorithms import ops
from poise_lib.algorithms.contract import Batch, Family, Hyper, Hyperparameter, LossInputs, LossOutput, Mechanism

TITLE = "DACE-GRPO"
SOURCE = "Xia et al., POISE, arXiv:2603.23951, search for shorter responses (DACE, Overall 51.7, length ratio 0.709)"
AGGREGATION = "seq-mean-token-mean"
NEEDS = ("reference", "entropy")
HYPERPARAMETERS = {
    "eps": Hyperparameter(1e-6, 1e-8, 1e-2, "added to variances, inside the root"),
    "difficulty_boost": Hyperparameter(0.5, 0.0, 3.0, "a: how much more an unsolved prompt counts than a solved one"),
    "efficiency_weight": Hyperparameter(0.2, 0.0, 1.0, "b: weight of the efficiency signal"),
    "gate_power": Hyperparameter(1.0, 0.0, 4.0, "power of the success rate that gates efficiency"),
    "clip_ratio": Hyperparameter(0.2, 0.0, 1.0, "half width of the clip interval around a ratio of 1"),
    "kl_coef": Hyperparameter(0.001, 0.0, 0.1, "weight of the k3 KL term to the reference"),
    "entropy_coef": Hyperparameter(0.005, 0.0, 0.1, "eta: weight of the bonus when no entropy is left"),
    "target_start": Hyperparameter(0.8, 0.0, 1.5, "target at the first step, as a share of the first step's entropy"),
    "target_end": Hyperparameter(0.2, 0.0, 1.5, "target at the last step"),
}
MECHANISMS = (
    Mechanism("difficulty-boost", Family.CORE_SIGNAL, "Rare successes are amplified.", "difficulty_boost", 0.0),
    Mechanism(
        "correct-efficiency",
        Family.LENGTH_SHAPING,
        "Short is better only among the correct.",
        "efficiency_weight",
        0.0,
    ),
    Mechanism("success-gate", Family.ROUTING, "Brevity waits until a prompt is solved.", "gate_power", 0.0),
    Mechanism("annealed-entropy", Family.CONTROLLER, "Explores early and commits late.", "entropy_coef", 0.0),
    Mechanism("reference-kl", Family.STABILISATION, "Keeps the policy close to the reference.", "kl_coef", 0.0),
)


def advantages(batch: Batch, hyper: Hyper) -> Tensor:
    """Boosted accuracy plus gated efficiency of the correct."""
    group, eps = batch.group, hyper["eps"]
    rate = ops.group_mean(batch.correct.float(), group)
    accuracy = ops.group_standardised(batch.rewards, group, eps_inside=eps)
    accuracy = accuracy * (1.0 + hyper["difficulty_boost"] * (1.0 - rate))
    efficiency = ops.group_standardised(-batch.length.float(), group, batch.correct, eps_inside=eps)
    gated = efficiency * rate ** hyper["gate_power"]
    return ops.spread(accuracy + hyper["efficiency_weight"] * gated, batch.response_mask)


def policy_loss(inputs: LossInputs, hyper: Hyper) -> LossOutput:
    """PPO's clipped surrogate plus the KL term, less the annealed entropy bonus."""
    progress = inputs.step / max(1, inputs.total_steps - 1)
    target = hyper["target_start"] + (hyper["target_end"] - hyper["target_start"]) * progress
    share = inputs.coefficients.get("entropy_share", 1.0)
    shortfall = max(0.0, 1.0 - share / max(target, 1e-6))
    return ops.clipped_objective(
        inputs,
        hyper["clip_ratio"],
        hyper["clip_ratio"],
        kl_coef=hyper["kl_coef"],
        entropy_coef=hyper["entropy_coef"] * shortfall,
    )


def schedule(history: Sequence[Mapping[str, float]], hyper: Hyper) -> Mapping[str, float]:
    """Entropy of the last step as a share of the first step's."""
    first = history[0].get("actor/entropy", 0.0) if history else 0.0
    if first <= 0.0:
        return {}
    return {"entropy_share": history[-1].get("actor/entropy", first) / first}
