"""Dialects, settings, transcripts, and that the planner's part needs no SDK."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poise_lib.errors import InvalidInputError
from poise_lib.llm import errors
from poise_lib.llm.config import DEFAULT_URL, ClientConfig
from poise_lib.llm.dialect import Dialect, Message, Structure, loosened, simpler, without_system
from poise_lib.llm.transcript import Exchange, Scrubber, Transcript, shown_url
from poise_lib.resources.llm import LLMSettings, StructuredOutput, SystemPrompt

FIRST = Dialect.first(StructuredOutput.AUTO, SystemPrompt.AUTO, 0.7, stream=True)
SETTINGS = LLMSettings(model="gpt-4o", timeout="2m")


@pytest.mark.parametrize(
    ("complaint", "changed"),
    [
        ("Unsupported parameter: 'max_completion_tokens'", {"limit_field": "max_tokens"}),
        ("temperature: Extra inputs are not permitted", {"temperature": None}),
        ("Developer instruction is not enabled for models/gemma-3-27b-it", {"system": False}),
        ("Only user and assistant roles are supported! System role not supported", {"system": False}),
        ("This response_format type is unavailable now", {"structure": Structure.JSON_OBJECT}),
        ("Failed to compile grammar", {"structure": Structure.JSON_OBJECT}),
        ("streaming is not available", {"stream": False}),
        ("stream_options: unknown field", {"stream_usage": False}),
    ],
)
def test_complaints_of_real_servers(complaint: str, changed: dict[str, object]) -> None:
    other = simpler(FIRST, complaint)
    assert other is not None
    assert vars(other) == vars(FIRST) | changed


@given(st.lists(st.sampled_from(["temperature", "response_format", "system role", "stream", "stream_options",
                                 "max_completion_tokens unknown", "?"]), max_size=40))  # fmt: skip
def test_there_is_an_end_to_leaving_out(complaints: list[str]) -> None:
    dialect, steps = FIRST, 0
    for complaint in complaints:
        other = simpler(dialect, complaint) or loosened(dialect)
        steps += other is not None
        dialect = other or dialect
    assert steps <= 7


def test_instructions_go_to_the_users_first_message() -> None:
    system, user = Message("system", "Be brief."), Message("user", "Hello")
    assert without_system([system, user]) == [Message("user", "Be brief.\n\nHello")]
    assert without_system([system]) == [Message("user", "Be brief.")]
    assert without_system([user]) == [user]


def test_settings_and_environment() -> None:
    config = ClientConfig.of(SETTINGS, {"OPENAI_API_KEY": "key-with-line-break\n", "OPENAI_BASE_URL": "http://here/v1"})
    assert (config.base_url, config.key, config.timeout) == ("http://here/v1", "key-with-line-break", 120.0)
    assert config.price is not None
    assert "key-with" not in repr(config)
    assert ClientConfig.of(SETTINGS, {}).base_url == DEFAULT_URL
    own = LLMSettings(model="m", base_url="http://own/v1")
    assert ClientConfig.of(own, {"OPENAI_BASE_URL": "http://here/v1"}).base_url == "http://own/v1"
    with pytest.raises(InvalidInputError, match="OPENAI_BASE_URL"):
        ClientConfig.of(SETTINGS, {"OPENAI_BASE_URL": "here"})


def test_addresses_are_shown_without_what_is_secret() -> None:
    assert shown_url("https://user:pass@host:8000/v1/?key=abc#x") == "https://host:8000/v1"


@pytest.mark.parametrize(
    "text",
    [
        "the key MY-SECRET-1 was wrong",
        "Authorization: Bearer MY-SECRET-1",
        "https://user:MY-SECRET-1@host/v1",
        "https://host/?k=MY-SECRET-1",
    ],
)
def test_the_key_is_removed_wherever_it_stands(text: str) -> None:
    assert "MY-SECRET-1" not in Scrubber(("MY-SECRET-1",)).text(text)


@pytest.mark.parametrize("placeholder", ["none", "EMPTY", "ollama", "dummy"])
def test_a_placeholder_for_a_key_is_an_ordinary_word(placeholder: str) -> None:
    text = f"there is {placeholder} of it"
    assert Scrubber((placeholder,)).text(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer abcdefghijk",
        '{"authorization": "abcdefghijk"}',
        "x-api-key=abcdefghijk",
        "sk-proj-abcdefghijk",
        "https://abcdefghijk@host/v1",
    ],
)
def test_what_looks_like_a_key_is_removed_too(text: str) -> None:
    assert "abcdefghijk" not in Scrubber().text(text)


@given(st.text(min_size=8, max_size=20), st.text(max_size=50), st.text(max_size=50))
def test_no_transcript_holds_the_key(key: str, before: str, after: str) -> None:
    text = before + key + after
    exchange = Exchange({"messages": [{"content": text}], key: 1}, text, text, text, {key: float("nan")}, {}, text)
    document = Transcript("http://x", "m", (exchange,), Scrubber((key,))).to_document()["exchanges"][0]
    for value in (document["answer"]["content"], document["problem"], document["request"]["messages"][0]["content"]):
        assert key not in value or key in "[removed]"


def test_every_error_has_a_reason_of_its_own() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.LLMError)]
    assert len({kind.reason for kind in kinds}) == len(kinds) > 10


def test_the_planners_part_needs_no_sdk() -> None:
    code = (
        "import sys, poise_lib.llm.ledger, poise_lib.llm.purse, poise_lib.llm.errors; sys.exit('openai' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
