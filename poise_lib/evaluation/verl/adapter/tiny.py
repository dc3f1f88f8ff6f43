"""A language model and a task made on the spot, so that VeRL can be seen to train on any machine within minutes.

The task: sums of two numbers below ten, "3+8=" -> "#11".  The base, a Qwen2 of some 60,000 parameters with a
byte-level tokenizer, has seen the format in seven of ten examples and the right answer in half of them: it knows
enough for rewards to differ, and has much to learn.  Everything follows from the seed.  Nothing here is a benchmark.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from poise_lib.errors import EngineError
from poise_lib.evaluation.verl.adapter.tiny_reward import END, judge

if TYPE_CHECKING:
    from torch import Tensor

BOUND: Final = 10
PROMPT_TOKENS: Final = 8
RESPONSE_TOKENS: Final = 6
MODEL: Final = "model"
WEIGHTS: Final = "model.safetensors"
TRAIN_FILE: Final = "train.parquet"
TEST_FILE: Final = "test.parquet"
_START, _PAD = "<|im_start|>", "<|endoftext|>"
_WARM_STEPS: Final = 200
_WARM_ROWS: Final = 64
_HELD_OUT: Final = 20
_DRAWS: Final = 8
"""Samples of each held-out problem."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Of a Qwen2, all but its vocabulary."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    warm_rate: float
    """AdamW's learning rate while the base is made."""

    @property
    def weight_bytes(self) -> int:
        """Of a float32 checkpoint, or a little more."""
        head = self.hidden // self.heads
        attention = 2 * self.hidden * head * (self.heads + self.kv_heads)
        block = attention + 3 * self.hidden * self.intermediate + 8 * self.hidden
        return 4 * (self.layers * block + 100 * self.hidden)


SHAPES: Final = {
    "tiny": Shape(64, 128, 2, 4, 2, 2e-3),
    "qwen2.5-0.5b": Shape(896, 4864, 24, 14, 2, 1e-4),
}
"""By name; the second has the blocks of Qwen2.5-0.5B, with weights made here."""


@dataclass(frozen=True, slots=True)
class TinyBase:
    """Where the base lies, and what its weights were when it was made."""

    folder: Path
    digest: str
    """SHA-256 of the weights."""

    @property
    def model(self) -> Path:
        """The folder that transformers loads."""
        return self.folder / MODEL


def problems(seed: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """(training, held-out) pairs."""
    pairs = [(a, b) for a in range(BOUND) for b in range(BOUND)]
    random.Random(f"tiny/{seed}").shuffle(pairs)
    return pairs[_HELD_OUT:], pairs[:_HELD_OUT]


def make_base(folder: Path, seed: int, shape: Shape = SHAPES["tiny"], device: str = "cpu") -> TinyBase:
    """Make tokenizer, weights and VeRL's data files in ``folder``."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: Any = Qwen2ForCausalLM(
            Qwen2Config(
                vocab_size=len(tokenizer),
                hidden_size=shape.hidden,
                intermediate_size=shape.intermediate,
                num_hidden_layers=shape.layers,
                num_attention_heads=shape.heads,
                num_key_value_heads=shape.kv_heads,
                max_position_embeddings=32,
                tie_word_embeddings=False,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
                bos_token_id=None,
                use_sliding_window=False,
            )
        )
        _warm_up(model.to(device), tokenizer, seed, shape.warm_rate)
    model.cpu().save_pretrained(folder / MODEL, safe_serialization=True)
    tokenizer.save_pretrained(folder / MODEL)
    for name, pairs in zip((TRAIN_FILE, TEST_FILE), problems(seed), strict=True):
        _write_rows(folder / name, pairs)
    return TinyBase(folder, digest_of(folder / MODEL / WEIGHTS))


def digest_of(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _tokenizer() -> Any:
    """Byte-level, one token a character of the task."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    characters = [*"0123456789+-=#", "\u0120", "\u010a"]  # byte-level space and newline
    vocabulary = {token: index for index, token in enumerate([_PAD, _START, END, *characters])}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token=None))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token=END, pad_token=_PAD, unk_token=_PAD, additional_special_tokens=[_START]
    )
    tokenizer.chat_template = "{% for m in messages %}" + _START + "{{ m['content'] }}{% endfor %}"
    return tokenizer


def _warm_up(model: Any, tokenizer: Any, seed: int, rate: float) -> None:
    """Show the base the format, with answers that are right half the time."""
    import torch

    rng = random.Random(f"tiny-warm/{seed}")
    train, _ = problems(seed)
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate)
    for _ in range(_WARM_STEPS):
        rows = []
        for _ in range(_WARM_ROWS):
            a, b = rng.choice(train)
            answer = a + b if rng.random() < 0.5 else rng.randrange(2 * BOUND)
            prompt = encode(tokenizer, a, b)
            text = f"{'#' if rng.random() < 0.7 else ''}{answer}"
            rows.append((prompt, [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]))
        width = max(len(prompt) + len(answer) for prompt, answer in rows)
        tokens = torch.full((_WARM_ROWS, width), tokenizer.pad_token_id)
        labels = torch.full((_WARM_ROWS, width), -100)
        for row, (prompt, ids) in enumerate(rows):
            tokens[row, : len(prompt) + len(ids)] = torch.tensor(prompt + ids)
            labels[row, len(prompt) : len(prompt) + len(ids)] = torch.tensor(ids)
        tokens, labels = tokens.to(model.device), labels.to(model.device)
        loss = model(
            input_ids=tokens, attention_mask=(labels != -100) | (tokens != tokenizer.pad_token_id), labels=labels
        )
        optimiser.zero_grad()
        loss.loss.backward()
        optimiser.step()


def encode(tokenizer: Any, a: int, b: int) -> list[int]:
    """The prompt's ids, as VeRL makes them from the chat template."""
    start: int = tokenizer.convert_tokens_to_ids(_START)
    return [start, *tokenizer(f"{a}+{b}=", add_special_tokens=False)["input_ids"]]


def _write_rows(path: Path, pairs: list[tuple[int, int]]) -> None:
    """VeRL's data file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [
        {
            "data_source": "poise/tiny-sums",
            "prompt": [{"role": "user", "content": f"{a}+{b}="}],
            "ability": "math",
            "reward_model": {"style": "rule", "ground_truth": str(a + b)},
            "extra_info": {"index": index},
        }
        for index, (a, b) in enumerate(pairs)
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)


def score(base: TinyBase, weights: bytes | None, seed: int) -> dict[str, float]:
    """Score weights on the held-out problems, in percentage points: greedy, and the mean over samples at temperature 1.

    Tokenizer, architecture and problems come from the base; of what was trained, tensors alone are read.

    Args:
        base: the trusted base.
        weights: a safetensors file's content; None scores the base itself.
        seed: of the base and of the sampling noise.

    Raises:
        EngineError: the base is not what it was, or the tensors are not those of its architecture.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from poise_lib.evaluation.verl.adapter.sampling import Sampling, sample

    torch.set_num_threads(1)
    if digest_of(base.model / WEIGHTS) != base.digest:
        raise EngineError(
            f"{base.model}: the base's weights were changed while the candidate trained; nothing is scored"
        )
    tokenizer = AutoTokenizer.from_pretrained(base.model)
    model: Any = AutoModelForCausalLM.from_pretrained(base.model).float().eval()
    if weights is not None:
        model.load_state_dict(checked_tensors(weights, model.state_dict()))
    _, held_out = problems(seed)
    prompts = [encode(tokenizer, a, b) for a, b in held_out]
    generator = torch.Generator().manual_seed(seed)
    scores = {}
    for name, temperature, copies in (("acc@1", 0.0, 1), (f"mean@{_DRAWS}", 1.0, _DRAWS)):
        setting = Sampling(temperature, 1.0, -1, RESPONSE_TOKENS)
        drawn = sample(model, prompts * copies, setting, tokenizer.eos_token_id, tokenizer.pad_token_id, generator)
        texts = [tokenizer.decode(ids) for ids, _ in drawn]
        right = [judge(text, str(a + b))[0] for text, (a, b) in zip(texts, held_out * copies, strict=True)]
        scores[name] = 100.0 * sum(right) / len(right)
    return scores


def checked_tensors(weights: bytes, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a safetensors file, if they are those that an architecture has.

    Raises:
        EngineError: a name, a shape or a value is not as it should be; the message says which.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        found = load(weights)
    except SafetensorError as error:
        raise EngineError(f"the checkpoint is no safetensors file: {error}") from error
    if wrong := sorted(set(found) ^ set(expected)):
        raise EngineError(f"the checkpoint's tensors are not the base's: {', '.join(wrong[:5])}")
    for name, tensor in found.items():
        if tensor.shape != expected[name].shape:
            raise EngineError(
                f"the checkpoint's {name} has shape {list(tensor.shape)}, the base's {list(expected[name].shape)}"
            )
        if not tensor.is_floating_point() or not bool(torch.isfinite(tensor).all()):
            raise EngineError(f"the checkpoint's {name} holds what is not a finite float")
    return found
