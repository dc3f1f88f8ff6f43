"""How far a training is: two numbers off the end of a log that untrusted code writes, looked at once in a while."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from controller.api import ApiError
from controller.jobs import JobView, view
from controller.progress import LOOK_SECONDS, Follower, current_only, progress_of
from poise_lib.resources import Evaluation
from poise_lib.tasks.protocol import progress_line
from tests.unit.controller.double import CREATED, FakeApi, Server

START = 1_767_225_600.0
"""Of :data:`CREATED`, which is the start of the year 2026."""


@pytest.mark.parametrize(
    ("log", "told"),
    [
        ("", ""),
        ("noise\n", ""),
        (f"{progress_line({'step': 3, 'steps': 152})}\n{progress_line({'step': 4, 'steps': 152})}\nnoise\n", "4/152"),
        (progress_line({"step": 7}), "7"),
        (progress_line({"step": 9, "steps": 8}), ""),
        (progress_line({"step": -1, "steps": 8}), ""),
        (progress_line({"step": 10**9, "steps": 10**10}), ""),
        (progress_line({"step": True, "steps": 8}), ""),
        (progress_line({"step": "<b>", "steps": 8}), ""),
        ("poise-progress {broken\n", ""),
    ],
)
def test_two_whole_numbers_and_nothing_else(log: str, told: str) -> None:
    assert progress_of(log) == told


def evaluation(**status: Any) -> Evaluation:
    spec = {"search": "s", "candidate": "s-000-0"}
    document = {"metadata": {"name": "s-000-0-full-0"}, "spec": spec, "status": {"phase": "Training", **status}}
    return Evaluation.model_validate(document)


def job(kind: str = "train") -> JobView:
    found = view({
        "metadata": {
            "name": f"s-000-0-full-0-{kind}-1", "namespace": "default", "uid": "job-uid", "resourceVersion": "7",
            "creationTimestamp": CREATED, "labels": {"poise.dev/attempt": "1", "poise.dev/task-kind": kind},
            "annotations": {"poise.dev/task": f"s-000-0-full-0-{kind}"},
        },
        "spec": {},
    })  # fmt: skip
    assert found is not None
    return found


def following(*indices: str) -> tuple[Follower, Server, FakeApi]:
    """A follower, and the pods of a training, each with a log of its own."""
    server = Server()
    for index in indices:
        metadata = {
            "name": f"p{index}",
            "labels": {"batch.kubernetes.io/controller-uid": "job-uid"},
            "annotations": {"batch.kubernetes.io/job-completion-index": index},
        }
        server.create("pods", "default", {"kind": "Pod", "metadata": metadata, "status": {}})
        server.logs[f"p{index}"] = progress_line({"step": 5 + int(index), "steps": 9})
    api = FakeApi(server)
    return Follower(api), server, api


def look(follower: Follower, run: Evaluation, now: float, what: JobView | None = None) -> list[str | None]:
    found = asyncio.run(follower.look([what or job()], {run.metadata.name: run}, now))
    return [item.status.progress for item in found]


def test_the_first_of_several_pods_is_asked_once_in_a_while() -> None:
    follower, server, _ = following("1", "0")
    assert look(follower, evaluation(), START + 1.0) == [], "it has just begun"
    now = START + LOOK_SECONDS + 1.0
    assert look(follower, evaluation(), now) == ["5/9"]
    server.logs["p0"] = progress_line({"step": 6, "steps": 9})
    assert look(follower, evaluation(progress="5/9"), now + 1.0) == []
    assert look(follower, evaluation(progress="5/9"), now + LOOK_SECONDS) == ["6/9"]
    assert look(follower, evaluation(progress="6/9"), now + 2 * LOOK_SECONDS) == [], "nothing new, nothing written"


def test_only_trainings_that_run_are_looked_at() -> None:
    follower, _, api = following("0")
    late = START + 3600.0
    assert look(follower, evaluation(), late, job("verify")) == []
    assert look(follower, evaluation(phase="Scoring"), late) == []
    assert not api.calls


def test_a_log_that_cannot_be_read_is_no_trouble() -> None:
    follower, _, api = following("0")

    def fail(method: str, path: str) -> None:
        if "/log" in path:
            raise ApiError(400, "BadRequest", "container is waiting to start")

    api.before = fail
    assert look(follower, evaluation(), START + 3600.0) == []


def test_progress_goes_when_training_is_over() -> None:
    assert current_only(evaluation(progress="3/9")).status.progress == "3/9"
    assert current_only(evaluation(phase="Scoring", progress="3/9")).status.progress is None
