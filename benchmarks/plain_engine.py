"""The plain, padded, eager version of the engine: the reference that bench_engine.py measures against.

The same arithmetic in the form in which it is usually written first: every response is padded to the longest length
allowed, every response carries its own copy of the prompt, finished rows stay in the batch until all have finished, and
a micro-batch is a plain slice.  Tests compare its numbers with the engine's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from unittest import mock

import torch
from torch import Tensor
from torch.nn import functional as F

from poise_lib.evaluation.nano import rollout, training
from poise_lib.evaluation.nano.config import RESPONSE_LENGTH
from poise_lib.evaluation.nano.model import Policy
from poise_lib.evaluation.nano.sampling import Samples
from poise_lib.evaluation.nano.task import END_ID
from poise_lib.evaluation.nano.training import Bucket

Cache = list[tuple[Tensor, Tensor]]


def rms_norm(hidden: Tensor, weight: Tensor) -> Tensor:
    """Root-mean-square normalisation, as the paper writes it."""
    return hidden * torch.rsqrt(hidden.square().mean(-1, keepdim=True) + 1e-6) * weight


def forward(policy: Policy, tokens: Tensor, at: int = 0, cache: Cache | None = None) -> Tensor:
    """Logits [B, T, V] of the next token after each of ``tokens`` [B, T], which start at position ``at``."""
    config = policy.config
    batch, steps = tokens.shape
    hidden = policy.embedding(tokens) + policy.position.weight[at : at + steps]
    mask = torch.ones(steps, at + steps, dtype=torch.bool).tril(at)
    for layer, block in enumerate(policy.blocks):
        projected = block.qkv(rms_norm(hidden, block.attention_norm))
        query, key, value = projected.view(batch, steps, 3, config.heads, config.head_width).permute(2, 0, 3, 1, 4)
        if cache is not None:
            if at:
                key, value = torch.cat((cache[layer][0], key), 2), torch.cat((cache[layer][1], value), 2)
                cache[layer] = (key, value)
            else:
                cache.append((key, value))
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        hidden = hidden + block.out(attended.transpose(1, 2).reshape(batch, steps, config.width))
        inner = F.relu(block.up(rms_norm(hidden, block.mlp_norm)))
        hidden = hidden + block.down(inner * inner)
    return policy.head(rms_norm(hidden, policy.norm))


@torch.no_grad()
def sample(policy: Policy, prompts: Tensor, copies: int, noise: Tensor | None, limit: int = RESPONSE_LENGTH) -> Samples:
    """As :func:`poise_lib.evaluation.nano.sampling.sample`, without shared prompts and without dropping finished
    rows."""
    prompts = prompts.repeat_interleave(copies, 0)
    rows, length = prompts.shape[0], torch.full((prompts.shape[0],), limit)
    tokens = torch.zeros(rows, limit, dtype=torch.int64)
    logprobs, entropy = torch.zeros(rows, limit), torch.zeros(rows, limit)
    running = torch.ones(rows, dtype=torch.bool)
    cache: Cache = []
    logits = forward(policy, prompts, 0, cache)[:, -1]
    for step in range(limit):
        logs = F.log_softmax(logits, -1)
        if noise is None:
            chosen = logs.argmax(-1)
        else:
            cumulative = logs.exp().cumsum(-1)
            target = noise[:, step].unsqueeze(-1) * cumulative[:, -1:]
            chosen = torch.searchsorted(cumulative, target, right=True).squeeze(-1).clamp(max=logs.shape[-1] - 1)
        tokens[:, step] = chosen * running
        logprobs[:, step] = logs.gather(-1, chosen.unsqueeze(-1)).squeeze(-1) * running
        entropy[:, step] = -(logs.exp() * logs).sum(-1) * running
        length[running & (chosen == END_ID)] = step + 1
        running &= chosen != END_ID
        if not running.any() or step == limit - 1:
            break
        logits = forward(policy, chosen.unsqueeze(-1), prompts.shape[1] + step, cache)[:, 0]
    return Samples(tokens, logprobs, entropy, length)


def token_logprobs(
    policy: Policy, prompts: Tensor, index: Tensor, tokens: Tensor, mask: Tensor, entropy: bool = False
) -> tuple[Tensor, Tensor | None]:
    """As :func:`poise_lib.evaluation.nano.training.token_logprobs`, with a prompt in front of every response."""
    whole = torch.cat((prompts[index], tokens), 1)
    logs = F.log_softmax(forward(policy, whole[:, :-1])[:, prompts.shape[1] - 1 :], -1)
    chosen = logs.gather(-1, tokens.unsqueeze(-1)).squeeze(-1) * mask
    return chosen, -(logs.exp() * logs).sum(-1) * mask if entropy else None


def micro_batches(rows: Tensor, length: Tensor, tokens: int) -> list[Bucket]:
    """Slices in the order given, padded to the longest length allowed, of at most ``tokens`` padded tokens."""
    return [Bucket(part, RESPONSE_LENGTH) for part in rows.split(max(1, tokens // RESPONSE_LENGTH))]


@dataclass(frozen=True)
class Prompts:
    """Stands in for :class:`poise_lib.evaluation.nano.model.SharedPrefix` and shares nothing."""

    policy: Policy
    prefix: Tensor

    def backward(self) -> None:
        """Nothing was cut off."""


@contextmanager
def in_place() -> Iterator[None]:
    """Let :func:`poise_lib.evaluation.nano.training.train` run on the plain functions."""
    with (
        mock.patch.object(rollout, "sample", sample),
        mock.patch.object(training, "SharedPrefix", Prompts),
        mock.patch.object(training, "token_logprobs", token_logprobs),
        mock.patch.object(training, "micro_batches", micro_batches),
    ):
        yield
