"""Searches that ask a language model: checked first, capped always, and a ledger that no crash makes too small."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poise_lib.names import (
    ANNOTATION_RETRY,
    REASON_LLM_BUDGET_SPENT,
    REASON_LLM_PRICE_UNKNOWN,
    REASON_LLM_UNREACHABLE,
    REASON_LLM_WRONG_KEY,
)
from poise_lib.resources.llm import Spend
from poise_lib.resources.search import SearchPhase
from poise_lib.search import Observed, plan
from poise_lib.tasks.protocol import MODEL_KINDS, TaskFault, TaskKind, TaskRequest, TaskResult
from tests.unit.search.world import World, answer, make_search

LLM: dict[str, Any] = {
    "model": "m",
    "maxOutputTokens": 100,
    "contextTokens": 1000,
    "maxRepairs": 1,
    "principlesEvery": 1,
    "prices": {"inputPerMillion": 1.0, "outputPerMillion": 10.0},
}


class Model(World):
    """A world whose tasks spend what they like of their allotments, and which knows the truth."""

    def __init__(self, search: Any, share: Callable[[TaskRequest], float] = lambda _: 0.5) -> None:
        super().__init__(search, self.asked)
        self.share = share
        self.truth: dict[str, int] = {}
        """Tokens really spent, by task: over all its attempts, as its book has it."""
        self.grants: dict[str, list[Any]] = {}

    def asked(self, request: TaskRequest) -> TaskResult:
        result = answer(request)
        if not request.asks_a_model:
            assert request.reservation is None
            return result
        assert request.reservation is not None
        self.spends(request)
        spend = Spend(calls=1, prompt_tokens=self.truth[request.name], cost_usd=request.reservation.usd or 0.0)
        return result.model_copy(update={"spend": spend})

    def spends(self, request: TaskRequest) -> None:
        assert request.reservation is not None
        more = int(self.share(request) * request.reservation.tokens)
        self.truth[request.name] = min(request.reservation.tokens, self.truth.get(request.name, 0) + more)

    def lose(self, name: str) -> None:
        if self.running[name].asks_a_model:
            self.spends(self.running[name])
        super().lose(name)

    def observe(self) -> Observed:
        ledger = self.search.status.ledger
        if ledger is not None:
            budget = self.search.spec.budget
            if budget.llm_tokens is not None:
                assert ledger.tokens + ledger.reserved_tokens <= budget.llm_tokens
            if budget.llm_cost_usd is not None:
                assert ledger.cost_usd + ledger.reserved_usd <= budget.llm_cost_usd + 1e-6
            assert ledger.reserved_tokens == sum(item.tokens for item in ledger.open if not item.counted)
        for request in self.running.values():
            if request.asks_a_model:
                assert ledger is not None
                assert request.name in {item.task for item in ledger.open}, "set aside before it starts"
        return super().observe()


def asking(budget: dict[str, Any] | None = None, **llm: Any) -> Any:
    return make_search(
        proposer={"type": "LLM", "llm": {**LLM, **llm}},
        budget={"candidates": 6, "concurrent": 3, "attempts": 2, **(budget or {})},
    )


@given(st.integers(0, 2**32), st.sampled_from([None, 40_000, 150_000, 1_000_000]), st.floats(0, 1), st.booleans())
@settings(max_examples=40, deadline=None)
def test_a_capped_search_ends_within_its_cap_and_counts_at_least_the_truth(
    seed: int, cap: int | None, share: float, crashes: bool
) -> None:
    chance = random.Random(seed)
    world = Model(asking({"llmTokens": cap} if cap else {}), lambda _: share)
    world.run(chance, crash=0.05 if crashes else 0.0, lose=0.1)
    ledger = world.search.status.ledger
    assert ledger is not None
    assert ledger.open == ()
    assert ledger.tokens >= sum(world.truth.values())
    assert world.search.status.phase in (SearchPhase.COMPLETE, SearchPhase.FAILED)
    if not crashes:
        kinds = {kind.value for kind in MODEL_KINDS}
        assert kinds >= {"check"}


def test_without_faults_the_ledger_is_the_truth() -> None:
    world = Model(asking(), lambda _: 0.25)
    world.run(random.Random(1))
    ledger = world.search.status.ledger
    assert ledger is not None
    assert ledger.tokens == sum(world.truth.values())
    assert (ledger.reserved_tokens, ledger.exhausted, ledger.estimated_calls) == (0, "", 0)
    assert world.search.status.phase is SearchPhase.COMPLETE
    assert world.search.status.principles[0].statement == "p"
    assert world.search.status.distilled == world.search.status.round


def test_the_order_of_ends_changes_nothing() -> None:
    digests = set()
    for seed in range(4):
        world = Model(asking(), lambda _: 0.25)
        world.run(random.Random(seed))
        digests.add((world.search.status.digest, world.search.status.ledger))
    assert len(digests) == 1


def failing(fault: str, kinds: set[TaskKind]) -> Callable[[TaskRequest], TaskResult]:
    def respond(request: TaskRequest) -> TaskResult:
        if request.kind in kinds and request.asks_a_model:
            return TaskResult(fault=TaskFault(reason=fault, message="the server says no"), spend=Spend())
        return answer(request).model_copy(update={"spend": Spend(calls=1, prompt_tokens=1)})

    return respond


def test_a_wrong_key_is_told_at_once_and_nothing_is_trained() -> None:
    world = World(asking(), failing(REASON_LLM_WRONG_KEY, {TaskKind.CHECK}))
    world.run(random.Random(0))
    status = world.search.status
    assert status.phase is SearchPhase.FAILED
    failed = next(item for item in status.conditions if item.type == "Failed")
    assert (failed.reason, failed.message) == (REASON_LLM_WRONG_KEY, "the server says no")
    assert len(world.started) == 1
    assert world.candidates == {}

    world.respond = failing(REASON_LLM_WRONG_KEY, set())  # the key is mended, and the user says so
    metadata = world.search.metadata.model_copy(update={"annotations": {ANNOTATION_RETRY: "1"}})
    world.search = world.search.model_copy(update={"metadata": metadata})
    world.run(random.Random(0))
    assert world.search.status.phase is SearchPhase.COMPLETE


def test_the_library_takes_over_where_the_search_says_so() -> None:
    world = World(asking(onFailure="Library"), failing(REASON_LLM_UNREACHABLE, {TaskKind.CHECK}))
    world.run(random.Random(0))
    status = world.search.status
    assert status.phase is SearchPhase.COMPLETE
    assert status.ledger is not None
    assert status.ledger.fallback.startswith(REASON_LLM_UNREACHABLE)
    assert not [name for name in world.started if name.endswith("-llm")]
    assert len(world.candidates) == 6


@pytest.mark.parametrize("on_failure", ["Stop", "Library"])
def test_a_model_that_fails_in_the_middle(on_failure: str) -> None:
    world = World(asking(onFailure=on_failure), failing(REASON_LLM_WRONG_KEY, {TaskKind.PROPOSE}))
    world.run(random.Random(0))
    status = world.search.status
    assert status.ledger is not None
    if on_failure == "Stop":
        assert status.phase is SearchPhase.FAILED
        assert len(world.candidates) == 1, "what has been found stays"
    else:
        assert status.phase is SearchPhase.COMPLETE
        assert status.ledger.fallback
        assert len(world.candidates) == 6


def test_a_cap_that_is_reached_ends_the_search_well() -> None:
    world = Model(asking({"llmTokens": 60_000}), lambda _: 1.0)
    world.run(random.Random(0))
    status = world.search.status
    assert status.phase is SearchPhase.COMPLETE
    assert status.stop_reason == REASON_LLM_BUDGET_SPENT
    assert "budget.llmTokens" in status.message
    assert status.best is not None
    assert all(item.status != "Unknown" for item in status.conditions)


def test_a_cap_that_is_raised_lets_the_search_go_on() -> None:
    world = Model(asking({"llmTokens": 60_000}), lambda _: 1.0)
    world.run(random.Random(0))
    few = len(world.candidates)
    spec = world.search.spec.model_copy(
        update={"budget": world.search.spec.budget.model_copy(update={"llm_tokens": 10**7})}
    )
    world.search = world.search.model_copy(update={"spec": spec})
    world.run(random.Random(0))
    assert len(world.candidates) == 6 > few


def test_a_cap_in_dollars_without_a_price_is_told_before_any_call() -> None:
    search = asking({"llmCostUSD": 1.0}, prices=None, model="nobody-knows")
    world = World(search)
    world.run(random.Random(0))
    failed = next(item for item in world.search.status.conditions if item.type == "Failed")
    assert failed.reason == REASON_LLM_PRICE_UNKNOWN
    assert world.started == []


def test_a_search_of_the_library_has_no_ledger_and_no_reservations() -> None:
    world = World(make_search())
    world.run(random.Random(0))
    assert world.search.status.ledger is None
    assert all(action.request.reservation is None for action in plan(world.observe()) if hasattr(action, "request"))
