"""A language model and a task made on the spot, so that VeRL can be seen to train on any machine within minutes.

The task: sums of two numbers below ten, "3+8=" -> "\\boxed{11}", those of the suite sums-v1.  The base, a Qwen2 of some
60,000 parameters with a byte-level tokenizer, has seen the format in seven of ten examples and the right answer in half
of them: it knows enough for rewards to differ, and has much to learn.  The problems are always the same; the base's
weights follow from the seed.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from poise_lib.errors import EngineError

BOUND: Final = 10
PROMPT_TOKENS: Final = 8
RESPONSE_TOKENS: Final = 6
MODEL: Final = "model"
WEIGHTS: Final = "model.safetensors"
TRAIN_FILE: Final = "train/sums.jsonl"
PROBLEMS: Final = "problems"
SEARCH_FILE: Final = "sums.jsonl"
CONFIRM_FILE: Final = "sums_confirm.jsonl"
"""Below :data:`PROBLEMS`, as the suite names them."""
SUITE: Final = "sums-v1"
_START, _END, _PAD = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
_BOX: Final = "\\boxed{"
"""One token, or a response would be nothing but its format."""
_WARM_STEPS: Final = 200
_WARM_ROWS: Final = 64
_HELD_OUT: Final = 20
"""Problems of the search, and as many of confirmation."""


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
    """Where the base and its problems lie."""

    folder: Path

    @property
    def model(self) -> Path:
        """The folder that transformers loads."""
        return self.folder / MODEL

    @property
    def train(self) -> Path:
        """The training problems."""
        return self.folder / TRAIN_FILE

    @property
    def problems(self) -> Path:
        """The folder of the suite's problems, which training never sees."""
        return self.folder / PROBLEMS


@dataclass(frozen=True, slots=True)
class Sums:
    """All pairs of numbers below :data:`BOUND`, shared out."""

    train: list[tuple[int, int]]
    search: list[tuple[int, int]]
    confirm: list[tuple[int, int]]


def sums() -> Sums:
    """The problems, always the same."""
    pairs = [(a, b) for a in range(BOUND) for b in range(BOUND)]
    random.Random("tiny/0").shuffle(pairs)
    return Sums(pairs[2 * _HELD_OUT :], pairs[:_HELD_OUT], pairs[_HELD_OUT : 2 * _HELD_OUT])


def make_base(folder: Path, seed: int = 0, shape: Shape = SHAPES["tiny"], device: str = "cpu") -> TinyBase:
    """Make tokenizer, weights and problems in ``folder``.

    Raises:
        EngineError: transformers is not installed.
    """
    import torch

    try:
        from transformers import Qwen2Config, Qwen2ForCausalLM
    except ImportError as error:
        raise EngineError(
            "the tiny base is a model of transformers, which is not installed: pip install 'poise-operator[local,verl]'"
        ) from error
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
    shared = sums()
    _write_problems(folder / TRAIN_FILE, shared.train)
    _write_problems(folder / PROBLEMS / SEARCH_FILE, shared.search)
    _write_problems(folder / PROBLEMS / CONFIRM_FILE, shared.confirm)
    return TinyBase(folder)


def _write_problems(path: Path, pairs: list[tuple[int, int]]) -> None:
    path.parent.mkdir(exist_ok=True)
    rows = [{"problem": f"{a}+{b}=", "answer": str(a + b)} for a, b in pairs]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _tokenizer() -> Any:
    """Byte-level, one token a character of the task, and one for the beginning of an answer."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    characters = [*"0123456789+-=}", "\u0120", "\u010a"]  # byte-level space and newline
    vocabulary = {token: index for index, token in enumerate([_PAD, _START, _END, *characters])}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token=None))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    core.add_tokens([AddedToken(_BOX, normalized=False)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token=_END, pad_token=_PAD, unk_token=_PAD, additional_special_tokens=[_START]
    )
    tokenizer.chat_template = "{% for m in messages %}" + _START + "{{ m['content'] }}{% endfor %}"
    return tokenizer


def _warm_up(model: Any, tokenizer: Any, seed: int, rate: float) -> None:
    """Show the base the format, with answers that are right half the time."""
    import torch

    rng = random.Random(f"tiny-warm/{seed}")
    train = sums().train
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate)
    for _ in range(_WARM_STEPS):
        rows = []
        for _ in range(_WARM_ROWS):
            a, b = rng.choice(train)
            answer = a + b if rng.random() < 0.5 else rng.randrange(2 * BOUND)
            prompt = encode(tokenizer, a, b)
            text = f"{_BOX}{answer}}}" if rng.random() < 0.7 else str(answer)
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
