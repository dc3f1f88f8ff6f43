"""The client against a scripted server on real sockets: answers, dialects, repairs, and every fault."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from poise_lib.llm.client import Client
from poise_lib.llm.dialect import Structure
from poise_lib.llm.errors import (
    AllotmentSpent,
    CannotFollowSchema,
    LLMError,
    Overloaded,
    PriceUnknown,
    PromptTooLong,
    QuotaSpent,
    Refused,
    RequestRefused,
    ServerFailed,
    UnknownModel,
    Unreachable,
    WrongEndpoint,
    WrongKey,
)
from poise_lib.llm.ledger import Allotment
from poise_lib.llm.purse import read_book
from poise_lib.resources.llm import StructuredOutput, SystemPrompt
from tests.integration.llm.conftest import KEY, QUESTION, Idea, World
from tests.llm import roles
from tests.llm.answers import LIBRARY

Start = Callable[..., World]
GOOD = {"answer": "good"}


def never_too_small(world: World) -> None:
    """The book holds at least what the server worked through, and is settled as far as it can be."""
    assert world.purse.spent.tokens >= world.truth


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("name", ["good", "fenced", "thinking", "thinking-open", "loose", "wrapped"])
def test_right_answers(world: Start, name: str, stream: bool) -> None:
    here = world({"answer": name})
    answer = here.ask(stream=stream)
    assert 0 <= answer.value.strength <= 1
    assert len(here.server.requests) == 1
    # The server's own count, at 2 dollars in and 10 out a million.
    (used,) = here.server.worked
    assert (answer.spend.prompt_tokens, answer.spend.completion_tokens) == (
        used["prompt_tokens"],
        used["completion_tokens"],
    )
    assert answer.spend.cost_usd == pytest.approx((used["prompt_tokens"] * 2 + used["completion_tokens"] * 10) / 1e6)
    assert here.purse.spent == answer.spend


def test_the_request_is_what_the_api_wants(world: Start) -> None:
    here = world()
    here.ask(temperature=0.7)
    (request,) = here.server.requests
    assert request["model"] == "scripted"
    assert [message["role"] for message in request["messages"]] == ["system", "user"]
    assert request["max_completion_tokens"] == 800
    assert request["temperature"] == 0.7
    assert request["stream_options"] == {"include_usage": True}
    assert request["response_format"]["json_schema"]["name"] == "Idea"
    assert request["response_format"]["json_schema"]["strict"] is True


@pytest.mark.parametrize(
    "name", ["missing-field", "extra-field", "wrong-type", "list", "single-quotes", "trailing-comma", "truncated",
             "schema-itself", "empty", "blank", "prose", "html", "braces", "deep", "number", "null", "nan",
             "thinking-only", "binary"],
)  # fmt: skip
def test_wrong_answers_are_sent_back_once_and_mended(world: Start, name: str) -> None:
    here = world({"answer": name}, GOOD)
    answer = here.ask()
    assert answer.spend.calls == 2
    first, second = here.server.requests
    assert second["messages"][:2] == first["messages"]
    assert [message["role"] for message in second["messages"][2:]] == ["assistant", "user"]
    assert "That cannot be used: " in second["messages"][3]["content"]
    assert answer.transcript.exchanges[0].problem
    assert not answer.transcript.exchanges[1].problem
    never_too_small(here)


def test_all_of_the_library_is_tried() -> None:
    """But for the answers of roles, which the tasks try (test_tasks.py)."""
    (mended,) = (mark for mark in test_wrong_answers_are_sent_back_once_and_mended.pytestmark)  # type: ignore[attr-defined]
    (_, right) = (mark for mark in test_right_answers.pytestmark)  # type: ignore[attr-defined]
    names = {*mended.args[1], *right.args[1]} | {"good", "fenced", "thinking", "thinking-open", "loose", "wrapped"}
    assert {name for name in names if isinstance(name, str)} >= set(LIBRARY) - set(roles.ANSWERS)


@pytest.mark.parametrize("name", ["missing-field", "prose", "empty"])
def test_a_model_that_cannot_follow_the_schema(world: Start, name: str) -> None:
    here = world({"answer": name})
    with pytest.raises(
        CannotFollowSchema, match=r"gave no answer that fits Idea in 3 tries; last: .*maxRepairs"
    ) as failure:
        here.ask()
    assert len(here.server.requests) == 3  # the first and two repairs
    assert failure.value.transcript is not None
    assert len(failure.value.transcript.exchanges) == 3
    never_too_small(here)


def test_what_pydantic_cannot_see_is_sent_back_too(world: Start) -> None:
    here = world()
    said = iter(["that title is taken", None])
    here.ask(lambda _: next(said))
    assert "that title is taken" in here.server.requests[1]["messages"][-1]["content"]


def test_an_answer_that_is_cut_by_its_limit(world: Start) -> None:
    here = world(
        {"answer": "truncated", "finish": "length"}, {"answer": "empty", "finish": "length", "reasoning": "hm"}
    )
    with pytest.raises(CannotFollowSchema, match="reached its limit of 800 tokens"):
        here.ask()


@pytest.mark.parametrize("stream", [True, False])
def test_a_refusal(world: Start, stream: bool) -> None:
    with pytest.raises(Refused, match="declined: I cannot help"):
        world({"refusal": "I cannot help with that."}).ask(stream=stream)
    with pytest.raises(Refused, match="content filter"):
        world({"answer": "empty", "finish": "content_filter"}).ask(stream=stream)


@pytest.mark.parametrize("stream", [True, False])
def test_reasoning_is_kept_apart(world: Start, stream: bool) -> None:
    answer = world({"answer": "good", "reasoning": "{} I think."}).ask(stream=stream)
    assert answer.transcript.exchanges[0].reasoning == "{} I think."


# What servers do not take


@pytest.mark.parametrize(
    ("refuses", "structure", "system", "calls"),
    [
        ([], Structure.JSON_SCHEMA, True, 1),
        (["json_schema"], Structure.JSON_OBJECT, True, 2),
        (["json_schema", "json_object"], Structure.TEXT, True, 3),
        (["system"], Structure.JSON_SCHEMA, False, 2),
        (["stream"], Structure.JSON_SCHEMA, True, 2),
        (["stream_options"], Structure.JSON_SCHEMA, True, 2),
        (["max_completion_tokens"], Structure.JSON_SCHEMA, True, 2),
        (["temperature"], Structure.JSON_SCHEMA, True, 2),
        (
            ["json_schema", "json_object", "system", "stream", "max_completion_tokens", "temperature"],
            Structure.TEXT,
            False,
            7,
        ),
    ],
)
def test_what_a_server_refuses_is_left_out_from_then_on(
    world: Start, refuses: list[str], structure: Structure, system: bool, calls: int
) -> None:
    here = world(refuses=refuses)

    async def run() -> Client:
        async with here.client(temperature=0.7) as client:
            await client.ask(QUESTION, Idea, here.purse)
            assert len(here.server.requests) == calls
            await client.ask(QUESTION, Idea, here.purse)
            assert len(here.server.requests) == calls + 1
            return client

    client = asyncio.run(run())
    assert (client._dialect.structure, client._dialect.system) == (structure, system)
    assert not here.waits
    last = here.server.requests[-1]
    told = "\n".join(message["content"] for message in last["messages"])
    assert "You design algorithms." in told
    assert ("fit this JSON schema" in told) == (structure is not Structure.JSON_SCHEMA)
    assert last.get("max_completion_tokens", last.get("max_tokens")) == 800
    never_too_small(here)


def test_settings_that_are_not_auto_are_kept_to(world: Start) -> None:
    here = world(refuses=["json_schema"])
    with pytest.raises(RequestRefused, match="response_format"):
        here.ask(structured_output=StructuredOutput.JSON_SCHEMA)
    assert world(refuses=["json_schema", "json_object"]).ask(structured_output=StructuredOutput.TEXT).spend.calls == 1
    assert world(refuses=["system"]).ask(system_prompt=SystemPrompt.USER).spend.calls == 1
    with pytest.raises(RequestRefused, match="System role"):
        world(refuses=["system"]).ask(system_prompt=SystemPrompt.SYSTEM)


def test_a_server_that_refuses_everything(world: Start) -> None:
    here = world(refuses=["everything"])
    with pytest.raises(RequestRefused, match=r"status 400.*Bad request"):
        here.ask()
    assert here.purse.spent.tokens == 0


# Faults


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("fault", [408, 429, 500, 502, 503, 504, 529, "reset", "no-body", "html", "no-choices",
                                   "cut-body", "cut-stream", "error-in-stream"])  # fmt: skip
def test_passing_faults_are_repeated(world: Start, fault: Any, stream: bool) -> None:
    here = world({"fault": fault}, {"fault": fault}, GOOD)
    answer = here.ask(stream=stream)
    assert 0 <= answer.value.strength <= 1
    never_too_small(here)
    if isinstance(fault, int):
        assert answer.spend.calls == 3
        assert len(here.waits) == 2
        free = fault in (408, 429, 503, 529)
        assert answer.spend.estimated_calls == (0 if free else 2)


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        (429, Overloaded, "limits the rate"),
        (503, Overloaded, "overloaded"),
        (500, ServerFailed, r"failed in 4 calls \(status 500\)"),
        ("cut-stream", ServerFailed, "gave no whole answer in 4 calls; last: .*"),
        ("reset", ServerFailed, "gave no whole answer in 4 calls; last: the connection was lost"),
        ("html", ServerFailed, "no chat completion"),
        ("error-in-stream", ServerFailed, "the engine died"),
    ],
)
def test_lasting_faults_end_in_one_clear_message(world: Start, fault: Any, kind: type[LLMError], words: str) -> None:
    here = world({"fault": fault})
    with pytest.raises(kind, match=words) as failure:
        here.ask()
    assert len(here.server.requests) == 4  # the first and three repeats
    assert len(here.waits) == 3
    assert "\n" not in str(failure.value)
    assert not kind.lasting
    never_too_small(here)


def test_back_off_doubles(world: Start) -> None:
    here = world({"fault": 500})
    with pytest.raises(ServerFailed):
        here.ask(max_retries=8)
    longest = [1, 2, 4, 8, 16, 32, 60, 60]
    assert all(most / 2 <= wait <= most for wait, most in zip(here.waits, longest, strict=True))


@pytest.mark.parametrize(("header", "wait"), [("7", 7.0), ("0.25", 0.25), (0, 0.0)])
def test_retry_after_is_kept_to(world: Start, header: Any, wait: float) -> None:
    here = world({"fault": 429, "retryAfter": header}, GOOD)
    here.ask()
    assert here.waits == [wait]


def test_retry_after_may_be_a_date_or_nonsense(world: Start) -> None:
    here = world(
        {"fault": 429, "retryAfter": "Wed, 21 Oct 2015 07:28:00 GMT"},
        {"fault": 429, "retryAfter": "soon"},
        {"fault": 429, "retryAfter": "nan"},
        GOOD,
    )
    here.ask()
    assert here.waits[0] == 0.0  # long past
    assert 1 <= here.waits[1] <= 2
    assert 2 <= here.waits[2] <= 4


def test_a_wait_beyond_all_patience_is_not_waited_for(world: Start) -> None:
    here = world({"fault": 429, "retryAfter": 86400})
    with pytest.raises(Overloaded, match="asks to wait 86400 s"):
        here.ask()
    assert here.waits == []


@pytest.mark.parametrize("stream", [True, False])
def test_a_server_that_says_nothing(world: Start, stream: bool) -> None:
    here = world({"fault": "slow"}, GOOD)
    assert here.ask(stream=stream, idle_timeout=0.2, timeout=0.2 if not stream else 60.0).spend.estimated_calls == 1
    never_too_small(here)


def test_a_call_that_takes_too_long(world: Start) -> None:
    here = world({"fault": "slow"})
    with pytest.raises(ServerFailed, match=r"longer than proposer\.llm\.timeout"):
        here.ask(timeout=0.2, max_retries=0)


def test_a_stream_without_end(world: Start) -> None:
    here = world({"fault": "endless"})
    with pytest.raises(ServerFailed, match="beyond any sense"):
        here.ask(max_retries=0)
    assert here.purse.spent.completion_tokens > 64 * 800  # what came, not what was asked for


def test_nobody_listens(world: Start, tmp_path: Path) -> None:
    here = world()
    here.server.stop()
    with pytest.raises(Unreachable, match=r"http://127\.0\.0\.1:\d+/v1 cannot be reached: .*baseURL"):
        here.ask()
    assert len(here.waits) == 3
    assert here.purse.spent.tokens == 0


def test_a_host_that_does_not_exist(world: Start) -> None:
    with pytest.raises(Unreachable, match="cannot be reached"):
        world().ask(base_url="http://no-such-host.invalid/v1", max_retries=0)


# What nobody can mend from here


def test_a_wrong_key(world: Start) -> None:
    here = world()
    with pytest.raises(WrongKey, match=r"does not accept the API key.*secretRef.*OPENAI_API_KEY") as failure:
        here.ask(key="sk-wrong-wrong-wrong")
    assert "sk-wrong-wrong-wrong" not in str(failure.value)  # although the server repeats it
    assert not here.waits
    with pytest.raises(WrongKey, match="no API key was given"):
        here.ask(key="")
    with pytest.raises(WrongKey, match="stray text"):
        here.ask(key="two words")
    assert WrongKey.lasting


def test_an_unknown_model(world: Start) -> None:
    here = world(models=["scripted", "other"])
    with pytest.raises(UnknownModel, match=r"has no model 'scriptd' for this key.*did you mean scripted\?"):
        here.ask(model="scriptd")
    with pytest.raises(UnknownModel, match="it has scripted, other"):
        here.ask(model="zzz")
    with pytest.raises(UnknownModel, match=r"correct proposer\.llm\.model; it says"):
        world(listsModels=False).ask(model="zzz")
    assert not here.waits


def test_an_address_that_is_no_api(world: Start) -> None:
    here = world()
    with pytest.raises(WrongEndpoint, match="usually ends with /v1"):
        here.ask(base_url=here.server.url.removesuffix("/v1"))


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        ({"fault": 429, "code": "insufficient_quota", "message": "You exceeded your current quota."}, QuotaSpent),
        ({"fault": 402, "message": "Payment required"}, QuotaSpent),
        ({"fault": 400, "code": "context_length_exceeded", "message": "maximum context length is 8192"}, PromptTooLong),
        ({"fault": 413, "message": "too large"}, PromptTooLong),
        ({"fault": 400, "message": "API key not valid. Please pass a valid API key."}, WrongKey),
        ({"fault": 400, "message": "zzz/scripted is not a valid model ID"}, UnknownModel),
        ({"fault": 404, "message": 'model "scripted" not found, try pulling it first'}, UnknownModel),
        ({"fault": 403, "message": "Country not supported"}, WrongKey),
        ({"fault": 451, "message": "For legal reasons"}, RequestRefused),
    ],
)
def test_refusals_that_last(world: Start, reply: dict[str, Any], kind: type[LLMError]) -> None:
    here = world(reply)
    with pytest.raises(kind):
        here.ask()
    assert kind.lasting
    assert len(here.server.requests) == 1
    assert here.purse.spent.tokens == 0


# Check


def test_check_costs_one_tiny_call(world: Start) -> None:
    here = world()
    found = here.check()
    assert (found.structure, found.system_messages, found.spend.calls) == (Structure.JSON_SCHEMA, True, 1)
    assert found.spend.tokens < 200


def test_check_finds_what_ask_would_find(world: Start) -> None:
    with pytest.raises(WrongKey):
        world().check(key="wrong-wrong-wrong")
    with pytest.raises(UnknownModel):
        world().check(model="zzz")
    with pytest.raises(CannotFollowSchema):
        world({"answer": "prose"}).check()
    here = world()
    here.server.stop()
    with pytest.raises(Unreachable):
        here.check()


# Usage and the purse


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("usage", "estimated"),
    [("true", 0), ("cached", 0), ("hidden", 0), ("none", 1), ("zero", 1), ("small", 1), ("absurd", 1), ("negative", 1),
     ("text", 1), ("list", 1), ("nan", 1)],
)  # fmt: skip
def test_wrong_usage_never_makes_the_ledger_too_small(world: Start, usage: str, estimated: int, stream: bool) -> None:
    here = world({"answer": "good", "usage": usage})
    answer = here.ask(stream=stream)
    assert answer.spend.estimated_calls == estimated
    assert answer.spend.tokens < 10_000  # nor absurdly large
    assert (answer.spend.cached_tokens > 0) == (usage == "cached")
    never_too_small(here)


def test_a_call_that_could_exceed_the_allotment_is_not_sent(world: Start) -> None:
    here = world()
    here.allotment = Allotment(1000)
    with pytest.raises(AllotmentSpent, match="it was not sent"):
        here.ask()
    assert here.server.requests == []


def test_repeats_and_repairs_count(world: Start) -> None:
    here = world({"answer": "prose"}, {"fault": 500})
    here.allotment = Allotment(7000)  # a call can take about 2,000
    with pytest.raises(AllotmentSpent) as failure:
        here.ask(max_retries=20)
    assert 2 <= len(here.server.requests) <= 4
    assert here.purse.spent.tokens <= 7000
    assert failure.value.transcript is not None
    never_too_small(here)


def test_a_cap_in_dollars_without_a_price(world: Start) -> None:
    here = world()
    with pytest.raises(PriceUnknown, match=r"proposer\.llm\.prices"):
        here.ask(price=None)
    here.allotment = Allotment(10**7)
    assert here.ask(price=None).spend.unpriced_calls == 1


def test_a_call_that_is_cancelled_stays_charged_in_full(world: Start) -> None:
    here = world({"fault": "slow"})

    async def run() -> None:
        async with here.client() as client:
            task = asyncio.create_task(client.ask(QUESTION, Idea, here.purse))
            while not here.server.requests:
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(run())
    (call,) = read_book(here.folder / "task").calls.values()
    assert call.actual is None
    never_too_small(here)


def test_no_more_calls_at_once_than_allowed(world: Start) -> None:
    here = world({"fault": "slow"})

    async def run() -> None:
        async with here.client(concurrency=2, idle_timeout=0.3, max_retries=0) as client:
            asks = [client.ask(QUESTION, Idea, here.purse) for _ in range(3)]
            tasks = [asyncio.create_task(ask) for ask in asks]
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            assert done
            assert len(here.server.requests) <= 2 + len(done)
            await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(run())
    assert len(here.server.requests) == 3


# Transcripts


def test_every_exchange_is_kept_without_secrets(world: Start) -> None:
    here = world({"fault": 500, "message": f"bad header: Authorization: Bearer {KEY}"}, {"content": f"key {KEY}"}, GOOD)
    answer = here.ask()
    data = answer.transcript.to_bytes()
    assert KEY.encode() not in data
    document = json.loads(data)
    assert document["endpoint"] == here.server.url
    problems = [exchange.get("problem", "") for exchange in document["exchanges"]]
    assert problems[0].startswith("status 500: bad header: Authorization: Bearer [removed]")
    assert "no JSON object" in problems[1]
    assert problems[2] == ""
    assert document["exchanges"][2]["charged"]["promptTokens"] > 0


def test_the_same_answers_leave_the_same_transcript(world: Start) -> None:
    here = world()
    assert here.ask().transcript.to_bytes() == here.ask().transcript.to_bytes()


def test_garbage_can_be_kept(world: Start) -> None:
    assert world({"answer": "binary", "usage": "nan"}, GOOD).ask().transcript.to_bytes()


CHILD = """
import asyncio, sys
from pathlib import Path
from pydantic import BaseModel
from poise_lib.llm.client import Client
from poise_lib.llm.config import ClientConfig
from poise_lib.llm.dialect import Message
from poise_lib.llm.ledger import Allotment
from poise_lib.llm.purse import Purse

class Idea(BaseModel):
    title: str

async def main():
    purse = Purse(Allotment(10**6), Path(sys.argv[2]))
    async with Client(ClientConfig("scripted", sys.argv[1], sys.argv[3])) as client:
        await client.ask([Message("user", "first")], Idea, purse)
        await client.ask([Message("user", "second")], Idea, purse)

asyncio.run(main())
"""


def test_a_process_that_is_killed_within_a_call_leaves_it_charged_in_full(world: Start) -> None:
    here = world(GOOD, {"fault": "slow"})
    folder = here.folder / "task"
    command = [sys.executable, "-c", CHILD, here.server.url, str(folder), KEY]
    with subprocess.Popen(command, cwd=Path(__file__).parents[3]) as process:
        while len(here.server.requests) < 2:
            assert process.poll() is None
            here.server.stopping.wait(0.01)
        process.kill()
    first, second = read_book(folder).calls.values()
    assert first.actual is not None
    assert (first.actual.tokens, second.actual) == (here.server.worked[0]["total_tokens"], None)
    assert second.worst.completion_tokens == 16_384
    never_too_small(here)
