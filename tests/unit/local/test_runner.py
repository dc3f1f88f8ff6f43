"""The runner with tasks that are answered in this process: what it does with weights and with errors of the disk.

Real processes are in tests/integration/test_local_run.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from poise_lib.errors import StateError
from poise_lib.local import process, runner
from poise_lib.local.process import Outcome, RunningTask
from poise_lib.local.runner import RunView, run_search
from poise_lib.local.state import StateDir
from poise_lib.resources import Search
from poise_lib.resources.evaluation import EvaluationPhase
from poise_lib.resources.search import SearchPhase
from poise_lib.tasks.protocol import TaskKind, TaskRequest
from tests.unit.search.world import answer

Weights = Callable[[TaskRequest], bytes]


class Silent:
    def on_update(self, view: RunView) -> None:
        pass

    def on_event(self, text: str) -> None:
        pass


def make_search(**spec: Any) -> Search:
    defaults = {"budget": {"candidates": 4, "concurrent": 3}, "evaluation": {"confirmation": {"top": 0}}}
    return Search.model_validate({"metadata": {"name": "s"}, "spec": {**defaults, **spec}})


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Tasks by name in the order of their start; trained weights are the same for all candidates of one round."""
    names: list[str] = []

    async def fake(
        task: RunningTask, state: StateDir, token: str, on_progress: Callable[[], None], _: Path | None
    ) -> Outcome:
        request = task.request
        names.append(request.name)
        # Two candidates of a round are trained at the same time, and one is scored long after the other.
        await asyncio.sleep(0.2 if request.name == "s-001-1-full-0-score" else 0)
        result = answer(request)
        if request.kind is TaskKind.VERIFY and result.output is not None:
            result.output["verification"] |= {"passed": True, "findings": []}
        if request.kind is TaskKind.TRAIN and result.output is not None:
            policy = state.artifacts.put(request.name[:5].encode())
            result.output["policy"] = policy
            result = result.model_copy(update={"artifacts": (policy,)})
        if request.kind is TaskKind.SCORE:
            state.artifacts.get(request.input["policy"])
        state.artifacts.put_result(request.digest, result.to_document())
        return Outcome(result)

    monkeypatch.setattr(runner, "run_task", fake)
    return names


def test_weights_that_two_candidates_share_stay_until_both_are_scored(tmp_path: Path, started: list[str]) -> None:
    search = make_search(retention={"checkpoints": "None"})
    ended = run_search(search, tmp_path, workers=3, observer=Silent())
    assert ended.status.phase is SearchPhase.COMPLETE
    runs = StateDir(tmp_path).evaluations()
    assert len(runs) == 4
    assert {run.status.phase for run in runs} == {EvaluationPhase.COMPLETE}
    assert not any(path.is_file() for path in (tmp_path / "artifacts" / "blobs").rglob("*"))
    assert len(started) >= len(set(started))


def test_weights_that_are_gone_before_they_are_scored_are_trained_again(
    tmp_path: Path, started: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    search, answering = make_search(budget={"candidates": 2}), runner.run_task

    async def damaged(
        task: RunningTask, state: StateDir, token: str, on_progress: Callable[[], None], _: Path | None
    ) -> Outcome:
        if task.request.name == "s-001-0-full-0-score":
            raise StateError("blob: damaged; remove it and run again")
        return await answering(task, state, token, on_progress, None)

    monkeypatch.setattr(runner, "run_task", damaged)
    with pytest.raises(StateError, match="remove it and run again"):
        run_search(search, tmp_path, workers=1, observer=Silent())
    state = StateDir(tmp_path)
    run = next(run for run in state.evaluations() if run.metadata.name == "s-001-0-full-0")
    assert run.status.phase is EvaluationPhase.SCORING
    assert run.status.policy is not None
    state.artifacts.remove(run.status.policy)
    monkeypatch.setattr(runner, "run_task", answering)
    ended = run_search(search, tmp_path, workers=1, observer=Silent())
    assert ended.status.phase is SearchPhase.COMPLETE
    assert started.count("s-001-0-full-0-train") == 2
    assert {run.status.phase for run in state.evaluations()} == {EvaluationPhase.COMPLETE}


def test_a_task_that_cannot_write_stops_the_run_and_fails_no_candidate(tmp_path: Path) -> None:
    """A real process whose artifact store is a file."""
    state = StateDir(tmp_path)
    state.artifacts.root.write_text("no folder")
    document = {"baseline": [1.0, 2.0], "arms": {}, "confidence": 0.9, "picked": 0}
    task = RunningTask(TaskRequest(kind=TaskKind.CONCLUDE, name="s-conclude", input=document))
    (tmp_path / "run").write_text("token")
    with pytest.raises(StateError, match=r"artifacts.*: "):
        asyncio.run(process.run_task(task, state, "token", lambda: None, None))
    assert not any((tmp_path / "work").iterdir())
