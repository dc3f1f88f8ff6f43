"""What GitOps tools make of our statuses: Argo CD's health checks, run as Lua, and kstatus' rules, which Flux follows.

The statuses are the planner's own, over histories of the made-up world of the planner's tests.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import lupa
import pytest

from poise_lib.resources import Candidate, Evaluation, Search
from poise_lib.resources.base import ObjectMeta
from poise_lib.resources.candidate import CandidatePhase
from poise_lib.resources.crd import KINDS
from poise_lib.resources.evaluation import EvaluationPhase
from poise_lib.resources.search import SearchPhase
from poise_lib.search import Update, plan
from poise_lib.tasks.protocol import TaskFault, TaskKind, TaskRequest, TaskResult
from tests.kube.chart import CHART
from tests.kube.cluster import ROOT
from tests.unit.search.world import World, answer, make_search

Document = dict[str, Any]
HEALTH: Final = ("Healthy", "Progressing", "Degraded", "Suspended", "Missing", "Unknown")


def health(document: Document) -> tuple[str, str]:
    """Argo CD's verdict: its interpreter hands the object in as ``obj`` and takes what the script returns."""
    lua = lupa.LuaRuntime(register_eval=False, unpack_returned_tuples=True)
    # Argo CD opens no library that reaches out of the script.
    for name in ("os", "io", "package", "require", "debug", "python", "dofile", "loadfile"):
        lua.globals()[name] = None
    lua.globals()["obj"] = lua.table_from(document, recursive=True)
    script = (CHART / "argocd" / f"{document['kind'].lower()}.lua").read_text(encoding="utf-8")
    result = lua.execute(script)
    assert set(result) == {"status", "message"}
    assert result["status"] in HEALTH
    assert isinstance(result["message"], str)
    return result["status"], result["message"]


def kstatus(document: Document) -> str:
    """The rules of sigs.k8s.io/cli-utils/pkg/kstatus for custom resources, in its order."""
    status = document.get("status", {})
    conditions = {item["type"]: item["status"] for item in status.get("conditions", ())}
    if "deletionTimestamp" in document["metadata"]:
        return "Terminating"
    if "observedGeneration" in status and status["observedGeneration"] != document["metadata"]["generation"]:
        return "InProgress"
    if conditions.get("Reconciling") == "True":
        return "InProgress"
    if conditions.get("Stalled") == "True":
        return "Failed"
    return {"True": "Current", None: "Current"}.get(conditions.get("Ready"), "InProgress")


def served(item: Search | Candidate | Evaluation) -> Document:
    """As an API server would show it, with the generation that the controller saw."""
    document = item.to_document()
    document["metadata"]["generation"] = 1
    return document


def in_cluster(world: World) -> World:
    """The world with a Search as an API server made it."""
    metadata = world.search.metadata.model_copy(update={"generation": 1, "uid": "u"})
    world.search = world.search.model_copy(update={"metadata": metadata})
    return world


def a_search(respond: Any = answer, **spec: Any) -> World:
    return in_cluster(World(make_search(**spec), respond))


def broken_baseline(request: TaskRequest) -> TaskResult:
    if request.kind is TaskKind.TRAIN:
        return TaskResult(fault=TaskFault(reason="TrainingFailed", message="the loss is not finite"))
    return answer(request)


def nothing_passes(request: TaskRequest) -> TaskResult:
    """Verification refuses whatever descends from the baseline."""
    result = answer(request)
    if request.kind is TaskKind.VERIFY and request.input["parentDigests"]:
        verification = {**(result.output or {})["verification"], "passed": False}
        return TaskResult(output={"verification": verification})
    return result


def step(world: World, blocked: str = "") -> Document:
    """The Search after one plan."""
    for action in plan(replace(world.observe(), blocked=blocked)):
        if isinstance(action, Update) and isinstance(action.resource, Search):
            world.search = action.resource
    return served(world.search)


def running() -> Document:
    return step(a_search())


def suspended() -> Document:
    return step(a_search(suspend=True))


def stalled() -> Document:
    return step(a_search(), blocked="s-000-0-train-1: exceeded quota")


def complete() -> Document:
    world = a_search()
    world.run(random.Random(0))
    assert world.search.status.phase is SearchPhase.COMPLETE
    return served(world.search)


def failed() -> Document:
    world = a_search(broken_baseline)
    world.run(random.Random(0))
    assert world.search.status.phase is SearchPhase.FAILED
    return served(world.search)


def changed() -> Document:
    document = complete()
    document["metadata"]["generation"] = 2
    return document


@pytest.mark.parametrize(
    ("document", "argo", "flux"),
    [
        pytest.param(running(), "Healthy", "Current", id="running"),
        pytest.param(complete(), "Healthy", "Current", id="complete"),
        pytest.param(suspended(), "Suspended", "Current", id="suspended"),
        pytest.param(stalled(), "Degraded", "Failed", id="stalled"),
        pytest.param(failed(), "Degraded", "Failed", id="failed"),
        pytest.param(changed(), "Progressing", "InProgress", id="changed"),
    ],
)
def test_a_search_is_what_its_conditions_say(document: Document, argo: str, flux: str) -> None:
    assert health(document)[0] == argo
    assert kstatus(document) == flux


def test_messages_say_why() -> None:
    assert health(stalled())[1] == "TasksDoNotStart: s-000-0-train-1: exceeded quota"
    assert health(failed())[1].startswith("BaselineFailed: the baseline grpo could not be evaluated")
    assert health(running())[1] == "the baseline comes first"
    assert "best" in health(complete())[1] or "baseline" in health(complete())[1]


@pytest.mark.parametrize("kind", [kind.name for kind in KINDS])
@pytest.mark.parametrize("status", [None, {}])
def test_what_nobody_has_looked_at_is_progressing(kind: str, status: Document | None) -> None:
    document: Document = {"kind": kind, "metadata": {"name": "x", "generation": 1}}
    if status is not None:
        document["status"] = status
    assert health(document) == ("Progressing", "Waiting for the controller")


def test_conditions_are_those_that_kstatus_and_people_look_for() -> None:
    for document in (running(), complete(), suspended(), stalled(), failed()):
        conditions = {item["type"]: item for item in document["status"]["conditions"]}
        assert set(conditions) == {"Ready", "Complete", "Failed", "Suspended", "Stalled"}
        for item in conditions.values():
            assert item["observedGeneration"] == document["status"]["observedGeneration"] == 1
            assert item["reason"]
            assert item["lastTransitionTime"]
        # Abnormal-true, as kstatus wants them, and never both.
        assert not (conditions["Ready"]["status"] == "True" and conditions["Failed"]["status"] == "True")
        assert not (conditions["Complete"]["status"] == "True" and conditions["Stalled"]["status"] == "True")


def members() -> Iterator[Candidate | Evaluation]:
    """Candidates and evaluations of whole histories, also of those that go badly."""
    for respond in (answer, broken_baseline, nothing_passes):
        world = a_search(respond, budget={"candidates": 8})
        world.run(random.Random(0))
        yield from world.candidates.values()
        yield from world.evaluations.values()


def test_members_are_degraded_when_they_ended_badly() -> None:
    bad = {CandidatePhase.FAILED, CandidatePhase.REJECTED, EvaluationPhase.FAILED}
    seen = set()
    for item in members():
        state, message = health(served(item))
        assert state == ("Degraded" if item.status.phase in bad else "Healthy"), item.metadata.name
        assert message.startswith(item.status.phase.value)
        seen.add((item.kind, item.status.phase.value))
    ends = {"Candidate": ("Archived", "Rejected", "Failed"), "Evaluation": ("Complete", "Failed")}
    assert seen == {(kind, phase) for kind, phases in ends.items() for phase in phases}


@pytest.mark.parametrize("kind", [Candidate, Evaluation])
def test_members_under_way_are_healthy(kind: type[Candidate] | type[Evaluation]) -> None:
    spec: Document = {"search": "s", "candidate": "s-000-0"}
    if kind is Candidate:
        spec = {"search": "s", "proposal": {"title": "t", "hypothesis": "h"}, "algorithm": "grpo"}
    item = kind.model_validate({"metadata": ObjectMeta(name="x"), "spec": spec})
    for phase in ("Pending", "Training") if kind is Evaluation else ("Pending", "Verifying"):
        document = served(item) | {"status": {"phase": phase}}
        assert health(document) == ("Healthy", phase)


def test_there_is_a_check_for_every_kind_and_the_docs_name_each() -> None:
    assert {file.name for file in (CHART / "argocd").iterdir()} == {f"{kind.name.lower()}.lua" for kind in KINDS}
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    for kind in KINDS:
        key = f"resource.customizations.health.poise.dev_{kind.name}"
        assert f"{key}=charts/poise/argocd/{kind.name.lower()}.lua" in text
