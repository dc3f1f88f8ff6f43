"""What would stop a run, told before it starts; memory by arithmetic that can be done by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from poise_lib.errors import InvalidInputError
from poise_lib.evaluation.verl.memory import GIB, ModelShape, estimate, memory_problems, shape_of
from poise_lib.evaluation.verl.preflight import Machine, problems, resolve_model
from poise_lib.resources.verl import VerlModel, VerlSettings

QWEN_1_5B = {"hidden_size": 1536, "num_hidden_layers": 28, "vocab_size": 151_936, "num_attention_heads": 12,
             "num_key_value_heads": 2, "intermediate_size": 8960, "tie_word_embeddings": True}  # fmt: skip
"""config.json of Qwen/Qwen2.5-Math-1.5B, as far as it matters."""


def settings(**changes: Any) -> VerlSettings:
    return VerlSettings.model_validate({"model": {"path": "org/model"}, "data": {"train": ["org/data"]}} | changes)


def test_parameters_are_counted() -> None:
    # 1,543,714,304 by the safetensors of Qwen2.5-1.5B; biases and norms are left out or rough
    assert shape_of(QWEN_1_5B).parameters == pytest.approx(1_543_714_304, rel=1e-3)
    assert shape_of(QWEN_1_5B).kv_width == 256
    with pytest.raises(InvalidInputError, match="has no hidden_size"):
        shape_of({})


def test_the_estimate_by_hand() -> None:
    shape = ModelShape(parameters=1000, layers=2, hidden=10, vocabulary=100, kv_width=4)
    found = estimate(shape, settings(gpusPerNode=2, tokensPerGpu=40, promptLength=8, responseLength=2))
    # two cards share 16 bytes a parameter; 40 tokens keep two layers' inputs and one layer's inside; logits
    assert found.training == 16 * 1000 / 2 + 40 * 10 * (2 * 2 + 34) + 2 * 1000 / 2 + 8 * 40 * 100
    assert found.beside_rollout == 12 * 1000 / 2
    assert found.rollout == 2 * 1000 + 4 * 2 * 4 * 10


def test_the_papers_setting_fits_its_cards_and_not_a_small_one() -> None:
    shape = shape_of(QWEN_1_5B)
    assert memory_problems(shape, settings(), 80e9) == ()
    (training, *_) = memory_problems(shape, settings(), 24 * GIB)
    assert "training needs about" in training
    assert "on each GPU, which has 24.0 GiB: lower tokensPerGpu (now 16384; a sample has up to 4024)" in training


def test_the_small_setting_fits_24_gigabytes() -> None:
    small = {"hidden_size": 896, "num_hidden_layers": 24, "vocab_size": 151_936, "num_attention_heads": 14,
             "num_key_value_heads": 2, "intermediate_size": 4864, "tie_word_embeddings": True}  # fmt: skip
    import yaml

    from poise_lib.resources import Search

    file = Path(__file__).parents[4] / "examples" / "search-math-small.yaml"
    verl = Search.model_validate(yaml.safe_load(file.read_text(encoding="utf-8"))).spec.evaluation.verl
    assert verl is not None
    assert memory_problems(shape_of(small), verl, 24e9) == ()
    assert memory_problems(shape_of(small), verl, 12e9)


def test_each_phase_says_which_settings_to_change() -> None:
    shape = shape_of(QWEN_1_5B)
    one = {"gpusPerNode": 1, "tokensPerGpu": 4096}
    (beside,) = memory_problems(shape, settings(**one, rollout={"memoryShare": 0.5}), 36 * GIB)
    assert "beside the 18.0 GiB of rollout.memoryShare" in beside
    assert "set offload.optimizer and offload.parameters and a lower rollout.memoryShare" in beside
    assert memory_problems(shape, settings(**one, offload={"optimizer": True, "parameters": True}), 36 * GIB) == ()
    (rollout,) = memory_problems(shape, settings(**one, rollout={"memoryShare": 0.02}), 80 * GIB)
    assert "raise rollout.memoryShare, or parallelism.tensor" in rollout


BOTH = frozenset({"vllm", "sglang"})
GOOD = Machine(verl="0.9.1", cuda=True, cards=(int(80e9),) * 8, rollouts=BOTH)
ON_A_CPU = {"platform": "cpu", "rollout": {"engine": "hf"}}


def test_a_machine_on_which_all_is_well(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(QWEN_1_5B), encoding="utf-8")
    assert problems(settings(), GOOD, tmp_path) == ()


@pytest.mark.parametrize(
    ("changes", "machine", "reason", "words"),
    [
        ({}, replace(GOOD, verl=None), "EngineMissing", "VeRL is not installed"),
        ({}, replace(GOOD, verl="0.8.0"), "EngineMissing", "VeRL 0.8.0 is outside the tested range"),
        ({}, replace(GOOD, rollouts=frozenset()), "EngineMissing", "rollout.engine vllm: vllm is not installed"),
        ({}, Machine("0.9.1", False, cuda_problem="PyTorch 2.13.0+cpu is built for CPUs", rollouts=BOTH), "GPUMissing",
         "platform cuda needs CUDA: PyTorch 2.13.0+cpu is built for CPUs; request GPUs"),
        ({"rollout": {"engine": "hf"}}, Machine("0.9.1", False, cuda_problem="no driver"), "GPUMissing",
         "or set platform: cpu and rollout.engine: hf"),
        ({}, replace(GOOD, cards=(int(80e9),)), "GPUMissing", "gpusPerNode is 8, but this node has 1"),
        ({"data": {"train": ["/data/none.jsonl"]}}, GOOD, "DataInvalid",
         "data.train: /data/none.jsonl: there is no such file"),
        ({"data": {"train": ["org/data"], "reward": {"path": "/none.py"}}}, GOOD, "DataInvalid",
         "data.reward.path: /none.py: there is no"),
        (ON_A_CPU, Machine(None, False), "EngineMissing", "VeRL is not installed"),
    ],
)  # fmt: skip
def test_what_stops_a_run(changes: dict[str, Any], machine: Machine, reason: str, words: str) -> None:
    (problem,) = problems(settings(**changes), machine, None)
    assert problem.reason == reason
    assert words in problem.message


def test_a_processor_needs_no_gpu() -> None:
    assert problems(settings(**ON_A_CPU), Machine("0.9.1", False), None) == ()


def test_too_little_memory_is_told_with_what_was_asked_and_what_there_is(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(QWEN_1_5B), encoding="utf-8")
    found = problems(settings(), replace(GOOD, cards=(16 * GIB,) * 8), tmp_path)
    assert {problem.reason for problem in found} == {"GPUTooSmall"}
    assert any(
        "evaluation.verl: training needs about" in problem.message and "which has 16.0 GiB" in problem.message
        for problem in found
    )


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"model.path: /models/none: there is no such folder; mount it"):
        resolve_model(VerlModel(path="/models/none"))
    with pytest.raises(InvalidInputError, match=r"holds no config.json, so it is no model of transformers"):
        resolve_model(VerlModel(path=str(tmp_path)))
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    assert resolve_model(VerlModel(path=str(tmp_path))) == tmp_path
