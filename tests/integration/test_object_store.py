"""Whole tasks against an object store (a stand-in for S3, see tests/s3.py): the containers of a pod, one after the other."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from poise_lib.algorithms.registry import zoo_source
from poise_lib.tasks.protocol import FrameReader, TaskKind, TaskRequest, TaskResult
from tests.s3 import S3, serve

TOKEN = "d" * 32
TINY = {"steps": 2, "promptsPerStep": 4, "groupSize": 4, "epochs": 1, "miniBatches": 1}
TRAIN = TaskRequest(
    kind=TaskKind.TRAIN,
    name="demo-000-0-full-0-train",
    input={"source": zoo_source("grpo"), "engine": "nano", "suite": "chains-v1", "nano": TINY, "seed": 3},
)


@pytest.fixture
def s3() -> Iterator[S3]:
    with serve() as server:
        yield server


def start(request: TaskRequest, environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("AWS")}
    command = [sys.executable, "-m", "poise_lib.tasks", *arguments]
    text = request.model_dump_json(by_alias=True)
    return subprocess.run(
        command, input=text, capture_output=True, text=True, check=False, env={**plain, **environment}, timeout=500
    )


def result(done: subprocess.CompletedProcess[str]) -> TaskResult:
    assert done.returncode == 0, done.stderr
    reader = FrameReader(TOKEN)
    for line in done.stdout.splitlines():
        reader.feed(line)
    assert reader.accepted is not None
    return reader.accepted


@pytest.mark.slow
def test_a_training_goes_through_three_containers_and_its_weights_are_scored(s3: S3, tmp_path: Path) -> None:
    store, handover = ["--store", s3.url], str(tmp_path / "handover")
    trusted = s3.environment
    assert start(TRAIN, trusted, *store, "--look-up", handover).returncode == 0
    done = start(TRAIN, {}, "--hand-over", handover, "--offline")
    assert done.returncode == 0, done.stderr
    judging = [*store, "--attempt", TOKEN, "--handed-over", handover]
    trained = result(start(TRAIN, trusted, *judging))
    assert trained.output is not None
    # Started again it finds its result: there is nothing to judge, and nothing runs.
    again = str(tmp_path / "again")
    assert start(TRAIN, trusted, *store, "--look-up", again).returncode == 0
    assert (tmp_path / "again" / "known").exists()
    assert start(TRAIN, {}, "--hand-over", again, "--offline").returncode == 0
    assert os.listdir(again) == ["known"]
    assert result(start(TRAIN, trusted, *store, "--attempt", TOKEN, "--handed-over", again)) == trained
    document = {
        "policy": trained.output["policy"],
        "engine": "nano",
        "suite": "chains-v1",
        "split": "search",
        "seed": 3,
    }
    score = TaskRequest(kind=TaskKind.SCORE, name="demo-000-0-full-0-score", input=document)
    scored = result(start(score, trusted, *store, "--attempt", TOKEN))
    assert scored.output is not None
    assert scored.output["metrics"]
    collect = TaskRequest(kind=TaskKind.COLLECT, name="demo-collect", input={"remove": [trained.output["policy"]]})
    assert result(start(collect, trusted, *store, "--attempt", TOKEN)).output == {"removed": 1}


def test_a_store_that_is_gone_is_a_lost_attempt_with_a_reason(s3: S3) -> None:
    request = TaskRequest(kind=TaskKind.COLLECT, name="demo-collect", input={"remove": []})
    done = start(request, s3.environment, "--store", "s3://nobody-made-this/x", "--attempt", TOKEN)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == "StateError: s3://nobody-made-this/x: there is no such bucket: make it, or correct the URL\n"
