"""The nano policy: a small decoder-only transformer, arranged so that the prompts of a group are computed once.

Prompts have a fixed length and no padding; responses are padded on the right, and attention is causal, so padding can
never reach a real token and no padding mask exists.  A forward pass has two parts: :meth:`Policy.prefix` runs the
*unique* prompts [N, P] and keeps their keys and values, :meth:`Policy.logits` runs responses [B, T], each of which
attends to the prefix of its prompt.  In training many micro-batches share one prefix (:class:`SharedPrefix`); sampling
starts from the same prefix with a cache (:mod:`poise_lib.evaluation.nano.sampling`).

Pre-norm blocks with RMS normalisation (arXiv:1910.07467), learned absolute positions, squared-ReLU feed-forward layers
(arXiv:2109.08668; three times cheaper than GELU on a CPU).  The output head covers only the tokens that a response may
hold.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from poise_lib.evaluation.nano.config import RESPONSE_LENGTH
from poise_lib.evaluation.nano.kernels import inject, rms_norm, squared_relu
from poise_lib.evaluation.nano.task import PROMPT_LENGTH, RESPONSE_VOCABULARY, TOKENS


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The shape of the policy; the shipped base has the defaults."""

    width: int = 96
    layers: int = 2
    heads: int = 4

    @property
    def head_width(self) -> int:
        """Columns of one attention head."""
        return self.width // self.heads


class Linear(nn.Module):
    """``x @ weight.T``; the weights are whatever the memory holds until they are loaded or drawn.

    PyTorch's own layers draw weights that would be thrown away, and skipping that (``skip_init``) imports its compiler.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))

    def forward(self, hidden: Tensor) -> Tensor:
        """[N, inputs] -> [N, outputs]."""
        return F.linear(hidden, self.weight)


class Embedding(nn.Module):
    """Row ``i`` of ``weight`` for each ``i``; not initialised, as :class:`Linear`."""

    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(rows, width))

    def forward(self, index: Tensor) -> Tensor:
        """[...] int64 -> [..., width]."""
        return F.embedding(index, self.weight)


class Block(nn.Module):
    """One transformer layer: its projections; attention itself is wired by the callers."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.width
        self.attention_norm = nn.Parameter(torch.ones(width))
        self.qkv = Linear(width, 3 * width)
        self.out = Linear(width, width)
        self.mlp_norm = nn.Parameter(torch.ones(width))
        self.up = Linear(width, 4 * width)
        self.down = Linear(4 * width, width)

    def project(self, hidden: Tensor) -> Tensor:
        """Queries, keys and values side by side: [N, D] -> [N, 3D]."""
        return self.qkv(rms_norm(hidden, self.attention_norm))  # type: ignore[no-any-return]

    def finish(self, hidden: Tensor, attended: Tensor) -> Tensor:
        """Add the attention output and the feed-forward layer to the residual stream: [N, D] twice -> [N, D]."""
        hidden = hidden + self.out(attended)
        return hidden + self.down(squared_relu(self.up(rms_norm(hidden, self.mlp_norm))))  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class Prefix:
    """What responses need of their prompts."""

    last: Tensor
    """[N, D]: the hidden state of each prompt's last token, which predicts the first token of a response."""
    keys_values: tuple[tuple[Tensor, Tensor], ...]
    """Per layer, [N, heads, P, head width] each."""

    @property
    def length(self) -> int:
        """P, tokens."""
        return self.keys_values[0][0].shape[2]

    def tensors(self) -> tuple[Tensor, ...]:
        """All of them, in a fixed order."""
        return self.last, *(tensor for pair in self.keys_values for tensor in pair)

    def cut(self) -> Prefix:
        """The same values as leaves of a new graph; they gather gradients when gradients are on."""
        wanted = torch.is_grad_enabled()
        leaves = [tensor.detach().requires_grad_(wanted) for tensor in self.tensors()]
        return Prefix(leaves[0], tuple(zip(leaves[1::2], leaves[2::2], strict=True)))


class Policy(nn.Module):
    """The transformer; see the module's docstring for how prompts and responses go through it."""

    def __init__(self, config: ModelConfig | None = None) -> None:
        super().__init__()
        self.config = config or ModelConfig()
        self.embedding = Embedding(len(TOKENS), self.config.width)
        self.position = Embedding(PROMPT_LENGTH + RESPONSE_LENGTH, self.config.width)
        self.blocks = nn.ModuleList(Block(self.config) for _ in range(self.config.layers))
        self.norm = nn.Parameter(torch.ones(self.config.width))
        self.head = Linear(self.config.width, RESPONSE_VOCABULARY)

    @property
    def stack(self) -> Iterable[Block]:
        """The layers, from the embedding to the head."""
        return cast("Iterable[Block]", self.blocks)

    def initialise(self, seed: int) -> None:
        """Draw all weights anew from a normal distribution."""
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if not name.endswith("norm"):
                    parameter.normal_(0.0, 0.05, generator=generator)

    def prefix(self, prompts: Tensor) -> Prefix:
        """Run ``prompts`` [N, P] int64 through the layers."""
        count, length = prompts.shape
        width, heads, head_width = self.config.width, self.config.heads, self.config.head_width
        hidden = (self.embedding(prompts) + self.position.weight[:length]).view(count * length, width)
        keys_values = []
        for block in self.stack:
            q, k, v = block.project(hidden).view(count, length, 3, heads, head_width).permute(2, 0, 3, 1, 4)
            attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            hidden = block.finish(hidden, attended.transpose(1, 2).reshape(count * length, width))
            keys_values.append((k, v))
        return Prefix(hidden.view(count, length, width)[:, -1], tuple(keys_values))

    def logits(self, prefix: Prefix, responses: Tensor, index: Tensor) -> Tensor:
        """Predict every response token from what precedes it.

        Args:
            prefix: of N prompts.
            responses: [B, T] int64, padded on the right with any token.
            index: [B] int64: which prompt each response answers.

        Returns:
            [B, T, V] unnormalised log-probabilities.
        """
        batch, steps = responses.shape
        width, heads, head_width = self.config.width, self.config.heads, self.config.head_width
        last = prefix.last[index].unsqueeze(1)
        given = steps - 1  # the last token predicts nothing
        if given:
            length = prefix.length
            positions = self.position.weight[length : length + given]
            hidden = (self.embedding(responses[:, :given]) + positions).view(batch * given, width)
            future = torch.full((given, length + given), -torch.inf).triu(length + 1)
            for block, (k, v) in zip(self.stack, prefix.keys_values, strict=True):
                projected = block.project(hidden).view(batch, given, 3, heads, head_width)
                query, key, value = projected.permute(2, 0, 3, 1, 4)
                keys, values = torch.cat((k[index], key), 2), torch.cat((v[index], value), 2)
                # Short rows: two batched products are faster here than the fused kernel, most of all backwards.
                scores = torch.matmul(query * head_width**-0.5, keys.mT) + future
                attended = torch.matmul(F.softmax(scores, -1), values)
                hidden = block.finish(hidden, attended.transpose(1, 2).reshape(batch * given, width))
            last = torch.cat((last, hidden.view(batch, given, width)), 1)
        normed = rms_norm(last.view(batch * steps, width), self.norm)
        return self.head(normed).view(batch, steps, -1)  # type: ignore[no-any-return]


class SharedPrefix:
    """A prefix that several backward passes use, and that is itself computed and differentiated once.

    ``prefix`` is cut off from its computation; each backward pass through it leaves gradients on it, and
    :meth:`backward` carries their sum on to the weights.
    """

    def __init__(self, policy: Policy, prompts: Tensor) -> None:
        self._computed = policy.prefix(prompts)
        self.prefix = self._computed.cut()

    def backward(self) -> None:
        """Propagate what has gathered on ``prefix``."""
        pairs = zip(self._computed.tensors(), self.prefix.tensors(), strict=True)
        reached = [(computed, cut.grad) for computed, cut in pairs if cut.grad is not None]
        if reached:
            inject([computed for computed, _ in reached], [gradient for _, gradient in reached])


def save(policy: Policy, path: Path) -> None:
    """Write the weights as safetensors."""
    save_file({name: tensor.contiguous() for name, tensor in policy.state_dict().items()}, path)


def load(path: Path, config: ModelConfig | None = None) -> Policy:
    """A policy with the weights that ``path`` holds."""
    policy = Policy(config)
    policy.load_state_dict(load_file(path))
    return policy
