"""Settings of engine verl: what fits together, what is refused, and with which words."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from poise_lib.resources import Evaluation, Search
from poise_lib.resources.verl import VerlSettings

SMALLEST = {"model": {"path": "org/model"}, "data": {"train": ["train.jsonl"]}}


def settings(**changes: Any) -> VerlSettings:
    return VerlSettings.model_validate(SMALLEST | changes)


def search(**evaluation: Any) -> Search:
    spec = {"budget": {"candidates": 4}, "evaluation": evaluation}
    return Search.model_validate({"metadata": {"name": "s"}, "spec": spec})


def test_the_defaults_are_the_papers_setting() -> None:
    # arXiv:2603.23951v1, experimental setting
    given = settings()
    assert (given.learning_rate, given.batch_size, given.group_size, given.epochs) == (1e-6, 256, 8, 8)
    assert (given.prompt_length, given.response_length, given.gpus) == (1024, 3000, 8)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"miniBatches": 3}, r"batchSize \(256\) must be a multiple of miniBatches \(3\)"),
        ({"parallelism": {"tensor": 3}}, r"is 8, no multiple of parallelism.tensor \(3\)"),
        ({"parallelism": {"sequence": 16}}, r"is 8, no multiple of parallelism.sequence \(16\)"),
        ({"batchSize": 3, "miniBatches": 1, "groupSize": 2}, "the 6 samples of a mini-batch .* over 8 GPUs"),
        ({"tokensPerGpu": 4023}, "is 4023, but one sample may have 4024 tokens"),
        ({"model": {"path": "org/model; rm"}}, "String should match pattern"),
        ({"overrides": {"data shuffle": "1"}}, "String should match pattern"),
        ({"learningRate": 0}, "greater than 0"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        settings(**changes)


def test_settings_stand_where_their_engine_does_and_nowhere_else() -> None:
    assert search(engine="verl", suite="math-v1", verl=SMALLEST).spec.evaluation.verl is not None
    with pytest.raises(ValidationError, match="engine verl needs the settings verl"):
        search(engine="verl", suite="math-v1")
    with pytest.raises(ValidationError, match="of no use to engine nano"):
        search(verl=SMALLEST)
    with pytest.raises(ValidationError, match="'chains-v1' is not for engine verl, which scores math-v1"):
        search(engine="verl", verl=SMALLEST)
    with pytest.raises(ValidationError, match="'math-v1' is not for engine nano, which scores chains-v1"):
        search(suite="math-v1")


def test_an_evaluation_needs_them_too() -> None:
    spec = {"search": "s", "candidate": "s-001-0", "engine": "verl"}
    document = {"metadata": {"name": "e"}, "spec": spec | {"verl": SMALLEST}}
    assert Evaluation.model_validate(document).spec.verl == settings()
    with pytest.raises(ValidationError, match="engine verl needs the settings verl"):
        Evaluation.model_validate({"metadata": {"name": "e"}, "spec": spec})
