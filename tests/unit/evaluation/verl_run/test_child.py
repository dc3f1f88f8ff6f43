"""The process around VeRL, as far as it needs no VeRL: steps, checkpoints, reward functions, and what is handed in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from poise_lib.errors import InvalidInputError
from poise_lib.evaluation.verl import child
from poise_lib.evaluation.verl import job as j
from poise_lib.evaluation.verl.preparing import REWARD_FILE, check_reward, run_paths
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


def test_an_account_is_text() -> None:
    """What the trusted side reads of an early end."""
    account = j.Account(kind="stopped", reason="Hopeless", message="m", step=3)
    assert json.loads(account.model_dump_json(by_alias=True)) == {
        "kind": "stopped", "reason": "Hopeless", "message": "m", "step": 3,
    }  # fmt: skip
