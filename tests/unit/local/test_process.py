"""What a task's process sees of the environment."""

from __future__ import annotations

import pytest

from poise_lib.local import process
from poise_lib.resources.verl import VerlSettings
from poise_lib.tasks.protocol import TaskKind, TaskRequest

VERL = VerlSettings.model_validate({"model": {"path": "a/b"}, "data": {"train": ["a/b"]}, "timeLimit": "30h"})


def request(engine: str) -> TaskRequest:
    return TaskRequest(kind=TaskKind.TRAIN, name="t", input={"engine": engine, "verl": VERL.to_document()})


def test_caches_and_gpus_are_seen_by_what_trains_language_models_and_keys_by_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = {"HF_HOME": "/cache", "CUDA_VISIBLE_DEVICES": "3", "NCCL_DEBUG": "INFO", "HF_TOKEN": "secret",
             "OPENAI_API_KEY": "secret", "WANDB_API_KEY": "secret"}  # fmt: skip
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    seen = process._environment(request("verl"))
    assert {name for name in given if name in seen} == {"HF_HOME", "CUDA_VISIBLE_DEVICES", "NCCL_DEBUG"}
    assert not any(name in process._environment(request("nano")) for name in given)


def test_a_training_by_verl_may_take_as_long_as_its_settings_say_and_a_little_for_what_lies_around_it() -> None:
    assert 30 * 3600 < request("verl").time_limit < 33 * 3600
    assert request("nano").time_limit == 4 * 3600
