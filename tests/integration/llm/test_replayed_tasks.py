"""Every kind of task that asks a model, recorded once with mistakes and garbage, and replayed: the same results, spend included."""

from __future__ import annotations

from pathlib import Path

from poise_lib.llm.recording import Recording, transcripts_in
from poise_lib.llm.replay import ReplayServer
from poise_lib.tasks import documents as d
from poise_lib.tasks.protocol import TaskResult
from tests.integration.llm.tasks_world import KEY, Tasks
from tests.llm.script import Script
from tests.llm.server import ScriptedServer

SCRIPT = Path(__file__).parents[2] / "llm" / "scripts" / "search.yaml"


def everything(here: Tasks) -> list[TaskResult]:
    """A check, proposals for several slots (of one parent), their code, a reflection, principles."""
    results = [here.run(here.check())]
    for slot in range(4):
        results.append(here.run(here.propose(4, slot=slot)))
        if results[-1].output is not None:
            proposals = d.ProposeOutput.model_validate(results[-1].output).proposals
            results += [here.run(here.implement(proposal)) for proposal in proposals[:2]]
    return [*results, here.run(here.reflect()), here.run(here.distill())]


def test_a_replay_of_tasks(tmp_path: Path) -> None:
    (tmp_path / "then").mkdir()
    (tmp_path / "now").mkdir()
    with ScriptedServer(Script.load(SCRIPT)) as server:
        there = Tasks(server, tmp_path / "then", settings={"maxRetries": 2, "structuredOutput": "Auto"})
        before = everything(there)
        calls = len(server.requests)
    recording = Recording(transcripts_in(there.store))
    assert calls > 40
    with ReplayServer(recording) as replay:
        here = Tasks(server, tmp_path / "now", settings=there.settings)
        here.environment = {"POISE_LLM_REPLAY_URL": replay.url, "OPENAI_API_KEY": replay.token}
        after = everything(here)
    assert replay.misses == []
    assert after == before
    assert replay.answered == calls
    assert len(server.requests) == calls, "nobody asked the model again"
    assert KEY not in str(after)
