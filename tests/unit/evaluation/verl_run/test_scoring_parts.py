"""Checkpoints as tensors only, and scores from responses whose worth is known beforehand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from poise_lib.errors import EngineError, InvalidInputError
from poise_lib.evaluation.verl.problems import Problem
from poise_lib.evaluation.verl.scoring.checkpoint import assemble, check, merge
from poise_lib.evaluation.verl.scoring.generation import Response, Sampling, encode
from poise_lib.evaluation.verl.scoring.score import score_model
from poise_lib.resources.suites import Suite


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    folder.mkdir()
    save_file(
        {"a": torch.ones(2, 3, dtype=torch.bfloat16), "b": torch.ones(4, dtype=torch.bfloat16)},
        folder / "model.safetensors",
    )
    for name in ("config.json", "tokenizer.json", "model_code.py"):
        (folder / name).write_text(f"the base's {name}", encoding="utf-8")
    return folder


def checkpoint(base: Path, tensors: dict[str, torch.Tensor], name: str = "model.safetensors") -> Path:
    folder = base.parent / "checkpoint"
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / name)
    return folder


def good(dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    return {"a": torch.full((2, 3), 0.1, dtype=dtype), "b": torch.full((4,), 2.0, dtype=dtype)}


def test_the_tensors_are_the_checkpoints_and_all_else_is_the_bases(base: Path, tmp_path: Path) -> None:
    given = checkpoint(base, good())
    for name in ("config.json", "tokenizer.json", "generation_config.json", "evil.py", "pytorch_model.bin"):
        (given / name).write_text("the checkpoint's", encoding="utf-8")
    made = assemble(given, base, tmp_path / "made")
    assert sorted(file.name for file in made.iterdir()) == ["config.json", "model.safetensors", "tokenizer.json"]
    assert (made / "config.json").read_text(encoding="utf-8") == "the base's config.json"
    held = load_file(made / "model.safetensors")
    assert {name: tensor.dtype for name, tensor in held.items()} == dict.fromkeys("ab", torch.bfloat16)
    assert torch.equal(held["a"], torch.full((2, 3), 0.1).to(torch.bfloat16))


def test_code_of_the_base_comes_along_where_it_is_trusted(base: Path, tmp_path: Path) -> None:
    made = assemble(checkpoint(base, good()), base, tmp_path / "made", trust_remote_code=True)
    assert (made / "model_code.py").is_file()


def test_several_files_become_one_that_safetensors_reads(base: Path, tmp_path: Path) -> None:
    """Read back by the library itself, which checks the header that was written by hand."""
    tensors = good(torch.bfloat16)
    given = checkpoint(base, {"b": tensors["b"]}, "x-1.safetensors")
    checkpoint(base, {"a": torch.full((2, 3), 0.1)}, "x-2.safetensors")
    merge(given, base, tmp_path / "policy.safetensors")
    held = load_file(tmp_path / "policy.safetensors")
    assert set(held) == {"a", "b"}
    assert torch.equal(held["a"], tensors["a"])
    assert torch.equal(held["b"], tensors["b"])


def test_a_refused_checkpoint_leaves_no_file(base: Path, tmp_path: Path) -> None:
    target = tmp_path / "policy.safetensors"
    with pytest.raises(EngineError, match="not finite"):
        merge(checkpoint(base, good() | {"b": torch.full((4,), torch.inf)}), base, target)
    assert not target.exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"a": None}, "tensor 'a' is missing"),
        ({"c": torch.ones(1)}, "tensor 'c' is unknown"),
        ({"a": torch.ones(3, 2)}, r"tensor 'a' is F32 \[3, 2\], expected BF16 \[2, 3\]"),
        ({"b": torch.ones(4, dtype=torch.float16)}, r"tensor 'b' is F16 \[4\], expected BF16"),
        ({"b": torch.tensor([1.0, float("nan"), 1.0, 1.0])}, "tensor 'b' is not finite"),
        ({"b": torch.tensor([1.0, 3.4e38, 1.0, 1.0]) * torch.tensor(1.0)}, "tensor 'b' is not finite"),  # rounds to inf
    ],
)
def test_what_is_no_policy_is_refused(
    base: Path, tmp_path: Path, changes: dict[str, torch.Tensor | None], message: str
) -> None:
    tensors = {name: tensor for name, tensor in (good() | changes).items() if tensor is not None}
    with pytest.raises(EngineError, match=message):
        assemble(checkpoint(base, tensors), base, tmp_path / "made")


def test_files_that_are_no_safetensors_are_refused(base: Path) -> None:
    given = checkpoint(base, good())
    (given / "model.safetensors").write_bytes(b"\x80\x04pickle")
    with pytest.raises(EngineError, match="not a readable safetensors file"):
        check(given, base)
    (given / "model.safetensors").unlink()
    with pytest.raises(EngineError, match=r"holds no \*\.safetensors; weights in other formats can carry code"):
        check(given, base)
    (given / "model.safetensors").symlink_to(base / "model.safetensors")
    with pytest.raises(EngineError, match="is a link"):
        check(given, base)


SUITE = Suite.model_validate(
    {
        "name": "s",
        "engine": "verl",
        "benchmarks": [
            {"name": "hard", "weight": 0.4, "passK": 2, "samples": 4, "maxTokens": 10},
            {"name": "easy", "weight": 0.6, "maxTokens": 10},
        ],
    }
)
PROBLEMS = {"hard": (Problem("h1", "1"), Problem("h2", "2")), "easy": (Problem("e1", "1"), Problem("e2", "2"))}


class Letters:
    """A tokenizer without a chat template: a token a character."""

    chat_template = None

    def __call__(self, text: str) -> dict[str, list[int]]:
        return {"input_ids": [ord(letter) for letter in text]}


class Scripted:
    """A generator that says what it was told to say, in the order of the samples."""

    def __init__(self, script: dict[str, Sequence[str]], longer: int = 0) -> None:
        self.script = script
        self.longer = longer
        self.asked: list[Sampling] = []

    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[tuple[Response, ...]]:
        self.asked.append(sampling)
        names = ["".join(map(chr, prompt)).split("\n")[0] for prompt in prompts]
        return [
            tuple(Response(text, LENGTHS[name[0]] + self.longer, True) for text in self.script[name][: sampling.n])
            for name in names
        ]


RIGHT, LOST = "\\boxed{1}", "who knows"
WRONG = "\\boxed{" + "1" * 1001 + "}"  # longer than any answer: wrong without asking math-verify
SCRIPT = {"h1": [RIGHT, RIGHT, WRONG, LOST], "h2": [LOST] * 4, "e1": [RIGHT], "e2": [LOST]}
LENGTHS = {"h": 7, "e": 9}


def test_scores_by_hand() -> None:
    report = score_model(Scripted(SCRIPT), Letters(), SUITE, PROBLEMS, instruction="Box it.", seed=3)
    # h1: 1 - C(2,2)/C(4,2) = 5/6, h2: 0; e1: 1, e2: 0
    assert report.metrics["hard"] == pytest.approx(100 * (5 / 6 + 0) / 2)
    assert report.metrics["easy"] == 50.0
    assert report.metrics["overall"] == pytest.approx(0.4 * 100 * 5 / 12 + 0.6 * 50)
    assert report.metrics["format_valid"] == pytest.approx(100 * (3 / 8 + 1 / 2) / 2)
    assert report.metrics["response_length"] == pytest.approx((7 + 9) / 2)
    low, high = report.intervals["overall"]
    assert low <= report.metrics["overall"] <= high
    assert report.intervals["easy"] == (0.0, 100.0)


def test_every_problem_is_kept() -> None:
    report = score_model(Scripted(SCRIPT), Letters(), SUITE, PROBLEMS, instruction="")
    lines = [json.loads(line) for line in report.lines().splitlines()]
    assert [(line["benchmark"], line["index"], line["correct"], line["samples"]) for line in lines] == [
        ("hard", 0, 2, 4), ("hard", 1, 0, 4), ("easy", 0, 1, 1), ("easy", 1, 0, 1)]  # fmt: skip
    assert lines[0] | {"score": 0} == {"benchmark": "hard", "index": 0, "problem": "h1", "answer": "1", "samples": 4,
        "correct": 2, "valid": 3, "ended": 4, "mean_length": 7.0, "score": 0}  # fmt: skip


def test_greedy_where_there_is_no_k_and_seeds_that_depend_on_seed_and_benchmark() -> None:
    first, again, other = (Scripted(SCRIPT) for _ in range(3))
    for model, seed in ((first, 1), (again, 1), (other, 2)):
        score_model(model, Letters(), SUITE, PROBLEMS, instruction="", seed=seed)
    assert [(asked.n, asked.temperature, asked.max_tokens) for asked in first.asked] == [(4, 1.0, 10), (1, 0.0, 10)]
    assert first.asked == again.asked
    assert len({asked.seed for asked in (*first.asked, *other.asked)}) == 4


def test_a_score_without_problems_or_out_of_range_is_none() -> None:
    with pytest.raises(InvalidInputError, match="benchmark easy: there are no problems"):
        score_model(Scripted(SCRIPT), Letters(), SUITE, PROBLEMS | {"easy": ()}, instruction="")
    with pytest.raises(EngineError, match=r"metric 'response_length' is .*, outside"):
        score_model(Scripted(SCRIPT, longer=99), Letters(), SUITE, PROBLEMS, instruction="")


def test_prompts_by_a_chat_template() -> None:
    class Chat(Letters):
        chat_template = "t"

        def apply_chat_template(self, messages: list[dict[str, str]], **how: bool) -> dict[str, list[int]]:
            assert how == {"add_generation_prompt": True, "tokenize": True}
            return {"input_ids": [len(messages), ord(messages[0]["content"])]}

    assert encode(Chat(), ["x"]) == [[1, ord("x")]]
    assert encode(Letters(), ["xy"]) == [[ord("x"), ord("y")]]


@pytest.mark.parametrize("wrong", [{"n": 0}, {"max_tokens": 0}, {"temperature": -1.0}, {"temperature": 0.0, "n": 2}])
def test_samplings_that_are_none(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"greedy|at least"):
        Sampling(**({"n": 1, "temperature": 1.0, "max_tokens": 4, "seed": 0} | wrong))  # type: ignore[arg-type]
