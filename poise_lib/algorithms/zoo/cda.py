"""CDA: independent streams for outcome, format and efficiency, and a continuous optimistic baseline.

    p = (sum_g(r) + optimism) / (G + optimism): as if `optimism` more responses had been right
    outcome_i = (r_i - p) / max(sqrt(p * (1 - p)), sigma_floor)
    format_i = v_i standardised in the group; efficiency_i = -L_i standardised among the correct of the group, else 0
    A_i = outcome_i + format_weight * format_i + efficiency_weight * efficiency_i

The baseline does continuously what PR does by cases: all-fail groups get a small penalty (-0.35 for eight),
all-correct ones nothing. The paper names the streams and the baseline; the Bernoulli form and the weights are ours.
"""

from torch import Tensor

from poise_lib.algorithms import ops
from poise_lib.algorithms.contract import Batch, Family, Hyper, Hyperparameter, LossInputs, LossOutput, Mechanism

TITLE = "CDA-GRPO"
SOURCE = "Xia et al., POISE, arXiv:2603.23951, lineage GRPO -> GLA -> PR -> CDA; form of the baseline ours"
AGGREGATION = "seq-mean-token-mean"
NEEDS = ("reference",)
HYPERPARAMETERS = {
    "eps": Hyperparameter(1e-6, 1e-8, 1e-2, "added to the variances of format and length, inside the root"),
    "optimism": Hyperparameter(1.0, 0.0, 8.0, "imagined successes that every baseline counts"),
    "sigma_floor": Hyperparameter(0.1, 1e-3, 1.0, "floor of the outcome's deviation"),
    "format_weight": Hyperparameter(0.3, 0.0, 2.0, "weight of the format stream"),
    "efficiency_weight": Hyperparameter(0.1, 0.0, 1.0, "weight of the efficiency stream"),
    "clip_ratio": Hyperparameter(0.2, 0.0, 1.0, "half width of the clip interval around a ratio of 1"),
    "kl_coef": Hyperparameter(0.001, 0.0, 0.1, "weight of the k3 KL term to the reference"),
}
MECHANISMS = (
    Mechanism(
        "optimistic-baseline",
        Family.CORE_SIGNAL,
        "Failing groups are pushed a little, with no cliff between regimes.",
        "optimism",
        0.0,
    ),
    Mechanism("format-stream", Family.ROUTING, "Format is learnt apart from the outcome.", "format_weight", 0.0),
    Mechanism(
        "correct-efficiency",
        Family.LENGTH_SHAPING,
        "Short is better only among the correct.",
        "efficiency_weight",
        0.0,
    ),
    Mechanism("reference-kl", Family.STABILISATION, "Keeps the policy close to the reference.", "kl_coef", 0.0),
)


def advantages(batch: Batch, hyper: Hyper) -> Tensor:
    """The sum of the three streams."""
    group, eps = batch.group, hyper["eps"]
    successes = ops.group_sum(batch.rewards, group) + hyper["optimism"]
    mean = successes / (ops.group_count(group) + hyper["optimism"])
    sigma = (mean * (1.0 - mean)).clamp(min=0.0).sqrt().clamp(min=hyper["sigma_floor"])
    outcome = (batch.rewards - mean) / sigma
    form = ops.group_standardised(batch.valid.float(), group, eps_inside=eps)
    efficiency = ops.group_standardised(-batch.length.float(), group, batch.correct, eps_inside=eps)
    total = outcome + hyper["format_weight"] * form + hyper["efficiency_weight"] * efficiency
    return ops.spread(total, batch.response_mask)


def policy_loss(inputs: LossInputs, hyper: Hyper) -> LossOutput:
    """PPO's clipped surrogate plus the k3 KL term."""
    return ops.clipped_objective(inputs, hyper["clip_ratio"], hyper["clip_ratio"], kl_coef=hyper["kl_coef"])
