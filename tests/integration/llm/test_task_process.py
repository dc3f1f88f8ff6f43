"""Tasks that ask a model as the processes that they are: secrets stay in, a kill is paid for, a second start asks nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from poise_lib.llm.purse import book_folder, read_book
from poise_lib.tasks.protocol import FrameReader, TaskRequest, TaskResult
from tests.integration.llm.tasks_world import KEY, Tasks
from tests.llm.script import Script
from tests.llm.server import ScriptedServer

ATTEMPT = "0123456789abcdef" * 2


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Tasks]:
    with ScriptedServer(Script.of({"key": KEY})) as server:
        yield Tasks(server, tmp_path)


def start(here: Tasks, request: TaskRequest, key: str = KEY) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "poise_lib.tasks", "--store", str(here.store.root), "--attempt", ATTEMPT]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "OPENAI_API_KEY": key},
    )
    assert process.stdin is not None
    process.stdin.write(request.model_dump_json(by_alias=True).encode())
    process.stdin.close()
    process.stdin = None
    return process


def end(process: subprocess.Popen[bytes]) -> tuple[TaskResult | None, str]:
    """The result, and everything that was printed."""
    out, err = process.communicate(timeout=300)
    reader = FrameReader(ATTEMPT)
    for line in out.decode().splitlines():
        reader.feed(line)
    return reader.accepted, out.decode() + err.decode()


def everything(folder: Path) -> bytes:
    return b"\n".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_the_key_is_nowhere_and_a_second_start_asks_nothing(here: Tasks) -> None:
    request = here.reflect()
    first, printed = end(start(here, request))
    assert first is not None
    assert first.output is not None
    assert len(here.server.requests) == 1
    again, printed_again = end(start(here, request))
    assert again == first
    assert len(here.server.requests) == 1
    kept = everything(here.store.root).decode("utf-8", "replace")
    assert len(kept) > 1000
    for text in (request.model_dump_json(), json.dumps(first.model_dump(mode="json")), printed, printed_again, kept):
        assert KEY not in text


@pytest.mark.parametrize("status", [401, 500])
def test_a_server_that_repeats_the_key_in_its_complaint_does_not_spread_it(here: Tasks, status: int) -> None:
    here.server.script = Script.of({"rules": [{"replies": [{"fault": status, "message": f"bad key {KEY}"}]}]})
    result, printed = end(start(here, here.distill()))
    assert (result is None) == (status == 500)
    assert "bad key [removed]" in printed
    assert KEY not in printed
    assert KEY.encode() not in everything(here.store.root)


def test_a_kill_in_the_middle_of_a_call_is_charged_in_full(here: Tasks) -> None:
    here.server.script = Script.of({"key": KEY, "rules": [{"replies": [{"fault": "slow"}, {"answer": "good"}]}]})
    request = here.distill()
    process = start(here, request)
    deadline = time.monotonic() + 120
    while not here.server.requests and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    process.communicate()
    lost = read_book(book_folder(here.store.root, request.digest)).charged
    assert lost.calls == lost.estimated_calls == 1
    assert lost.completion_tokens == here.llm.max_output_tokens
    result, _ = end(start(here, request))
    assert result is not None
    assert result.spend is not None
    assert result.spend.calls == 2
    assert result.spend.completion_tokens > lost.completion_tokens
