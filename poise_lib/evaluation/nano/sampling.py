"""Sampling with a key-value cache: a group's prompt is computed once, and finished rows leave the batch.

Every (row, position) has its own uniform number, drawn before sampling starts, and a token is found by inverting the
cumulative distribution.  So what a row samples depends on the weights and its own numbers only: not on the other
rows, not on when finished rows were dropped.  Two algorithms that train on the same seed see the same noise (common
random numbers), which makes their difference less noisy than either of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from poise_lib.evaluation.nano.config import RESPONSE_LENGTH
from poise_lib.evaluation.nano.kernels import rms_norm
from poise_lib.evaluation.nano.model import Policy, Prefix
from poise_lib.evaluation.nano.task import END_ID, PROMPT_LENGTH, RESPONSE_VOCABULARY

COMPACT_BELOW = 0.75
"""Drop finished rows once fewer than this share of the rows in the batch is still running."""


@dataclass(frozen=True, slots=True)
class Samples:
    """Responses to prompts; rows are in the order of (prompt, sample), T is the longest response."""

    tokens: Tensor
    """[B, T] int64, padded with 0 after the end."""
    logprobs: Tensor
    """[B, T] float32 of each sampled token; 0 outside the response."""
    entropy: Tensor
    """[B, T] float32, nats; 0 outside the response."""
    length: Tensor
    """[B] int64, tokens, the end token included."""


class _Cache:
    """Keys and values per layer, [2, rows, heads, P + R, head width], with room for the longest response."""

    def __init__(self, prefix: Prefix, copies: int, limit: int) -> None:
        self.layers = []
        for keys, values in prefix.keys_values:
            count, heads, length, head_width = keys.shape
            layer = keys.new_empty(2, count * copies, heads, length + limit, head_width)
            layer[0, :, :, :length] = keys.repeat_interleave(copies, 0)
            layer[1, :, :, :length] = values.repeat_interleave(copies, 0)
            self.layers.append(layer)

    def keep(self, rows: Tensor, used: int) -> None:
        """Drop all rows but ``rows``; ``used`` positions are filled."""
        for i, layer in enumerate(self.layers):
            shape = list(layer.shape)
            shape[1] = rows.shape[0]
            kept = layer.new_empty(shape)
            kept[:, :, :, :used] = layer[:, rows, :, :used]
            self.layers[i] = kept


@torch.no_grad()
def sample(policy: Policy, prompts: Tensor, copies: int, noise: Tensor | None, limit: int = RESPONSE_LENGTH) -> Samples:
    """Sample ``copies`` responses to each prompt at temperature 1, or greedily.

    Args:
        policy: the weights.
        prompts: [N, P] int64.
        copies: responses per prompt; row ``i * copies + j`` is the j-th response to prompt i.
        noise: [N * copies, limit] float32 in [0, 1); None decodes greedily.
        limit: longest response, tokens; what does not end by then is cut off.
    """
    rows = prompts.shape[0] * copies
    prefix = policy.prefix(prompts)
    cache = _Cache(prefix, copies, limit)
    tokens = torch.zeros(rows, limit, dtype=torch.int64)
    logs = torch.zeros(rows, limit, RESPONSE_VOCABULARY)
    length = torch.full((rows,), limit)
    alive = torch.arange(rows)  # rows of the output that the batch's rows belong to
    running = torch.ones(rows, dtype=torch.bool)  # by row of the batch
    hidden = prefix.last.repeat_interleave(copies, 0)
    for step in range(limit):
        now = F.log_softmax(policy.head(rms_norm(hidden, policy.norm)), -1)
        chosen = now.argmax(-1) if noise is None else _draw(now, noise[alive, step])
        tokens[alive, step], logs[alive, step] = chosen, now
        ended = running & (chosen == END_ID)
        length[alive[ended]] = step + 1
        running &= ~ended
        remaining = int(running.sum())
        if remaining == 0 or step == limit - 1:
            break
        if remaining < COMPACT_BELOW * running.shape[0]:
            keep = running.nonzero().squeeze(-1)
            cache.keep(keep, PROMPT_LENGTH + step)
            alive, chosen, running = alive[keep], chosen[keep], running[keep]
        hidden = _advance(policy, cache, chosen, PROMPT_LENGTH + step)
    longest = int(length.max())
    mask = torch.arange(longest) < length.unsqueeze(-1)  # a finished row goes on until it is dropped
    tokens, logs = tokens[:, :longest] * mask, logs[:, :longest]
    logprobs = logs.gather(-1, tokens.unsqueeze(-1)).squeeze(-1) * mask
    return Samples(tokens, logprobs, -(logs.exp() * logs).sum(-1) * mask, length)


def _draw(logs: Tensor, uniform: Tensor) -> Tensor:
    """Invert the cumulative distribution: [rows, V] log-probabilities and [rows] in [0, 1) to [rows] int64."""
    cumulative = logs.exp().cumsum(-1)
    target = uniform.unsqueeze(-1) * cumulative[:, -1:]
    return torch.searchsorted(cumulative, target, right=True).squeeze(-1).clamp(max=logs.shape[-1] - 1)


def _advance(policy: Policy, cache: _Cache, tokens: Tensor, at: int) -> Tensor:
    """Feed one token per row at position ``at``; returns the last hidden state [rows, D]."""
    config = policy.config
    hidden: Tensor = policy.embedding.weight[tokens] + policy.position.weight[at]
    for block, layer in zip(policy.stack, cache.layers, strict=True):
        query, key, value = block.project(hidden).view(-1, 3, config.heads, config.head_width).unbind(1)
        layer[0, :, :, at], layer[1, :, :, at] = key, value
        scores = torch.matmul(query.unsqueeze(-2) * config.head_width**-0.5, layer[0, :, :, : at + 1].mT)
        attended = torch.matmul(F.softmax(scores, -1), layer[1, :, :, : at + 1]).squeeze(-2)
        hidden = block.finish(hidden, attended.reshape(-1, config.width))
    return hidden
