"""Requests of every kind that asks a model, over a small archive whose code is the zoo's."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from poise_lib.algorithms.registry import zoo, zoo_source
from poise_lib.archive.entry import Entry
from poise_lib.artifacts import ArtifactStore
from poise_lib.prompts import Exhibit
from poise_lib.resources.candidate import Proposal, SelectionTerms
from poise_lib.resources.llm import LLMSettings, Reservation
from poise_lib.resources.search import ParentChoice, Strategy
from poise_lib.tasks import documents as d
from poise_lib.tasks.__main__ import _finish
from poise_lib.tasks.context import TaskContext
from poise_lib.tasks.protocol import TaskKind, TaskRequest, TaskResult
from tests.llm.server import ScriptedServer

KEY = "secret-of-the-task-0123456789"
TERMS = SelectionTerms(round=1, score=1.0, pareto=1.0, performance=1.0, diversity=0.0, bayes=0.0)


def exhibit(name: str, zoo_name: str, utility: float, *parents: str) -> Exhibit:
    """A finished candidate that is an algorithm of the zoo."""
    entry = zoo()[zoo_name]
    found = Entry(
        name=name,
        parents=parents,
        title=f"Candidate {name}",
        mechanisms=tuple(mechanism.name for mechanism in entry.mechanisms),
        metrics={"overall": utility, "aime24": utility - 7.25},
        utility=utility,
        trajectory={"actor/entropy.first": 0.81, "actor/entropy.last": 0.34},
    )
    proposal = Proposal(title=found.title, hypothesis=entry.summary, mechanisms=found.mechanisms)
    return Exhibit(entry=found, proposal=proposal, source=zoo_source(zoo_name))


ROOT = exhibit("s-000-0", "grpo", 41.5)
CHILD = exhibit("s-001-0", "dapo", 44.75, "s-000-0")
OTHER = exhibit("s-001-1", "sapo", 40.0, "s-000-0")
ARCHIVE = (ROOT, CHILD, OTHER)
ENTRIES = tuple(shown.entry for shown in ARCHIVE)


@dataclass
class Tasks:
    """A server, a store, and the ways to run a task against them."""

    server: ScriptedServer
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    reports: list[dict[str, Any]] = field(default_factory=list)

    @property
    def store(self) -> ArtifactStore:
        """Of the search."""
        return ArtifactStore(self.folder / "store")

    @property
    def llm(self) -> LLMSettings:
        """For this server; failures are not waited for."""
        fields = {"baseURL": self.server.url, "model": "scripted", "maxRetries": 0, "maxOutputTokens": 8000}
        return LLMSettings.model_validate({**fields, **self.settings})

    def check(self, retry: str = "") -> TaskRequest:
        return self._request(TaskKind.CHECK, d.CheckInput(llm=self.llm, retry=retry))

    def propose(self, count: int = 3, **fields: Any) -> TaskRequest:
        given: dict[str, Any] = {
            "parent": ParentChoice(name="s-000-0", terms=TERMS, pareto=("s-001-0",), exploratory=("s-001-1",)),
            "entries": ENTRIES, "strategy": Strategy(proposals_per_parent=count), "round": 2, "slot": 0, "seed": 7,
            "llm": self.llm, "exhibits": ARCHIVE, "directive": "Shorter answers.",
        }  # fmt: skip
        return self._request(TaskKind.PROPOSE, d.ProposeInput(**{**given, **fields}))

    def implement(self, proposal: Proposal, **fields: Any) -> TaskRequest:
        document = d.ImplementInput(**{"proposal": proposal, "llm": self.llm, "parent": ROOT, **fields})
        return self._request(TaskKind.IMPLEMENT, document)

    def reflect(self, **fields: Any) -> TaskRequest:
        given: dict[str, Any] = {"child": CHILD.entry, "parent": ROOT.entry, "baseline": ROOT.entry}
        shown: dict[str, Any] = {"llm": self.llm, "exhibits": (CHILD, ROOT), "entries": ENTRIES}
        return self._request(TaskKind.REFLECT, d.ReflectInput(**{**given, **shown, **fields}))

    def distill(self) -> TaskRequest:
        return self._request(TaskKind.DISTILL, d.DistillInput(llm=self.llm, entries=ENTRIES))

    def _request(self, kind: TaskKind, document: Any) -> TaskRequest:
        reservation = Reservation(task=f"s-{kind.value}", tokens=20_000_000)
        return TaskRequest(kind=kind, name=f"s-{kind.value}", input=document.to_document(), reservation=reservation)

    def run(self, request: TaskRequest) -> TaskResult:
        """As a process would, without being one: the result that it would print."""
        self.folder.joinpath("work").mkdir(exist_ok=True)
        context = TaskContext(
            self.store,
            self.folder / "work",
            self.reports.append,
            environment={"OPENAI_API_KEY": KEY, **self.environment},
        )
        result = _finish(request, context, None)
        assert KEY not in json.dumps(result)
        return TaskResult.model_validate(result)

    def proposal(self) -> Proposal:
        """The best of a good model."""
        result = self.run(self.propose(1))
        return d.ProposeOutput.model_validate(result.output).proposals[0]

    def kept(self, digest: str) -> Any:
        """An artifact that is JSON."""
        return json.loads(self.store.get(digest))
