"""What was recorded against a scripted server is replayed without it: the same answers, the same spend, the same errors."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Field

from poise_lib.artifacts import ArtifactStore
from poise_lib.errors import InvalidInputError
from poise_lib.llm.client import Client
from poise_lib.llm.config import ENV_KEY, ENV_REPLAY, ENV_URL, ClientConfig
from poise_lib.llm.dialect import Dialect, Message
from poise_lib.llm.errors import LLMError, RequestRefused
from poise_lib.llm.ledger import Allotment
from poise_lib.llm.purse import Purse, book_folder
from poise_lib.llm.recording import Recording, question, transcripts_in
from poise_lib.llm.replay import ReplayServer
from poise_lib.resources.llm import LLMSettings, Spend
from tests.llm.script import Script
from tests.llm.server import ScriptedServer

SETTINGS = LLMSettings(
    model="scripted", max_output_tokens=400, max_retries=2, max_repairs=2, prices={"inputPerMillion": 1, "outputPerMillion": 2}
)  # fmt: skip
PLENTY = Allotment(10**9)


class Idea(BaseModel):
    """What the tests ask for."""

    title: str = Field(description="Its title.")
    gain: float = Field(description="Its gain.")


Told = tuple[Any, Spend, bytes]
"""The value (or the error's reason), what it has cost, and the transcript."""


def messages(text: str) -> list[Message]:
    return [Message("system", "You propose."), Message("user", text)]


async def _ask(config: ClientConfig, purse: Purse, text: str) -> Told:
    async def no_wait(_: float) -> None:
        return None

    async with Client(config, sleep=no_wait) as client:
        try:
            answer = await client.ask(messages(text), Idea, purse)
        except LLMError as error:
            return error.reason, purse.spent, error.transcript.to_bytes() if error.transcript else b""
    return answer.value, answer.spend, answer.transcript.to_bytes()


def ask_all(
    environment: dict[str, str], root: Path, asked: Sequence[tuple[str, str]], settings: LLMSettings = SETTINGS
) -> list[Told]:
    """Each (task, question) by a client of its own, as processes do; transcripts go into the store."""
    store = ArtifactStore(root / "artifacts")
    told = []
    for task, text in asked:
        purse = Purse(PLENTY, book_folder(root / "artifacts", task))
        told.append(asyncio.run(_ask(ClientConfig.of(settings, environment), purse, text)))
        store.put(told[-1][2])
    return told


def record(root: Path, script: str, asked: Sequence[tuple[str, str]], settings: LLMSettings = SETTINGS) -> list[Told]:
    with ScriptedServer(Script.load_text(script)) as server:
        return ask_all({ENV_URL: server.url, ENV_KEY: "key-of-the-recording"}, root, asked, settings)


def replay(
    recorded: Path, root: Path, asked: Sequence[tuple[str, str]], settings: LLMSettings = SETTINGS
) -> tuple[list[Told], ReplayServer]:
    recording = Recording(transcripts_in(ArtifactStore(recorded / "artifacts")))
    with ReplayServer(recording) as server:
        environment = {ENV_REPLAY: server.url, ENV_KEY: server.token, ENV_URL: recording.endpoint}
        return ask_all(environment, root, asked, settings), server


SCRIPTS = {
    "plain": "rules: []",
    "refuses-schema": "refuses: [json_schema, temperature]",
    "refuses-much": "refuses: [json_schema, json_object, system, stream, max_completion_tokens]",
    "repairs": "rules: [{replies: [{answer: missing-field}, {answer: fenced}]}]",
    "retries": "rules: [{replies: [{fault: 429, retryAfter: 0}, {fault: 503}, {answer: good, usage: cached}]}]",
    "cut": "rules: [{replies: [{fault: cut-stream}, {fault: reset}, {answer: good, reasoning: Hm.}]}]",
    "does-not-count": "rules: [{replies: [{answer: good, usage: none}]}]",
    "hidden-reasoning": "rules: [{replies: [{answer: good, usage: hidden}]}]",
    "never-fits": "rules: [{replies: [{answer: prose}]}]",
    "declines": "rules: [{replies: [{refusal: I would rather not.}]}]",
    "fails": "rules: [{replies: [{fault: 500}]}]",
    "wrong-key": "key: another-key",
    "no-credit": "rules: [{replies: [{fault: 429, message: Over., code: insufficient_quota}]}]",
    "asks-to-wait": "rules: [{replies: [{fault: 429, retryAfter: 900}]}]",
    "unknown-model": "models: [other]",
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_replay_tells_the_same(name: str, tmp_path: Path) -> None:
    asked = [("a" * 64, "wider"), ("b" * 64, "softer")]
    before = record(tmp_path / "recorded", SCRIPTS[name], asked)
    after, server = replay(tmp_path / "recorded", tmp_path / "again", asked)
    assert [told[:2] for told in after] == [told[:2] for told in before]
    if name != "cut":  # how a connection broke is said in the words of the system
        assert after == before  # the transcripts too, byte for byte
    assert not server.misses


def test_answers_that_were_not_streamed(tmp_path: Path) -> None:
    script = "refuses: [stream]"
    before = record(tmp_path / "recorded", script, [("a" * 64, "wider")])
    after, _ = replay(tmp_path / "recorded", tmp_path / "again", [("a" * 64, "wider")])
    assert after == before


def test_equal_questions_of_two_tasks_get_their_own_answers(tmp_path: Path) -> None:
    asked = [("a" * 64, "wider"), ("b" * 64, "wider"), ("c" * 64, "wider")]
    titles = ("first", "second", "third")
    replies = ", ".join(f"""{{content: '{{"title": "{title}", "gain": 1}}'}}""" for title in titles)
    script = f"rules: [{{replies: [{replies}]}}]"
    before = record(tmp_path / "recorded", script, asked)
    assert [told[0].title for told in before] == ["first", "second", "third"]
    after, _ = replay(tmp_path / "recorded", tmp_path / "again", asked[::-1])
    assert [told[0].title for told in after] == ["third", "second", "first"]


def test_a_task_that_is_started_again_hears_the_same_again(tmp_path: Path) -> None:
    before = record(tmp_path / "recorded", SCRIPTS["repairs"], [("a" * 64, "wider")])
    after, _ = replay(tmp_path / "recorded", tmp_path / "again", [("a" * 64, "wider"), ("a" * 64, "wider")])
    assert [told[0] for told in after] == [before[0][0]] * 2
    assert [told[2] for told in after] == [before[0][2]] * 2


def test_another_task_hears_what_was_told_to_one(tmp_path: Path) -> None:
    before = record(tmp_path / "recorded", "rules: []", [("a" * 64, "wider")])
    after, _ = replay(tmp_path / "recorded", tmp_path / "again", [("f" * 64, "wider")])
    assert after[0][:2] == before[0][:2]


def test_what_was_not_recorded_is_named(tmp_path: Path) -> None:
    record(tmp_path / "recorded", "rules: []", [("a" * 64, "wider")])
    after, server = replay(tmp_path / "recorded", tmp_path / "again", [("a" * 64, "a stranger's question")])
    assert after[0][0] == RequestRefused.reason
    assert after[0][1].tokens == 0
    (missed,) = server.misses
    assert "a stranger's question" in missed
    assert "Idea" in missed
    assert "'scripted'" in missed
    assert "no transcript has the question" in json.loads(after[0][2])["exchanges"][0]["problem"]


def test_only_who_has_the_token_is_answered(tmp_path: Path) -> None:
    record(tmp_path / "recorded", "rules: []", [("a" * 64, "wider")])
    recording = Recording(transcripts_in(ArtifactStore(tmp_path / "recorded" / "artifacts")))
    with ReplayServer(recording) as server:
        environment = {ENV_REPLAY: server.url, ENV_KEY: "guess"}
        (told,) = ask_all(environment, tmp_path / "again", [("a" * 64, "wider")])
    assert told[0] == "LLMWrongKey"


def test_a_question_is_the_same_in_every_dialect() -> None:
    first = Dialect.first(SETTINGS.structured_output, SETTINGS.system_prompt, 0.3, stream=True)
    told = [*messages("wider"), Message("assistant", "no"), Message("user", "Again.")]
    from dataclasses import replace

    from poise_lib.llm.dialect import Structure

    asked = {
        question(replace(first, structure=structure, system=system, stream=stream).request("m", told, Idea, 99))
        for structure in Structure
        for system in (True, False)
        for stream in (True, False)
    }
    assert len(asked) == 1
    assert question(first.request("m", told[:2], Idea, 99)) not in asked
    assert question(first.request("other", told, Idea, 99)) not in asked


def test_a_refusal_of_a_dialect_is_for_requests_in_it() -> None:
    first = Dialect.first(SETTINGS.structured_output, SETTINGS.system_prompt, None, stream=True)
    from poise_lib.llm.dialect import simpler

    other = simpler(first, "response_format is not supported")
    assert other is not None
    strict, loose = (one.request("m", messages("x"), Idea, 9) for one in (first, other))
    refused = {"request": strict, "failure": {"kind": "rejected", "status": 400}}
    taken = {"request": loose, "answer": {"content": "{}"}}
    transcript = {"endpoint": "e", "model": "m", "exchanges": [refused, taken]}
    assert Recording([transcript]).answer(strict) == refused
    assert Recording([transcript]).answer(loose) == taken
    assert Recording([]).answer(loose) is None


def test_a_replay_is_on_this_machine() -> None:
    with pytest.raises(InvalidInputError, match="POISE_LLM_REPLAY_URL"):
        ClientConfig.of(SETTINGS, {ENV_REPLAY: "http://example.com/v1"})
    settings = SETTINGS.model_copy(update={"base_url": "https://api.example.com/v1"})
    config = ClientConfig.of(settings, {ENV_REPLAY: "http://127.0.0.1:1/v1", ENV_URL: "http://other/v1"})
    assert (config.base_url, config.replay_url) == ("https://api.example.com/v1", "http://127.0.0.1:1/v1")


def test_other_artifacts_are_no_transcripts(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    for data in (b"", b"\x00" * 100, b'{"endpoint":', b'{"endpoint":"x"}', b'{"checks":[]}'):
        store.put(data)
    assert list(transcripts_in(store)) == []
