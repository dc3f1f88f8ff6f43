"""Control: advantages drawn at random, with GRPO's scale and no relation to the outcome.  It must not gain."""

import torch

from poise_lib.algorithms import ops
from poise_lib.algorithms.contract import Batch, LossInputs, LossOutput

TITLE = "Control: random advantages"
AGGREGATION = "seq-mean-token-mean"
HYPERPARAMETERS = {}
MECHANISMS = ()


def advantages(batch: Batch, hyper):
    """A standard normal number per response; the seed is taken from the lengths, so that runs repeat."""
    places = torch.arange(1, batch.length.shape[0] + 1)
    seed = batch.step + 1000 * int((batch.length * places).sum())
    noise = torch.randn(batch.length.shape[0], generator=torch.Generator().manual_seed(seed))
    return ops.spread(noise, batch.response_mask)


def policy_loss(inputs: LossInputs, hyper):
    """PPO's clipped surrogate."""
    ratio = ops.log_ratio(inputs.logprobs, inputs.old_logprobs, inputs.response_mask).exp()
    loss, clipped = ops.clipped_surrogate(ratio, inputs.advantages, 0.2, 0.2)
    return LossOutput(loss, {"clip_fraction": clipped})
