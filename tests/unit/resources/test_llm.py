"""``spec.proposer.llm``: what a manifest may say, and with which words it is refused."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from poise_lib.errors import InvalidInputError
from poise_lib.resources import Search
from poise_lib.resources.llm import LLMSettings, OnFailure, Spend
from poise_lib.resources.loading import parse_documents
from poise_lib.resources.proposer import Proposer, ProposerType


def manifest(proposer: dict[str, Any], **budget: Any) -> dict[str, Any]:
    return {
        "apiVersion": "poise.dev/v1alpha1",
        "kind": "Search",
        "metadata": {"name": "one"},
        "spec": {"budget": {"candidates": 4, **budget}, "proposer": proposer},
    }


def test_a_model_is_all_that_is_needed() -> None:
    search = Search.model_validate(manifest({"type": "LLM", "llm": {"model": "m"}}, llmTokens=5, llmCostUSD=0.5))
    assert search.spec.proposer.type is ProposerType.LLM
    assert search.spec.proposer.llm == LLMSettings(model="m")
    assert search.spec.proposer.llm.on_failure is OnFailure.STOP
    assert (search.spec.budget.llm_tokens, search.spec.budget.llm_cost_usd) == (5, 0.5)
    assert Search.model_validate(search.to_document()) == search


def test_a_search_without_a_model_is_written_as_before() -> None:
    assert Proposer().to_document() == {"type": "Library"}


@pytest.mark.parametrize(
    ("proposer", "words"),
    [
        ({"type": "LLM"}, "give at least proposer.llm.model"),
        ({"llm": {"model": "m"}}, "remove proposer.llm or set proposer.type: LLM"),
        ({"type": "LLM", "llm": {}}, "spec.proposer.llm.model is missing"),
        ({"type": "LLM", "llm": {"model": "m", "baseURL": "https://u:p@x/v1"}}, "without a user or a key"),
        ({"type": "LLM", "llm": {"model": "m", "baseUrl": "https://x/v1"}}, "did you mean baseURL?"),
        ({"type": "LLM", "llm": {"model": "m", "literature": {}}}, "literature.configMap and literature.file"),
        ({"type": "LLM", "llm": {"model": "m", "timeout": "soon"}}, "a duration such as 45m"),
        ({"type": "Llm", "llm": {"model": "m"}}, "did you mean LLM?"),
    ],
)
def test_mistakes_are_named(proposer: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInputError) as refusal:
        parse_documents(yaml.safe_dump(manifest(proposer)), "search.yaml")
    assert words in str(refusal.value)


def test_spend_adds_up() -> None:
    one = Spend(calls=1, prompt_tokens=10, cached_tokens=4, completion_tokens=5, cost_usd=0.1, estimated_calls=1)
    two = one.plus(one).plus(Spend(unpriced_calls=1))
    assert two == Spend(calls=2, prompt_tokens=20, cached_tokens=8, completion_tokens=10, cost_usd=0.2,
                        estimated_calls=2, unpriced_calls=1)  # fmt: skip
    assert two.tokens == 30
