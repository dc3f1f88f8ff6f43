"""Answers as models write them: what is taken, what is refused, and with which words."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from poise_lib.llm.extraction import extract, without_thinking
from tests.llm.answers import LIBRARY


class Idea(BaseModel):
    model_config = ConfigDict(extra="forbid")

    title: str = Field(max_length=80)
    strength: float = Field(ge=0, le=1)


GOOD = '{"title": "Wider clip", "strength": 0.5}'


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        f"  {GOOD}\n",
        f"```json\n{GOOD}\n```",
        f"```\n{GOOD}\n```",
        f"Of course!\n\n```JSON\n{GOOD}\n```\nDone.",
        f"<think>{{'no': 1}}</think>{GOOD}",
        f"Well. <THINK>a</THINK> <think>b</think>\n{GOOD}",
        f"thought without a beginning</think>\n\n{GOOD}",
        f"The answer is {GOOD}, I think {{so}}.",
        f'First {{"draft": true}}, then {GOOD}',
        f"[{GOOD}]",
        f'{{"answer": {GOOD}}}',
        f"\ufeff{GOOD}".lstrip("\ufeff"),
    ],
)
def test_right_answers_are_found(text: str) -> None:
    assert extract(text, Idea).value == Idea(title="Wider clip", strength=0.5)


def test_tags_inside_the_answer_are_text() -> None:
    title = "reward <think> tags </think> only"
    assert extract(json.dumps({"title": title, "strength": 1}), Idea).value == Idea(title=title, strength=1)
    fenced = "```json\n" + json.dumps({"title": title, "strength": 1}) + "\n```"
    assert extract(fenced, Idea).value == Idea(title=title, strength=1)


def test_line_breaks_inside_strings_are_taken() -> None:
    assert extract('{"title": "a\nb\tc", "strength": 0}', Idea).value == Idea(title="a\nb\tc", strength=0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("<think>for ever", "is empty"),
        ("I would clip more.", "no JSON object"),
        ('{"title": "x"}', "strength is missing"),
        ('{"title": "x", "strenght": 0.5, "strength": 1}', "strenght is no field here; did you mean strength?"),
        ('{"title": "x", "strength": "much"}', "strength must be a number"),
        ('{"title": "x", "strength": 3}', "strength must be at most 1, but is 3"),
        ('{"title": "x", "strength": NaN}', "NaN is no number"),
        ('{"title": "x", "strength": 0.5', "ends before it is complete"),
        ("{'title': 'x'}", "double quotes"),
        ("null", "mapping"),
        ("[1, 2]", "mapping"),
    ],
)
def test_wrong_answers_are_told_what_is_wrong(text: str, words: str) -> None:
    found = extract(text, Idea)
    assert found.value is None
    assert words in found.problem


def test_the_closest_of_several_is_complained_of() -> None:
    assert extract('{"a": 1, "b": 2} and {"title": "x"}', Idea).problem == "strength is missing"


@given(st.text())
def test_any_text_ends_in_a_value_or_a_complaint(text: str) -> None:
    found = extract(text, Idea)
    assert (found.value is None) == bool(found.problem)


@given(st.sampled_from(["{", "}", "[", '"', "\\", "<think>", "</think>", "```\n", "a", GOOD]).flatmap(
    lambda piece: st.lists(st.just(piece) | st.sampled_from(["{", '"a":', "</think>", "```json\n", " "]), max_size=60)
))  # fmt: skip
def test_pieces_of_answers_do_too(pieces: list[str]) -> None:
    found = extract("".join(pieces), Idea)
    assert (found.value is None) == bool(found.problem)


@pytest.mark.parametrize("name", ["braces", "deep", "binary", "html", "number"])
def test_garbage_ends(name: str) -> None:
    assert extract(LIBRARY[name]({}), Idea).problem


def test_thinking_is_taken_off_before_the_answer_only() -> None:
    assert without_thinking("<think>a</think> b") == "b"
    assert without_thinking("a {b}</reasoning>{c}") == "{c}"
    assert without_thinking('{"x": "</think>"} ') == '{"x": "</think>"}'
    assert without_thinking("<think>a") == ""
