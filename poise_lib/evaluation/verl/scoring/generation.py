"""What scoring asks of a language model: responses to prompts, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Sampling:
    """How responses are drawn."""

    n: int
    """Responses a prompt."""
    temperature: float
    """0 decodes greedily; then n is 1."""
    max_tokens: int
    seed: int

    def __post_init__(self) -> None:
        if self.n < 1 or self.max_tokens < 1 or self.temperature < 0.0:
            raise ValueError(f"n and max_tokens must be at least 1, temperature at least 0, got {self}")
        if self.temperature == 0.0 and self.n != 1:
            raise ValueError(f"greedy decoding gives one response a prompt, not {self.n}")


@dataclass(frozen=True, slots=True)
class Response:
    """One response."""

    text: str
    """Without special tokens."""
    tokens: int
    """The one that ends it included."""
    ended: bool
    """Whether it ended by itself and not at the longest length."""


class Generator(Protocol):
    """A model that responds; it is loaded once and asked for each benchmark."""

    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[tuple[Response, ...]]:
        """``sampling.n`` responses to each prompt, in order; the same for the same seed, as far as the device allows.

        Args:
            prompts: token ids.
            sampling: how to draw.
        """
        ...


def encode(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Prompts as the base's chat template has a user's message; the bare text where the base has no template.

    Args:
        tokenizer: the trusted base's.
        texts: what the user says.
    """
    encoded = []
    for text in texts:
        if getattr(tokenizer, "chat_template", None):
            message = [{"role": "user", "content": text}]
            ids = tokenizer.apply_chat_template(message, add_generation_prompt=True, tokenize=True)
            ids = ids["input_ids"] if hasattr(ids, "keys") else ids  # transformers 5 returns a mapping
        else:
            ids = tokenizer(text)["input_ids"]
        encoded.append([int(token) for token in ids])
    return encoded
