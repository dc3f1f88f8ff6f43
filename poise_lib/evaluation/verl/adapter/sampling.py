"""Sample responses from a small transformers model, on its own device: the rollout engine's and the scorer's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Sampling:
    """What requests of one batch have in common."""

    temperature: float
    top_p: float
    top_k: int
    max_tokens: int


@torch.no_grad()
def sample(
    model: Any, prompts: Sequence[Sequence[int]], sampling: Sampling, end: int, pad: int, generator: torch.Generator
) -> list[tuple[list[int], list[float]]]:
    """Continue prompts with a transformers model.

    Args:
        model: a causal language model.
        prompts: token ids, of any lengths.
        sampling: temperature 0 is greedy.
        end: the id that ends a response; it is part of it.
        pad: the id that fills prompts up on the left.
        generator: of the sampling noise, on the model's device.

    Returns:
        Token ids and their log-probabilities under the model at that temperature, a pair for each prompt.
    """
    rows, longest = len(prompts), max(map(len, prompts))
    tokens = torch.full((rows, longest), pad)
    attention = torch.zeros((rows, longest), dtype=torch.int64)
    for row, prompt in enumerate(prompts):
        tokens[row, longest - len(prompt) :] = torch.tensor(list(prompt))
        attention[row, longest - len(prompt) :] = 1
    tokens, attention = tokens.to(model.device), attention.to(model.device)
    positions = (attention.cumsum(1) - 1).clamp(min=0)
    chosen, logs = [], []
    done = torch.zeros(rows, dtype=torch.bool, device=model.device)
    alive = []
    past = None
    for _ in range(sampling.max_tokens):
        output = model(
            input_ids=tokens, attention_mask=attention, position_ids=positions, past_key_values=past, use_cache=True
        )
        past = output.past_key_values
        tokens, log = _choose(output.logits[:, -1].float(), sampling, generator)
        chosen.append(tokens)
        logs.append(log)
        alive.append(~done)
        done = done | (tokens.squeeze(1) == end)
        if bool(done.all()):
            break
        attention = torch.cat([attention, attention.new_ones(rows, 1)], 1)
        positions = positions[:, -1:] + 1
    ids, kept = torch.cat(chosen, 1), torch.stack(alive, 1)
    logged = torch.cat(logs, 1)
    return [(ids[row, kept[row]].tolist(), logged[row, kept[row]].tolist()) for row in range(rows)]


def _choose(logits: Tensor, sampling: Sampling, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The next token of each row [B, 1] and its log-probability [B, 1]."""
    if sampling.temperature <= 0:
        logs = torch.log_softmax(logits, -1)
        tokens = logs.argmax(-1, keepdim=True)
        return tokens, logs.gather(1, tokens)
    logs = torch.log_softmax(logits / sampling.temperature, -1)
    bounded = logs
    if sampling.top_k > 0:
        bounded = bounded.masked_fill(bounded < bounded.topk(sampling.top_k).values[:, -1:], -1e30)
    if sampling.top_p < 1.0:
        ordered, index = bounded.softmax(-1).sort(-1, descending=True)
        outside = ordered.cumsum(-1) - ordered > sampling.top_p
        bounded = bounded.masked_fill(outside.gather(-1, index.argsort(-1)), -1e30)
    tokens = torch.multinomial(bounded.softmax(-1), 1, generator=generator)
    return tokens, logs.gather(1, tokens)
