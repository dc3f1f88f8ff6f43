"""Whether a run fits its GPUs: an estimate by arithmetic, before anything is loaded.

VeRL works in two phases on the same cards.  While it trains, vLLM has given its memory back; a card holds float32
weights, gradients and AdamW's two states (4 + 4 + 8 bytes a parameter, shared out by FSDP), activations, and logits.
While it samples, vLLM holds its share of the card, and what is not offloaded of the weights and optimiser states stays
beside it.  Offloading helps the second phase only: for an update everything is on the card.

The estimate leaves out fragmentation, CUDA's own context (some 0.5 GiB, which :data:`MARGIN` stands for) and kernels'
work space.  It has not been compared with a run on a GPU.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from poise_lib.errors import InvalidInputError
from poise_lib.resources.verl import RolloutEngine, VerlSettings

GIB: Final = 1024**3
MARGIN: Final = 1.0 * GIB
LOGITS_BYTES: Final = 8
"""Bytes a token and word: bf16 logits, their float32 copy for log-probabilities, and the gradient in bf16."""
LAYER_BYTES: Final = 34
"""Bytes a token and hidden unit that one layer keeps while it is recomputed (Korthikanti et al. 2022, arXiv:2205.05198,
eq. 1, without the quadratic term, which fused attention does not keep)."""


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What of a decoder decides its memory."""

    parameters: int
    layers: int
    hidden: int
    vocabulary: int
    kv_width: int
    """Key-value heads times their width."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bytes on each card, by phase."""

    training: float
    beside_rollout: float
    """What stays of training while responses are sampled."""
    rollout: float
    """The least that the rollout engine needs: its weights, and keys and values of one sample."""


def shape_of(config: Mapping[str, Any]) -> ModelShape:
    """The shape in a ``config.json`` of transformers, for decoders like Qwen2 and Llama.

    Raises:
        InvalidInputError: a field is missing.
    """
    try:
        hidden, layers, words = config["hidden_size"], config["num_hidden_layers"], config["vocab_size"]
        heads, inner = config["num_attention_heads"], config["intermediate_size"]
    except KeyError as error:
        raise InvalidInputError(
            f"the model's config.json has no {error.args[0]}; its memory cannot be estimated"
        ) from None
    width = config.get("head_dim") or hidden // heads
    kv_width = (config.get("num_key_value_heads") or heads) * width
    attention = hidden * (2 * heads * width + 2 * kv_width)
    tied = bool(config.get("tie_word_embeddings", False))
    parameters = layers * (attention + 3 * hidden * inner + 2 * hidden) + words * hidden * (1 if tied else 2) + hidden
    return ModelShape(parameters, layers, hidden, words, kv_width)


def read_shape(folder: Path) -> ModelShape | None:
    """The shape of the model in a folder; None where there is no readable configuration of such a model."""
    try:
        return shape_of(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, InvalidInputError):
        return None


def estimate(model: ModelShape, settings: VerlSettings) -> Estimate:
    """Bytes on each card."""
    shards = settings.parallelism.fsdp or settings.gpus
    weights, states = 4.0 * model.parameters / shards, 8.0 * model.parameters / shards
    tokens = settings.tokens_per_gpu
    kept = tokens * model.hidden * (2.0 * model.layers + LAYER_BYTES)
    if not settings.gradient_checkpointing:
        kept = tokens * model.hidden * float(LAYER_BYTES * model.layers)
    whole_layer = 2.0 * model.parameters / max(1, model.layers)
    training = 2 * weights + states + kept + whole_layer + float(LOGITS_BYTES) * tokens * model.vocabulary
    beside = (0.0 if settings.offload.parameters else weights) + (0.0 if settings.offload.optimizer else states)
    sample = settings.prompt_length + settings.response_length
    split = settings.parallelism.tensor
    rollout = 2.0 * model.parameters / split + 4.0 * model.layers * model.kv_width * sample / split
    return Estimate(training, beside, rollout)


def memory_problems(model: ModelShape, settings: VerlSettings, card: float) -> tuple[str, ...]:
    """What does not fit a card, with the settings to change; empty when everything does.

    Args:
        model: its shape.
        settings: the protocol.
        card: bytes of the smallest GPU.
    """
    needed, problems = estimate(model, settings), []
    if needed.training + MARGIN > card:
        problems.append(
            f"training needs about {_gib(needed.training + MARGIN)} on each GPU, which has {_gib(card)}: lower "
            f"tokensPerGpu (now {settings.tokens_per_gpu}; a sample has up to "
            f"{settings.prompt_length + settings.response_length}), "
            + ("" if settings.gradient_checkpointing else "set gradientCheckpointing, ")
            + "share it over more GPUs (gpusPerNode, nodes), or take a smaller model"
        )
    if settings.rollout.engine is RolloutEngine.HF:
        return tuple(problems)
    share = settings.rollout.memory_share * card
    if needed.beside_rollout + share + MARGIN > card:
        unused = [name for name, used in (("offload.optimizer", settings.offload.optimizer),
                                          ("offload.parameters", settings.offload.parameters)) if not used]  # fmt: skip
        problems.append(
            f"while responses are sampled, {_gib(needed.beside_rollout + MARGIN)} of training stay beside the "
            f"{_gib(share)} of rollout.memoryShare, together more than the {_gib(card)} of each GPU: set "
            + " and ".join([*unused, "a lower rollout.memoryShare"])
        )
    if needed.rollout > share:
        problems.append(
            f"the rollout engine needs at least {_gib(needed.rollout)} for weights and one sample, but "
            f"rollout.memoryShare leaves it {_gib(share)}: raise rollout.memoryShare, or parallelism.tensor"
        )
    return tuple(problems)


def _gib(size: float) -> str:
    return f"{size / GIB:.1f} GiB"
