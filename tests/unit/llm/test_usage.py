"""What a call is charged: never less than what was really used, whatever the server says."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poise_lib.llm.prices import price_of, price_problem, table_date
from poise_lib.llm.tokens import estimate, least, most, most_of_prompt
from poise_lib.llm.usage import Bounds, bounds, charge, nothing, worst
from poise_lib.resources.llm import LLMSettings, Prices

PRICE = price_of("gpt-4.1")
WITHIN = Bounds(prompt_least=50, prompt_most=2000, limit=1000)
TEXT = "An answer with about a dozen words in it, which is what models write."


def told(prompt: Any, completion: Any, total: Any = None) -> dict[str, Any]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total}


def test_credible_numbers_are_believed() -> None:
    spend = charge(told(400, 20, 420), TEXT, WITHIN, PRICE)
    # gpt-4.1 costs 2 and 8 dollars a million: 400 * 2e-6 + 20 * 8e-6
    assert (spend.prompt_tokens, spend.completion_tokens, spend.cost_usd) == (400, 20, 0.00096)
    assert (spend.calls, spend.estimated_calls, spend.unpriced_calls) == (1, 0, 0)


@pytest.mark.parametrize("bad", [None, 0, 1, -400, "400", True, [400], 10**15, float("nan"), float("inf"), 0.5])
def test_numbers_that_are_not_credible_count_as_the_worst_case(bad: Any) -> None:
    assert charge(told(bad, 20), TEXT, WITHIN, PRICE).prompt_tokens == 2000
    assert charge(told(400, bad), TEXT, WITHIN, PRICE).completion_tokens == 1000
    assert charge(told(bad, 20), TEXT, WITHIN, PRICE).estimated_calls == 1


@pytest.mark.parametrize("usage", [None, {}, [], "much", {"prompt_tokens": None}])
def test_no_usage_is_the_worst_case(usage: Any) -> None:
    assert charge(usage, TEXT, WITHIN, PRICE) == worst(WITHIN, PRICE)


def test_reasoning_that_is_only_in_the_total_counts() -> None:
    assert charge(told(400, 20, 900), TEXT, WITHIN, None).completion_tokens == 500


def test_a_total_below_its_parts_takes_nothing_away() -> None:
    assert charge(told(400, 20, 3), TEXT, WITHIN, None).completion_tokens == 20


def test_more_than_asked_for_is_believed_within_reason() -> None:
    assert charge(told(3000, 1500), TEXT, WITHIN, None).tokens == 4500
    assert charge(told(4001, 2001), TEXT, WITHIN, None).tokens == 3000


def test_an_answer_past_its_limit_counts_by_its_text() -> None:
    words = "".join(f"{number:x}" for number in range(10_000))
    assert least(words) > 1000
    assert charge(None, words, WITHIN, None).completion_tokens == most(words)


@pytest.mark.parametrize(
    ("extra", "cached"),
    [
        ({"prompt_tokens_details": {"cached_tokens": 300}}, 300),
        ({"prompt_cache_hit_tokens": 200}, 200),
        ({"prompt_tokens_details": {"cached_tokens": 401}}, 0),
        ({"prompt_tokens_details": {"cached_tokens": -1}}, 0),
        ({"prompt_tokens_details": "none"}, 0),
    ],
)
def test_cached_tokens_are_cheaper_where_they_are_credible(extra: dict[str, Any], cached: int) -> None:
    spend = charge(told(400, 20) | extra, TEXT, WITHIN, PRICE)
    assert spend.cached_tokens == cached
    assert spend.cost_usd == pytest.approx(((400 - cached) * 2 + cached * 0.5 + 20 * 8) / 1e6, abs=1e-12)


def test_a_model_without_a_price_is_counted_but_not_priced() -> None:
    spend = charge(told(400, 20), TEXT, WITHIN, None)
    assert (spend.tokens, spend.cost_usd, spend.unpriced_calls) == (420, 0.0, 1)
    assert nothing().unpriced_calls == 0


_counts = st.none() | st.integers(-10, 10**6) | st.floats() | st.text(max_size=3)


@given(st.text(max_size=400), st.text(max_size=400), st.integers(1, 500), _counts, _counts, _counts)
def test_a_lie_never_makes_the_charge_smaller_than_a_plausible_truth(
    prompt: str, answer: str, limit: int, told_in: Any, told_out: Any, total: Any
) -> None:
    within = bounds([prompt], "", limit)
    spend = charge(told(told_in, told_out, total), answer, within, PRICE)
    assert spend.prompt_tokens >= least(prompt)
    assert spend.completion_tokens >= least(answer)
    assert 0 <= spend.cached_tokens <= spend.prompt_tokens
    assert spend.cost_usd >= 0


@given(st.text(max_size=2000))
def test_bounds_are_ordered(text: str) -> None:
    assert 0 <= least(text) <= most(text)
    assert least(text) <= estimate(text) <= most(text) + 1
    assert most_of_prompt([text]) >= len(text.encode("utf-8", "surrogatepass"))


def test_prices_are_found_by_name() -> None:
    assert price_of("openai/gpt-4o-2024-08-06") == price_of("gpt-4o") is not None
    assert price_of("gpt-4o-mini") != price_of("gpt-4o")
    assert price_of("gpt-4o-audio-preview") is None
    assert price_of("my-own") is None
    assert len(table_date()) == 10


def test_own_prices_win() -> None:
    price = price_of("gpt-4o", Prices(input_per_million=1, output_per_million=2))
    assert price is not None
    assert price.cost(1_000_000, 500_000, 1_000_000) == 3.0


def test_costs_are_rounded_up() -> None:
    price = price_of("m", Prices(input_per_million=0.00001, output_per_million=0))
    assert price is not None
    assert price.cost(1, 0, 0) == 1e-9


def test_a_cap_in_dollars_needs_a_price() -> None:
    unknown = LLMSettings(model="my-own")
    assert price_problem(unknown, None) is None
    assert price_problem(LLMSettings(model="gpt-4o"), 5.0) is None
    said = price_problem(unknown, 5.0)
    assert said is not None
    assert "proposer.llm.prices" in said
    assert "budget.llmTokens" in said
