"""From settings to VeRL's configuration: the paper's numbers, and what a user may not change."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from poise_lib.errors import InvalidInputError
from poise_lib.evaluation.verl.adapter.spec import SPEC_VARIABLE
from poise_lib.evaluation.verl.composing import check_keys
from poise_lib.evaluation.verl.overrides import CANDIDATE_VARIABLE, Paths, RunDescription, describe
from poise_lib.evaluation.verl.preparing import run_paths
from poise_lib.evaluation.verl.versions import version_problem
from poise_lib.resources import Search
from poise_lib.resources.evaluation import Fidelity
from poise_lib.resources.verl import VerlSettings

EXAMPLES = Path(__file__).parents[4] / "examples"
PATHS = Paths(
    "/models/base", ("/run/train.parquet",), "/run/reward.py", "/run/c.json", "/run/checkpoints", "/run/m.jsonl"
)
SMALLEST = {"model": {"path": "org/model"}, "data": {"train": ["train.jsonl"]}}


def example(name: str) -> VerlSettings:
    document = yaml.safe_load((EXAMPLES / name).read_text(encoding="utf-8"))
    settings = Search.model_validate(document).spec.evaluation.verl
    assert settings is not None
    return settings


def run(changes: dict[str, Any] | None = None, **arguments: Any) -> RunDescription:
    return describe(VerlSettings.model_validate(SMALLEST | (changes or {})), PATHS, name="grpo", **arguments)


def values(description: RunDescription) -> dict[str, Any]:
    return {override.key: override.value for override in description.overrides}


def test_every_number_of_the_papers_setting_is_there() -> None:
    # arXiv:2603.23951v1, experimental setting
    settings = example("search-math-1.5b.yaml")
    made = values(describe(settings, run_paths(settings, Path("/run")), name="grpo"))
    assert made["actor_rollout_ref.model.path"] == "Qwen/Qwen2.5-Math-1.5B"
    assert made["actor_rollout_ref.actor.optim.lr"] == 1e-6
    assert made["data.train_batch_size"] == 256
    assert made["actor_rollout_ref.rollout.n"] == 8
    assert made["trainer.total_epochs"] == 8
    assert made["trainer.total_training_steps"] is None
    assert made["data.max_prompt_length"] == 1024
    assert made["data.max_response_length"] == 3000
    assert made["trainer.n_gpus_per_node"] * made["trainer.nnodes"] == 8
    assert made["actor_rollout_ref.rollout.name"] == "vllm"
    assert made["actor_rollout_ref.rollout.temperature"] == 1.0
    assert (settings.data.levels, settings.data.limit) == ((3, 4, 5), 5000)
    suite = yaml.safe_load((EXAMPLES / "search-math-1.5b.yaml").read_text(encoding="utf-8"))["spec"]["evaluation"]
    assert (suite["suite"], suite["engine"]) == ("math-v1", "verl")


def test_no_benchmark_is_ever_shown_to_training() -> None:
    made = values(run())
    assert made["data.val_files"] == made["data.train_files"] == ("/run/train.parquet",)
    assert (made["trainer.val_before_train"], made["trainer.test_freq"]) == (False, -1)


def test_mini_batches_are_counted_in_prompts() -> None:
    assert values(run({"batchSize": 64, "miniBatches": 4}))["actor_rollout_ref.actor.ppo_mini_batch_size"] == 16


@pytest.mark.parametrize(
    ("changes", "fidelity", "epochs", "steps"),
    [
        ({}, Fidelity.FULL, 8, None),
        ({"epochs": 3}, Fidelity.CONFIRM, 3, None),
        ({"steps": 50}, Fidelity.FULL, 50, 50),
        ({"steps": 50}, Fidelity.PROBE, 4, 4),
        ({"probeSteps": 2}, Fidelity.PROBE, 2, 2),
    ],
)
def test_how_long_a_run_is(changes: dict[str, Any], fidelity: Fidelity, epochs: int, steps: int | None) -> None:
    made = values(run(changes, fidelity=fidelity))
    assert (made["trainer.total_epochs"], made["trainer.total_training_steps"]) == (epochs, steps)


def test_the_seed_reaches_data_and_sampling() -> None:
    made = values(run(seed=7))
    assert {made[key] for key in made if key.endswith("seed")} == {7}


@pytest.mark.parametrize(
    ("needs", "reference", "entropy"), [((), False, False), (("reference", "entropy"), True, True)]
)
def test_what_the_candidate_needs_is_computed(needs: tuple[str, ...], reference: bool, entropy: bool) -> None:
    made = values(run(needs=needs))
    assert made["actor_rollout_ref.actor.use_kl_loss"] is reference
    assert made["actor_rollout_ref.actor.calculate_entropy"] is entropy


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("actor_rollout_ref.actor.policy_loss.loss_mode", "would take the objective from the candidate"),
        ("actor_rollout_ref.actor.policy_loss", "would take the objective from the candidate"),
        ("actor_rollout_ref.actor", "would take the objective from the candidate"),
        ("algorithm.adv_estimator", "would take the objective from the candidate"),
        ("algorithm.gamma", "would take the objective from the candidate"),
        ("actor_rollout_ref.actor.entropy_coeff", "would take the objective from the candidate"),
        ("critic.enable", "would take the objective from the candidate"),
        ("+critic.enable", "would take the objective from the candidate"),
        ("actor_rollout_ref.actor.use_kl_loss", "it is fixed: the objective is the candidate's"),
        ("reward.custom_reward_function.path", "set evaluation.verl.data.reward"),
        ("trainer.val_only", "would change what is left for scoring"),
        ("actor_rollout_ref.model.lora_rank", "would change what is left for scoring"),
        ("actor_rollout_ref.model.external_lib", "would bring code into the run"),
        ("data.train_batch_size", "set evaluation.verl.batchSize instead"),
        ("trainer.default_local_dir", "it is fixed: a restart goes on from its last checkpoint"),
        ("hydra.run.dir", "is Hydra's own configuration"),
        ("+actor_rollout_ref.rollout.custom._target_", "would bring code into the run"),
    ],
)
def test_what_an_override_may_not_touch(key: str, words: str) -> None:
    with pytest.raises(InvalidInputError, match=r"evaluation\.verl\.overrides") as refusal:
        run({"overrides": {key: "1"}})
    assert words in str(refusal.value)
    assert repr(key) in str(refusal.value)


def test_other_overrides_come_last_as_they_are_written() -> None:
    keys = {
        "actor_rollout_ref.model.use_liger": "true",
        "+ray_kwargs.ray_init.num_gpus": "1",
        "algorithm.filter_groups.enable": "true",
    }
    assert run({"overrides": keys}).arguments[-3:] == tuple(f"{key}={value}" for key, value in keys.items())


def test_the_shell_line_is_the_command() -> None:
    description = run({"overrides": {"data.dataloader_num_workers": "0"}})
    words = shlex.split(description.shell().replace("\\\n", " "))
    environment = [f"{name}={value}" for name, value in sorted(description.environment.items())]
    assert words == [*environment, *description.command]
    assert "data.train_files=['/run/train.parquet']" in words or "data.train_files=[/run/train.parquet]" in words


def test_the_candidate_is_where_the_adapter_looks() -> None:
    assert CANDIDATE_VARIABLE == SPEC_VARIABLE
    assert run().environment[CANDIDATE_VARIABLE] == "/run/c.json"


CONFIG: dict[str, Any] = {
    "trainer": {"nnodes": 1, "log_val_generations": 0},
    "critic": {"optim": {"lr": 1.0}},
    "free": {},
}


def override(key: str) -> RunDescription:
    made = run({"overrides": {key: "1"}})
    return RunDescription(made.overrides[-1:], {})


@pytest.mark.parametrize("key", ["trainer.log_val_generations", "+trainer.anything", "++free.x", "free"])
def test_keys_that_verl_has(key: str) -> None:
    check_keys(override(key), CONFIG)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("trainer.log_val_generation", "did you mean trainer.log_val_generations?"),
        ("training.log_val_generations", "did you mean trainer.log_val_generations?"),
        ("trainer.zzz", "+trainer.zzz adds a key"),
        ("+nowhere.x", "is no key of VeRL"),
        ("optim.lr", "is no key of VeRL"),
    ],
)
def test_keys_that_it_has_not(key: str, words: str) -> None:
    with pytest.raises(InvalidInputError) as refusal:
        check_keys(override(key), CONFIG)
    assert f"evaluation.verl.overrides[{key!r}]" in str(refusal.value)
    assert words in str(refusal.value)
    assert "critic" not in str(refusal.value)  # never a hint at what would be refused


@pytest.mark.parametrize("version", ["0.9.1", "0.9.2", "0.9.1.post1"])
def test_versions_that_were_tested(version: str) -> None:
    assert version_problem(version) is None


@pytest.mark.parametrize("version", ["0.9.0", "0.10", "0.10.0", "1.0", "unknown"])
def test_versions_that_were_not(version: str) -> None:
    problem = version_problem(version)
    assert problem is not None
    assert f"VeRL {version} is outside the tested range (0.9.1 or newer, below 0.10)" in problem
    assert "not installed" in str(version_problem(None))


CPU = {"platform": "cpu", "rollout": {"engine": "hf"}, "gpusPerNode": 1}


def test_a_platform_without_gpus_needs_no_overrides_by_hand() -> None:
    made = values(run(CPU))
    assert made["trainer.device"] == "cpu"
    assert made["actor_rollout_ref.rollout.name"] == "hf"
    assert made["+ray_kwargs.ray_init.num_gpus"] == 1
    for engine in ("actor", "ref"):  # in one precision: or the reference would differ from the base
        at = f"actor_rollout_ref.{engine}.fsdp_config"
        assert made[f"{at}.model_dtype"] == "fp32"
        assert {made[f"+{at}.mixed_precision.{kind}_dtype"] for kind in ("param", "reduce", "buffer")} == {"fp32"}
    assert "trainer.device" not in values(run())
    assert "actor_rollout_ref.model.use_remove_padding" not in values(run())


def test_what_the_platform_decides_has_no_second_place() -> None:
    with pytest.raises(InvalidInputError, match=r"trainer\.device has its own setting; set evaluation\.verl\.platform"):
        run({**CPU, "overrides": {"trainer.device": "cuda"}})


def test_processors_and_vllm_do_not_go_together() -> None:
    with pytest.raises(ValueError, match=r"platform cpu needs rollout\.engine hf"):
        run({"platform": "cpu"})


def test_one_of_two_checkpoints_is_always_whole() -> None:
    assert values(run())["trainer.max_actor_ckpt_to_keep"] == 2
    assert values(run({"checkpoints": {"keep": 5}}))["trainer.max_actor_ckpt_to_keep"] == 5
