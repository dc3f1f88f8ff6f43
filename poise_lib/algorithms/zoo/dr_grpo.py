"""Dr. GRPO: GRPO without its two biases, the division by the group deviation and by the response's own length.

    A_i = r_i - mu_g
    loss = -min(rho * A, clip(rho, 1 - c, 1 + c) * A), summed over a response and divided by a constant; no KL term

The constant is the engine's length limit (AGGREGATION). Both corrections can be taken back: ``normalise`` 1 divides
by the group deviation again, and ``length_bias`` 1 weights a response by max_length / length, which makes its sum a
mean. ``lone_reward`` 1 is VeRL's: a response that is alone in its group keeps its reward. EPS is GRPO's, inside the
root; it acts only with ``normalise``.
"""

from torch import Tensor

from poise_lib.algorithms import ops
from poise_lib.algorithms.contract import Batch, Family, Hyper, Hyperparameter, LossInputs, LossOutput, Mechanism

TITLE = "Dr. GRPO"
SOURCE = "Liu et al., Understanding R1-Zero-Like Training, arXiv:2503.20783, section 3.2"
AGGREGATION = "seq-mean-token-sum-norm"
EPS = 1e-6
HYPERPARAMETERS = {
    "normalise": Hyperparameter(0.0, 0.0, 1.0, "power of the group deviation in the denominator; GRPO has 1"),
    "lone_reward": Hyperparameter(
        0.0, 0.0, 1.0, "advantage of a response alone in its group, as a share of its reward"
    ),
    "length_bias": Hyperparameter(0.0, 0.0, 1.0, "power of max_length / length that weights a response; GRPO has 1"),
    "clip_ratio": Hyperparameter(0.2, 0.0, 1.0, "half width of the clip interval around a ratio of 1"),
}
MECHANISMS = (
    Mechanism(
        "no-deviation", Family.CORE_SIGNAL, "Does not favour questions that are too easy or too hard.", "normalise", 1.0
    ),
    Mechanism("constant-length", Family.OBJECTIVE, "Wrong responses gain nothing by being long.", "length_bias", 1.0),
)


def advantages(batch: Batch, hyper: Hyper) -> Tensor:
    """Reward less group mean."""
    relative = ops.group_standardised(batch.rewards, batch.group, eps_inside=EPS, power=hyper["normalise"])
    bias = (batch.max_length / batch.length.float().clamp(min=1.0)) ** hyper["length_bias"]
    alone = ops.group_count(batch.group) == 1
    return ops.spread((relative + hyper["lone_reward"] * batch.rewards * alone) * bias, batch.response_mask)


def policy_loss(inputs: LossInputs, hyper: Hyper) -> LossOutput:
    """PPO's clipped surrogate."""
    return ops.clipped_objective(inputs, hyper["clip_ratio"], hyper["clip_ratio"])
