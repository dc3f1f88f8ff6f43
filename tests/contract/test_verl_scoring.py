"""Where VeRL, transformers and math-verify are installed: the examples compose, and a real model is scored for real."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("verl", reason="VeRL is not installed: make verl")

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from poise_lib.errors import EngineError, InvalidInputError
from poise_lib.evaluation.verl import rewards
from poise_lib.evaluation.verl.composing import compose
from poise_lib.evaluation.verl.overrides import describe
from poise_lib.evaluation.verl.preparing import REWARD_FILE, prepare_training_data, run_paths
from poise_lib.evaluation.verl.rewards import Verdict, judge
from poise_lib.evaluation.verl.scoring.backends import TransformersGenerator, open_generator
from poise_lib.evaluation.verl.scoring.generation import Sampling
from poise_lib.evaluation.verl.scoring.score import score_checkpoint
from poise_lib.evaluation.verl.tables import read_rows
from poise_lib.resources import Search
from poise_lib.resources.suites import Suite
from poise_lib.resources.verl import VerlSettings

pytestmark = pytest.mark.verl
ROOT = Path(__file__).parents[2]
LETTERS = "0123456789+-=#\\boxed{}"


def example(name: str) -> VerlSettings:
    document = yaml.safe_load((ROOT / "examples" / name).read_text(encoding="utf-8"))
    settings = Search.model_validate(document).spec.evaluation.verl
    assert settings is not None
    return settings


@pytest.mark.parametrize("name", ["search-math-1.5b.yaml", "search-math-small.yaml"])
def test_the_examples_compose_in_verls_own_configuration(name: str) -> None:
    settings = example(name)
    config = compose(describe(settings, run_paths(settings, Path("/run")), name="grpo", needs=("reference",)))
    actor, rollout = config["actor_rollout_ref"]["actor"], config["actor_rollout_ref"]["rollout"]
    assert config["data"]["train_batch_size"] == settings.batch_size
    assert actor["ppo_mini_batch_size"] * settings.mini_batches == settings.batch_size
    assert (actor["optim"]["lr"], actor["use_kl_loss"]) == (settings.learning_rate, True)
    assert (rollout["n"], rollout["name"]) == (settings.group_size, "vllm")
    assert rollout["response_length"] == settings.response_length  # VeRL's own interpolation of data's
    assert config["trainer"]["v1"]["trainer_mode"] == "poise"


def test_an_override_that_verl_does_not_know_is_named_with_the_nearest(tmp_path: Path) -> None:
    settings = example("search-math-small.yaml").model_copy(update={"overrides": {"trainer.balanced_batch": "false"}})
    with pytest.raises(InvalidInputError, match=r"did you mean trainer\.balance_batch\?"):
        compose(describe(settings, run_paths(settings, tmp_path), name="grpo"))
    settings = settings.model_copy(update={"overrides": {"trainer.balance_batch": "[1"}})
    with pytest.raises(InvalidInputError, match="VeRL does not take these settings: no viable alternative"):
        compose(describe(settings, run_paths(settings, tmp_path), name="grpo"))


def test_math_verify_judges_what_is_written_otherwise() -> None:
    pairs = {
        ("\\boxed{\\frac{1}{2}}", "0.5"): True,
        ("\\boxed{\\dfrac{2}{4}}", "\\frac12"): True,
        ("\\boxed{x^2+2x+1}", "(x+1)^2"): True,
        ("\\boxed{(1, 2)}", "(1,2)"): True,
        ("\\boxed{3}", "2"): False,
        ("\\boxed{not a number}", "2"): False,
        ("\\boxed{9^{9^{9^9}}}", "2"): False,  # what a policy may come up with; it must end
    }
    assert judge(list(pairs)) == [Verdict(correct, True) for correct in pairs.values()]


HANGING = """
import signal, threading

def same(answer, truth):
    if answer == "forever":
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
        threading.Event().wait()
    return answer in ("1", "1/2")
"""
"""Compares, but for one answer, over which it never ends and hears no alarm."""


def test_a_comparison_that_hangs_costs_the_others_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "hanging.py").write_text(HANGING, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(rewards, "same", importlib.import_module("hanging").same)
    monkeypatch.setattr(rewards, "_POOL", rewards._Pool())
    monkeypatch.setattr(rewards, "SECONDS", 3.0)
    pairs = [("\\boxed{forever}", "1"), *[("\\boxed{1/2}", "0.5")] * 20]
    assert [verdict.correct for verdict in judge(pairs)] == [False] + [True] * 20


def test_verl_loads_the_reward_function_by_its_path() -> None:
    """By VeRL's own loader, under a name that nobody can import."""
    from verl.utils.import_utils import load_module

    module = load_module(REWARD_FILE)
    found = module.compute_score(data_source="s", solution_str="\\boxed{1/2}", ground_truth="0.5", extra_info={})
    assert found == {"score": 1.0, "correct": 1.0, "valid": 1.0}


def test_training_data_in_verls_format(tmp_path: Path) -> None:
    rows = [{"problem": f"{n}+1?", "solution": f"\\boxed{{{n + 1}}}", "level": f"Level {n % 5 + 1}"} for n in range(10)]
    source = tmp_path / "math.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    settings = example("search-math-small.yaml")
    settings = settings.model_copy(update={"data": settings.data.model_copy(update={"train": (str(source),)})})
    assert prepare_training_data(settings, tmp_path) == 6
    written = read_rows(run_paths(settings, tmp_path).train[0])
    assert [row["reward_model"]["ground_truth"] for row in written] == ["3", "4", "5", "8", "9", "10"]
    assert written[0]["prompt"][0]["content"].startswith("2+1?\nPlease reason step by step")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerFast:
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    letters = dict.fromkeys(LETTERS)
    vocabulary = {token: index for index, token in enumerate([*special, *letters])}
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<|im_end|>", pad_token="<|endoftext|>", unk_token="<|endoftext|>"
    )
    made.chat_template = "{% for m in messages %}<|im_start|>{{ m['content'] }}{% endfor %}"
    return made


KNOWN = {"1+1=": "\\boxed{2}", "2+1=": "\\boxed{3}", "2+2=": "\\boxed{4}", "5+4=": "#"}
"""What the trained model says; the last is a response without a final answer."""


@pytest.fixture(scope="module")
def base(tokenizer: PreTrainedTokenizerFast, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Qwen2 with random weights."""
    torch.manual_seed(0)
    ids = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None}
    config = Qwen2Config(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=64, tie_word_embeddings=False, use_sliding_window=False, **ids,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("model") / "base"
    Qwen2ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def trained(base: Path, tokenizer: PreTrainedTokenizerFast) -> Path:
    """The same, taught to say what KNOWN says; as training leaves it, with files that nobody should open."""
    model = Qwen2ForCausalLM.from_pretrained(base, dtype=torch.float32)
    start = tokenizer.convert_tokens_to_ids("<|im_start|>")
    rows = [
        ([start, *tokenizer(question)["input_ids"]], [*tokenizer(answer)["input_ids"], tokenizer.eos_token_id])
        for question, answer in KNOWN.items()
    ]
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(150):
        losses = []
        for asked, said in rows:
            labels = torch.tensor([[-100] * len(asked) + said])
            losses.append(model(input_ids=torch.tensor([asked + said]), labels=labels).loss)
        loss = torch.stack(losses).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05
    folder = base.parent / "trained"
    folder.mkdir()
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, folder / "model.safetensors")
    for name in ("config.json", "tokenizer.json", "modeling_evil.py"):
        (folder / name).write_text("{ this is read by nobody", encoding="utf-8")
    return folder


def suite(**files: int) -> Suite:
    source = {"files": ["known.jsonl"], "count": 4}
    benchmarks: list[dict[str, Any]] = [
        {"name": "greedy_acc1", "weight": 0.5, "maxTokens": 12, "source": source},
        {"name": "sampled_pass2", "weight": 0.5, "passK": 2, "samples": 4, "maxTokens": 12, "source": source},
    ]
    return Suite.model_validate({"name": "known", "engine": "verl", "benchmarks": benchmarks})


@pytest.fixture(scope="module")
def problems(base: Path) -> Path:
    truths = {"1+1=": "2", "2+1=": "3", "2+2=": "5", "5+4=": "9"}  # the third is not what the model says
    lines = [json.dumps({"problem": question, "answer": answer}) for question, answer in truths.items()]
    (base.parent / "known.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return base.parent


def test_a_trained_checkpoint_is_scored_by_what_it_says(base: Path, trained: Path, problems: Path) -> None:
    report = score_checkpoint(trained, base, suite(), problems=problems, instruction="", backend="transformers", seed=1)
    assert report.metrics["greedy_acc1"] == 50.0
    assert [(r.correct, r.valid, r.ended) for r in report.records[:4]] == [(1, 1, 1), (1, 1, 1), (0, 1, 1), (0, 0, 1)]
    assert [r.mean_length for r in report.records[:4]] == [10.0, 10.0, 10.0, 2.0]  # nine signs, or one, and the end
    again = score_checkpoint(trained, base, suite(), problems=problems, instruction="", backend="transformers", seed=1)
    assert (again.metrics, again.records, again.intervals) == (report.metrics, report.records, report.intervals)
    untrained = score_checkpoint(base, base, suite(), problems=problems, instruction="", backend="transformers")
    assert untrained.metrics["overall"] == 0.0


def test_a_checkpoint_that_is_not_the_bases_is_refused(
    base: Path, trained: Path, problems: Path, tmp_path: Path
) -> None:
    tensors = load_file(trained / "model.safetensors")
    tensors["model.norm.weight"][0] = float("inf")
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(EngineError, match=r"tensor 'model\.norm\.weight' is not finite"):
        score_checkpoint(tmp_path, base, suite(), problems=problems, instruction="", backend="transformers")


def test_batched_decoding_is_that_of_one_token_after_another(base: Path, trained: Path, tmp_path: Path) -> None:
    from poise_lib.evaluation.verl.scoring.checkpoint import assemble

    folder = assemble(trained, base, tmp_path / "model")
    generator, tokenizer = open_generator("transformers", folder, max_length=64)
    assert isinstance(generator, TransformersGenerator)
    asked = [[1, *tokenizer(text)["input_ids"]] for text in ("1+1=", "2+2=2", "9")]  # of different lengths
    model = Qwen2ForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    for prompt, (response,) in zip(asked, generator.generate(asked, Sampling(1, 0.0, 12, 0)), strict=True):
        tokens = list(prompt)
        with torch.inference_mode():
            while len(tokens) < len(prompt) + 12 and tokens[-1:] != [tokenizer.eos_token_id]:
                tokens.append(int(model(torch.tensor([tokens])).logits[0, -1].argmax()))
        said = tokens[len(prompt) :]
        assert response.text == tokenizer.decode(said, skip_special_tokens=True)
        assert (response.tokens, response.ended) == (len(said), said[-1] == tokenizer.eos_token_id)


def test_samples_follow_the_models_own_distribution(base: Path, tmp_path: Path) -> None:
    generator, tokenizer = open_generator("transformers", base, max_length=64)
    prompt = [1, *tokenizer("7")["input_ids"]]
    with torch.inference_mode():
        logits = Qwen2ForCausalLM.from_pretrained(base, dtype=torch.float32)(torch.tensor([prompt])).logits[0, -1]
    likely = torch.softmax(logits, -1)
    (drawn,) = generator.generate([prompt], Sampling(2000, 1.0, 1, 5))
    ended = sum(response.ended for response in drawn) / 2000
    expected = float(likely[tokenizer.eos_token_id])
    assert ended == pytest.approx(expected, abs=4 * (expected * (1 - expected) / 2000) ** 0.5)
    assert generator.generate([prompt], Sampling(8, 1.0, 4, 5)) == generator.generate([prompt], Sampling(8, 1.0, 4, 5))
    assert generator.generate([prompt], Sampling(8, 1.0, 4, 5)) != generator.generate([prompt], Sampling(8, 1.0, 4, 6))
