"""Fitting a context: never beyond the budget, required pieces in, the most valuable first."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poise_lib.prompts.context import ContextTooSmallError, Form, Piece, estimate_tokens, fit
from poise_lib.prompts.directions import directions
from poise_lib.prompts.exhibits import Reference, Tier, history_pieces, parent_pieces, reference_pieces
from poise_lib.prompts.literature import Literature, curated
from poise_lib.prompts.messages import propose_prompt
from tests.unit.prompts import world


def _cost(piece: Piece, form: Form) -> int:
    return len(form.text)


@st.composite
def pieces(draw: st.DrawFn) -> list[Piece]:
    found = []
    for number in range(draw(st.integers(0, 8))):
        lengths = sorted(draw(st.lists(st.integers(0, 40), min_size=1, max_size=3)), reverse=True)
        forms = tuple(Form("x" * length, 1.0 / (at + 1)) for at, length in enumerate(lengths))
        found.append(Piece(f"p{number}", "kind", forms, draw(st.floats(0, 10)), draw(st.booleans())))
    return found


@given(pieces(), st.integers(0, 200), st.integers(0, 50))
def test_never_beyond_the_budget_and_required_pieces_always_in(found: list[Piece], budget: int, overhead: int) -> None:
    smallest = overhead + sum(min(map(len, (form.text for form in piece.forms))) for piece in found if piece.required)
    if smallest > budget:
        with pytest.raises(ContextTooSmallError, match=rf"smallest that works is {smallest}$") as caught:
            fit(found, budget, _cost, overhead=overhead)
        assert fit(found, caught.value.smallest, _cost, overhead=overhead).tokens <= smallest
        return
    context = fit(found, budget, _cost, overhead=overhead)
    assert context.tokens == overhead + sum(len(item.form.text) for item in context.placed) <= budget
    placed = [item.piece.key for item in context.placed]
    assert {piece.key for piece in found if piece.required} <= set(placed)
    assert placed == [piece.key for piece in found if piece.key in placed]
    assert set(placed) | set(context.omitted) == {piece.key for piece in found}
    assert context == fit(found, budget, _cost, overhead=overhead)


@given(pieces())
def test_with_room_for_all_nothing_of_value_is_left_out_or_shortened(found: list[Piece]) -> None:
    context = fit(found, 10_000, _cost)
    for piece in found:
        if piece.value > 0:
            assert next(item.form for item in context.placed if item.piece is piece) is piece.forms[0]


@given(pieces(), st.integers(0, 200))
def test_what_is_left_out_would_not_have_fitted(found: list[Piece], budget: int) -> None:
    try:
        context = fit(found, budget, _cost)
    except ContextTooSmallError:
        return
    for piece in found:
        if piece.key in context.omitted and piece.value > 0:
            assert min(len(form.text) for form in piece.forms) > budget - context.tokens


def test_value_for_its_tokens_decides_and_a_shorter_form_is_better_than_none() -> None:
    dear = Piece("dear", "k", (Form("x" * 90), Form("x" * 10, 0.5, "its code")), 9.0)
    cheap = Piece("cheap", "k", (Form("x" * 20),), 8.0)
    context = fit([dear, cheap], 40, _cost)
    assert [item.piece.key for item in context.placed] == ["dear", "cheap"]
    assert context.shortened == ("dear: its code",)


def test_keys_are_unique() -> None:
    piece = Piece("a", "k", (Form(""),))
    with pytest.raises(ValueError, match="keys of their own"):
        fit([piece, piece], 10, _cost)


@given(st.text(), st.text())
def test_estimates_grow_when_a_text_is_split(one: str, other: str) -> None:
    assert estimate_tokens(one + other) <= estimate_tokens(one) + estimate_tokens(other)


def test_references_lose_code_before_metrics_and_trajectories_before_words() -> None:
    found = world.archive()
    piece = reference_pieces([Reference(world.exhibit(found[4]), Tier.PARETO)], found[0])[0]
    texts = [form.text for form in piece.forms]
    assert "def advantages" in texts[0]
    assert all("def advantages" not in text for text in texts[1:])
    assert "low 0.1" in texts[1]
    assert "low 0.1" not in texts[2]
    assert "first 0.8" in texts[2]
    assert "trajectory:" not in texts[3]
    assert all("metrics: overall 52.50" in text for text in texts[:-1])
    assert [form.share for form in piece.forms] == sorted((form.share for form in piece.forms), reverse=True)
    assert [len(text) for text in texts] == sorted(map(len, texts), reverse=True)
    assert "utility +4.70 against the parent" in piece.why


def test_the_parent_is_required_with_its_metrics_and_its_code() -> None:
    record, code = parent_pieces(world.exhibit(world.archive()[0]))
    assert record.required
    assert code.required
    assert all("metrics: overall 47.80" in form.text for form in record.forms)
    assert len(code.forms) == 1


def test_what_fell_behind_or_failed_is_told_and_nearer_failures_count_more() -> None:
    found = world.archive()
    told = {piece.key: piece.value for piece in history_pieces(found, found[0])}
    assert set(told) == {"tried demo-001-1", "tried demo-002-0"}
    assert told["tried demo-001-1"] > told["tried demo-002-0"]
    assert not [piece for piece in history_pieces(found, found[0], ["demo-001-1"]) if "001-1" in piece.key]


@pytest.mark.parametrize("budget", [14_000, 16_000, 20_000, 40_000])
def test_a_prompt_keeps_its_budget_and_says_what_it_left_out(budget: int) -> None:
    found = world.archive()
    parent = world.exhibit(found[0])
    references = [Reference(world.exhibit(item), Tier.EXPLORATORY) for item in found[1:]]
    direction = directions(parent, references, curated(), 1, seed=0, round=1, slot=0)[0]
    prompt = propose_prompt(
        parent, direction, references=references, archive=found, literature=curated(), budget=budget
    )
    assert prompt.tokens <= budget
    assert sum(estimate_tokens(message.content) for message in prompt.messages) == prompt.tokens
    assert bool(prompt.omitted) == ("more pieces found no room" in prompt.messages[1].content)


def test_a_budget_that_is_too_small_is_refused_with_the_one_that_works() -> None:
    parent = world.exhibit(world.archive()[0])
    direction = directions(parent, [], Literature(papers=()), 1, seed=0, round=1, slot=0)[0]
    with pytest.raises(ContextTooSmallError, match="the smallest that works is") as caught:
        propose_prompt(parent, direction, directive="Shorter.", budget=1000)
    prompt = propose_prompt(parent, direction, directive="Shorter.", budget=caught.value.smallest)
    assert "def advantages" in prompt.messages[1].content
    assert "Shorter." in prompt.messages[1].content
