"""Rules of the models that manifests rest on, and what they promise to those who read and write them."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from poise_lib.resources import Search
from poise_lib.resources.base import seconds
from poise_lib.resources.search import FIXED_FIELDS, SearchSpec, fixed_values


def minimal(**spec: object) -> Search:
    return Search.model_validate({"metadata": {"name": "s"}, "spec": {"budget": {"candidates": 4}, **spec}})


def test_documents_use_camel_case_leave_out_none_and_round_trip() -> None:
    search = minimal(strategy={"parentsPerRound": 2})
    document = search.to_document()
    assert document["spec"]["strategy"]["parentsPerRound"] == 2
    assert "deadline" not in document["spec"]["budget"]
    assert Search.model_validate(document) == search


def test_models_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        minimal().spec.seed = 3  # type: ignore[misc]


@pytest.mark.parametrize(("text", "expected"), [("45m", 2700.0), ("1h30m", 5400.0), ("90s", 90.0), ("2h0m5s", 7205.0)])
def test_durations(text: str, expected: float) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "45", "1d", "m", "-5m", "5m1h"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="no duration"):
        seconds(text)


def test_weights_are_compared_with_a_tolerance() -> None:
    third = {"weight": 0.3333}
    metrics = [{"name": name, **third} for name in ("plus8", "times5", "overall")]
    assert len(minimal(objective={"metrics": metrics}).spec.objective.metrics) == 3
    metrics[0] = {"name": "plus8", "weight": 0.33}
    with pytest.raises(ValidationError, match=r"weights sum to 0\.9966"):
        minimal(objective={"metrics": metrics})


def test_fixed_fields_exist() -> None:
    verl = {"model": {"path": "org/model"}, "data": {"train": ["train.jsonl"]}}
    own = {"suite": "ours", "suiteDefinition": {"name": "ours", "extends": "math-v1"}}
    values = fixed_values(minimal(evaluation={"engine": "verl", "verl": verl, **own}).spec)
    assert tuple(values) == FIXED_FIELDS
    assert None not in values.values()
    assert {path.partition(".")[0] for path in FIXED_FIELDS} <= set(SearchSpec.model_fields)
