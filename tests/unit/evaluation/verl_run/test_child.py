"""The process around VeRL, as far as it needs no VeRL: steps, checkpoints, reward functions, and what is handed in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from poise_lib.errors import InvalidInputError
from poise_lib.evaluation.verl import child
from poise_lib.evaluation.verl import job as j
from poise_lib.evaluation.verl.memory import GIB
from poise_lib.evaluation.verl.preflight import Machine
from poise_lib.evaluation.verl.preparing import REWARD_FILE, check_reward, run_paths
from poise_lib.resources.early_stop import EarlyStopping
from poise_lib.resources.verl import VerlSettings

SMALLEST = {"model": {"path": "org/model"}, "data": {"train": ["train.jsonl"]}}


def job(fidelity: str = "full", **changes: Any) -> j.TrainJob:
    settings = SMALLEST | changes
    return j.TrainJob.model_validate({"name": "c", "settings": settings, "fidelity": fidelity, "seed": 0})


@pytest.mark.parametrize(
    ("task", "rows", "steps"),
    [
        (job(), 5000, 152),  # the paper's: 19 whole batches of 256, eight times
        (job(steps=7), 5000, 7),
        (job("probe", steps=7), 5000, 4),
        (job("confirm", steps=7), 5000, 7),
        (job(), 0, None),
    ],
)
def test_how_many_steps_there_are(task: j.TrainJob, rows: int, steps: int | None) -> None:
    assert child.steps_of(task, rows) == steps


def checkpoint(folder: Path, step: int, *files: str) -> None:
    weights = folder / f"global_step_{step}" / "actor" / "huggingface"
    weights.mkdir(parents=True)
    for name in files:
        (weights / name).write_text(f"{step} {name}")


def test_only_a_checkpoint_that_is_whole_counts(tmp_path: Path) -> None:
    assert child.last_checkpoint(tmp_path) is None
    checkpoint(tmp_path, 3, "model.safetensors")
    assert child.last_checkpoint(tmp_path) is None, "VeRL had not noted it"
    (tmp_path / "latest_checkpointed_iteration.txt").write_text("4")
    assert child.last_checkpoint(tmp_path) is None, "it is gone"
    (tmp_path / "latest_checkpointed_iteration.txt").write_text("3\n")
    assert child.last_checkpoint(tmp_path) == 3
    (tmp_path / "latest_checkpointed_iteration.txt").write_text("three")
    assert child.last_checkpoint(tmp_path) is None


def test_the_last_whole_checkpoints_weights_are_handed_in(tmp_path: Path) -> None:
    checkpoints, work = tmp_path / "checkpoints", tmp_path / "work"
    work.mkdir()
    child.hand_in(checkpoints, work)
    assert list(work.iterdir()) == []
    checkpoint(checkpoints, 2, "model.safetensors")
    checkpoint(checkpoints, 4, "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "config.json")
    checkpoint(checkpoints, 6, "model.safetensors")
    (checkpoints / "latest_checkpointed_iteration.txt").write_text("4")
    child.hand_in(checkpoints, work)
    assert {file.name: file.read_text() for file in work.iterdir()} == {
        "policy-00001.safetensors": "4 model-00001-of-00002.safetensors",
        "policy-00002.safetensors": "4 model-00002-of-00002.safetensors",
    }


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("def compute_score(:", "cannot be loaded as VeRL loads it, .*: SyntaxError"),
        ("import no_such_module_at_all", "ModuleNotFoundError: No module named 'no_such_module_at_all'"),
        ("def other(): pass", r"data\.reward\.function: .* has no function compute_score"),
    ],
)
def test_a_reward_function_that_verl_could_not_load_is_told_before(tmp_path: Path, source: str, words: str) -> None:
    (tmp_path / "reward.py").write_text(source)
    settings = VerlSettings.model_validate(
        SMALLEST | {"data": {"train": ["a/b"], "reward": {"path": str(tmp_path / "reward.py")}}}
    )
    with pytest.raises(InvalidInputError, match=words):
        check_reward(settings, run_paths(settings, tmp_path))


def test_our_own_reward_function_can_be_loaded(tmp_path: Path) -> None:
    settings = VerlSettings.model_validate(SMALLEST)
    paths = run_paths(settings, tmp_path)
    assert paths.reward == REWARD_FILE
    check_reward(settings, paths)


def test_paths_hold_wherever_verl_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.parquet").touch()
    data = {"train": ["train.parquet", "org/data"], "format": "VeRL"}
    paths = run_paths(VerlSettings.model_validate(SMALLEST | {"data": data}), tmp_path / "run")
    assert paths.train == (str(tmp_path / "train.parquet"), "org/data")
    assert paths.model == "org/model"


QWEN_1_5B = {"hidden_size": 1536, "num_hidden_layers": 28, "vocab_size": 151_936, "num_attention_heads": 12,
             "num_key_value_heads": 2, "intermediate_size": 8960, "tie_word_embeddings": True}  # fmt: skip
CPU = {"platform": "cpu", "rollout": {"engine": "hf"}, "gpusPerNode": 1}
ONE_GPU = {"gpusPerNode": 1}
A_CARD = Machine("0.9.1", True, (16 * GIB,), rollouts=frozenset({"vllm"}))


@pytest.mark.parametrize(
    ("changes", "machine", "reason", "words"),
    [
        ({**CPU, "model": {"path": "/models/none"}}, Machine("0.9.1", False), "ModelMissing",
         "evaluation.verl.model.path: /models/none: there is no such folder; mount it"),
        (CPU, Machine("0.9.1", False), "DataInvalid",
         "has the columns frage, loesung, but none for the problem (problem, or one of problem, question, prompt)"),
        (CPU, Machine("0.8.0", False), "EngineMissing", "VeRL 0.8.0 is outside the tested range (0.9.1 or newer"),
        (ONE_GPU, Machine("0.9.1", False, cuda_problem="PyTorch sees no GPU"), "GPUMissing",
         "evaluation.verl.platform cuda needs CUDA: PyTorch sees no GPU; request GPUs"),
        (ONE_GPU, A_CARD, "GPUTooSmall", "on each GPU, which has 16.0 GiB: lower tokensPerGpu (now 16384"),
    ],
    ids=["model", "columns", "version", "no CUDA", "memory"],
)  # fmt: skip
def test_what_keeps_training_from_beginning_is_told_and_nobody_is_blamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], machine: Machine, reason: str, words: str
) -> None:
    """All but the machine is real: job in, account out."""
    monkeypatch.setattr(child, "look", lambda: machine)
    base, data = tmp_path / "base", tmp_path / "train.jsonl"
    base.mkdir()
    (base / "config.json").write_text(json.dumps(QWEN_1_5B))
    data.write_text(json.dumps({"frage": "1+1=", "loesung": "2"}) + "\n")
    task = job(**({"model": {"path": str(base)}, "data": {"train": [str(data)]}} | changes))
    (tmp_path / j.JOB_FILE).write_text(task.model_dump_json(by_alias=True))
    (tmp_path / j.SOURCE_FILE).write_text("raise SystemExit('nobody executes this')")
    child.main(tmp_path)
    account = j.Account.model_validate_json((tmp_path / j.ACCOUNT_FILE).read_text())
    assert (account.kind, account.reason, account.step) == ("unusable", reason, 0)
    assert words in account.message
    assert (tmp_path / j.TRAJECTORY_FILE).read_text() == ""


def test_records_go_on_where_a_restart_found_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is known already, and what is out of order, is dropped; what is not finite is watched and not kept."""
    task = job(steps=9).model_copy(update={"stopping": EarlyStopping()})
    run = child._Run(task, tmp_path)
    run._steps, run._watch = 9, child.Watch(EarlyStopping(), 9)
    for step in (0, 1, 1, 0, 5, 2):
        run._hear({"training/global_step": float(step), "timing_s/gen": 3.0, "critic/rewards/mean": float("nan")})
    assert run.records == [{"training/global_step": float(step)} for step in (0, 1, 2)]
    lines = [j.Progress.model_validate_json(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line.steps, line.record["training/global_step"]) for line in lines] == [(9, 0.0), (9, 1.0), (9, 2.0)]
    with pytest.raises(child._Enough) as caught:
        run._hear({"training/global_step": 3.0, "actor/pg_loss": float("nan")})
    assert (caught.value.stop.reason, caught.value.stop.step) == ("NonFinite", 4)
    assert run.records[-1] == {"training/global_step": 3.0}


def test_an_account_is_text() -> None:
    """What the trusted side reads of an early end."""
    account = j.Account(kind="stopped", reason="Hopeless", message="m", step=3)
    assert json.loads(account.model_dump_json(by_alias=True)) == {
        "kind": "stopped", "reason": "Hopeless", "message": "m", "step": 3,
    }  # fmt: skip
