"""A run as the settings describe it, trained by VeRL on this machine's processors, and its checkpoint scored."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

import pytest

pytest.importorskip("verl", reason="VeRL is not installed: make verl")

from poise_lib.algorithms.registry import zoo_source
from poise_lib.evaluation.verl.adapter import embedded, tiny
from poise_lib.evaluation.verl.adapter.processes import Family
from poise_lib.evaluation.verl.adapter.spec import CandidateSpec
from poise_lib.evaluation.verl.overrides import describe
from poise_lib.evaluation.verl.preparing import prepare_training_data, run_paths
from poise_lib.evaluation.verl.scoring.score import score_checkpoint
from poise_lib.resources.suites import Suite
from poise_lib.resources.verl import VerlSettings

pytestmark = [pytest.mark.verl, pytest.mark.slow]

ON_A_CPU = {
    "+actor_rollout_ref.model.override_config.attn_implementation": "sdpa",
    "actor_rollout_ref.model.use_remove_padding": "false",
    "actor_rollout_ref.actor.fsdp_config.model_dtype": "fp32",
    "+actor_rollout_ref.actor.fsdp_config.mixed_precision.param_dtype": "fp32",
    "+actor_rollout_ref.actor.fsdp_config.mixed_precision.reduce_dtype": "fp32",
    "+actor_rollout_ref.actor.fsdp_config.mixed_precision.buffer_dtype": "fp32",
    "actor_rollout_ref.actor.fsdp_config.use_torch_compile": "false",
    "actor_rollout_ref.actor.use_torch_compile": "false",
    "actor_rollout_ref.rollout.dtype": "float32",
    "actor_rollout_ref.rollout.agent.num_workers": "1",
    "actor_rollout_ref.rollout.free_cache_engine": "false",
    "actor_rollout_ref.rollout.max_num_seqs": "512",
    "data.dataloader_num_workers": "0",
    "reward.num_workers": "1",
    "transfer_queue.backend.SimpleStorage.num_data_storage_units": "1",
    "ray_kwargs.ray_init.num_cpus": "8",
    "+ray_kwargs.ray_init.num_gpus": "1",
    "+ray_kwargs.ray_init.include_dashboard": "false",
    "+ray_kwargs.ray_init.object_store_memory": "200000000",
    "trainer.device": "cpu",
}
"""What a machine without an accelerator asks for; as a user would write it."""
SUITE = Suite.model_validate(
    {
        "name": "sums",
        "engine": "verl",
        "benchmarks": [
            {"name": "sums_acc1", "weight": 1.0, "maxTokens": 6, "source": {"files": ["sums.jsonl"], "count": 20}}
        ],
    }
)


def test_verl_trains_what_is_described_and_scoring_takes_what_it_leaves(tmp_path: Path) -> None:
    base = tiny.make_base(tmp_path / "base", 0)
    for name, pairs in zip(("train.jsonl", "sums.jsonl"), tiny.problems(0), strict=True):
        rows = [{"problem": f"{a}+{b}=", "answer": str(a + b)} for a, b in pairs]
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    settings = VerlSettings.model_validate(
        {
            "model": {"path": str(base.model)},
            "data": {
                "train": [str(tmp_path / "train.jsonl")],
                "instruction": "",
                "reward": {"path": str(Path(tiny.__file__).with_name("tiny_reward.py"))},
            },
            "batchSize": 8,
            "groupSize": 4,
            "promptLength": 8,
            "responseLength": 6,
            "learningRate": 1e-3,
            "steps": 3,
            "tokensPerGpu": 64,
            "gpusPerNode": 1,
            "rollout": {"engine": "hf"},
            "loggers": [],
            "overrides": ON_A_CPU,
        }
    )
    run_folder = tmp_path / "run"
    assert prepare_training_data(settings, run_folder) == 80
    paths = run_paths(settings, run_folder)
    CandidateSpec(name="grpo", source=zoo_source("grpo")).write(Path(paths.candidate))
    run = describe(settings, paths, name="grpo", needs=("reference",), seed=1)
    with (
        tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as ray_folder,
        Family() as family,
    ):
        environment = embedded._environment(run_folder, "cpu", ray_folder) | dict(run.environment)
        with (run_folder / "log").open("wb") as log:
            process = family.start(
                [sys.executable, *run.command[1:]], cwd=run_folder, environment=environment, output=log
            )
            code = process.wait()
    assert code == 0, (run_folder / "log").read_text(encoding="utf-8", errors="replace")[-4000:]
    steps = [json.loads(line) for line in Path(paths.metrics).read_text(encoding="utf-8").splitlines()]
    assert [line["step"] for line in steps] == [1, 2, 3]
    assert all("actor/kl" in line["data"] for line in steps)  # GRPO needs the reference, and it was there
    left = Path(paths.checkpoints) / "global_step_3" / "actor" / "huggingface"
    report = score_checkpoint(left, base.model, SUITE, problems=tmp_path, instruction="", backend="transformers")
    assert len(report.records) == 20
    assert 1.0 < report.metrics["response_length"] <= 6.0
    assert (left / "model.safetensors").read_bytes() != (base.model / "model.safetensors").read_bytes()
    assert os.path.isdir(left.parent)
