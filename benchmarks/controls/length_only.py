"""Control: GRPO on a reward for length alone.  Responses must grow; accuracy must not follow."""

from poise_lib.algorithms import ops
from poise_lib.algorithms.contract import Batch, LossInputs, LossOutput, Outcomes

TITLE = "Control: reward for length alone"
AGGREGATION = "seq-mean-token-mean"
HYPERPARAMETERS = {}
MECHANISMS = ()


def rewards(outcomes: Outcomes, hyper):
    """The response's share of the longest length allowed, right or wrong."""
    return outcomes.length.float() / outcomes.max_length


def advantages(batch: Batch, hyper):
    """(r - group mean) / group deviation."""
    centred = batch.rewards - ops.group_mean(batch.rewards, batch.group)
    deviation = (ops.group_var(batch.rewards, batch.group) + 1e-6).sqrt()
    return ops.spread(centred / deviation, batch.response_mask)


def policy_loss(inputs: LossInputs, hyper):
    """PPO's clipped surrogate."""
    ratio = ops.log_ratio(inputs.logprobs, inputs.old_logprobs, inputs.response_mask).exp()
    loss, clipped = ops.clipped_surrogate(ratio, inputs.advantages, 0.2, 0.2)
    return LossOutput(loss, {"clip_fraction": clipped})
