"""A stand-in for a shell: applies actions in memory, and answers tasks by pure functions of their input.

It replaces processes and training, so that the planner can be driven through thousands of histories.  The real shell is
tested in tests/integration/test_local_run.py.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from typing import Any

from poise_lib.resources import Candidate, Evaluation, Search
from poise_lib.resources.suites import SuiteFile, suite_of
from poise_lib.search import Create, Observed, StartTask, TaskObservation, TaskState, Update, plan
from poise_lib.tasks.protocol import TaskKind, TaskRequest, TaskResult

Answer = Callable[[TaskRequest], TaskResult]
DIGEST = "sha256:" + "0" * 64


def make_search(**spec: Any) -> Search:
    spec.setdefault("budget", {"candidates": 6})
    spec.setdefault("evaluation", {"confirmation": {"top": 2, "seeds": 2}})
    return Search.model_validate({"metadata": {"name": "s"}, "spec": spec})


def _number(*parts: Any) -> float:
    """A number in [0, 1) that depends on the parts only."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "big") / 2**32


def answer(request: TaskRequest) -> TaskResult:
    """A plausible output for any request: the same for the same input."""
    document = request.input
    match request.kind:
        case TaskKind.SELECT:
            names = [e["name"] for e in document["entries"] if e["phase"] == "Archived"]
            terms = {
                "round": document["round"],
                "score": 0.5,
                "pareto": 0,
                "performance": 0,
                "diversity": 0,
                "bayes": 0,
            }
            chosen = [names[int(_number(request.digest, i) * len(names))] for i in range(document["count"])]
            parents = [{"name": name, "terms": terms} for name in chosen]
            return TaskResult(output={"selection": {"round": document["round"], "parents": parents}})
        case TaskKind.PROPOSE:
            proposals = [
                {
                    "title": f"idea {index}",
                    "hypothesis": "h",
                    "composition": [{"slot": "x", "kind": "y", "parameters": {"v": _number(request.digest, index)}}],
                }
                for index in range(2)
            ]
            return TaskResult(output={"proposals": proposals})
        case TaskKind.IMPLEMENT:
            return TaskResult(output={"source": f"source of {request.digest}", "message": ""})
        case TaskKind.VERIFY:
            passed = _number(request.digest) > 0.15 or not document["parentDigests"]
            digest = "sha256:" + hashlib.sha256(document["source"].encode()).hexdigest()
            finding = {"name": "shape", "status": "failed", "evidence": "e", "hint": "h"}
            verification = {
                "passed": passed,
                "revision": document["revision"],
                "checks": 3,
                "findings": [] if passed else [finding],
                "behaviourDigest": digest,
            }
            return TaskResult(output={"verification": verification})
        case TaskKind.TRAIN:
            return TaskResult(
                output={
                    "policy": "sha256:" + hashlib.sha256(request.digest.encode()).hexdigest(),
                    "trajectory": [{"actor/entropy": 0.5}],
                    "trajectoryArtifact": DIGEST,
                    "summary": {"actor/entropy.last": 0.5},
                    "seconds": 1.0,
                }
            )
        case TaskKind.SCORE:
            given = document.get("suiteDefinition")
            definition = SuiteFile.model_validate(given) if given is not None else None
            names = suite_of(document["suite"], definition).metric_names()
            metrics = {name: round(100 * _number(request.digest, name), 3) for name in sorted(names)}
            return TaskResult(output={"metrics": metrics, "records": DIGEST, "seconds": 1.0})
        case TaskKind.REFLECT:
            return TaskResult(output={"reflection": {"diagnosis": "d"}})
        case TaskKind.CONCLUDE:
            confirmed = [
                {
                    "candidate": name,
                    "mean": 1.0,
                    "baselineMean": 0.0,
                    "difference": sum(values) / len(values),
                    "low": -1.0,
                    "high": 2.0,
                    "seeds": len(values),
                    "verdict": "NotShownToBeBetter",
                }
                for name, values in document["arms"].items()
            ]
            return TaskResult(output={"confirmed": confirmed})
        case TaskKind.COLLECT:
            return TaskResult(output={"removed": len(document["remove"])})
        case TaskKind.CHECK:
            return TaskResult(output={"structuredOutput": "JSONSchema"})
        case TaskKind.DISTILL:
            names = [entry["name"] for entry in document["entries"]]
            return TaskResult(output={"principles": [{"statement": "p", "supports": names[:2]}]})


class World:
    """Objects, tasks and a store of results; time passes by hand."""

    def __init__(self, search: Search, respond: Answer = answer) -> None:
        self.search = search
        self.respond = respond
        self.candidates: dict[str, Candidate] = {}
        self.evaluations: dict[str, Evaluation] = {}
        self.store: dict[str, TaskResult] = {}
        self.results: dict[str, TaskResult] = {}
        self.running: dict[str, TaskRequest] = {}
        self.lost: dict[str, int] = {}
        self.started: list[str] = []
        self.most_running = 0
        self.now = 1_000_000.0

    def observe(self) -> Observed:
        tasks = {name: TaskObservation(name, TaskState.LOST, None, count, "lost") for name, count in self.lost.items()}
        tasks |= {name: TaskObservation(name, TaskState.RUNNING) for name in self.running}
        tasks |= {name: TaskObservation(name, TaskState.ENDED, result) for name, result in self.results.items()}
        return Observed(self.search, dict(self.candidates), dict(self.evaluations), tasks, self.now)

    def apply(self, actions: tuple[Any, ...]) -> None:
        for action in actions:
            match action:
                case Create(resource) | Update(resource):
                    if isinstance(resource, Search):
                        self.search = resource
                    elif isinstance(resource, Candidate):
                        self.candidates[resource.metadata.name] = resource
                    else:
                        self.evaluations[resource.metadata.name] = resource
                case StartTask(request):
                    if request.digest in self.store:
                        self.results[request.name] = self.store[request.digest]
                    elif request.name not in self.running:
                        self.running[request.name] = request
                        self.started.append(request.name)
        self.most_running = max(self.most_running, len(self.running))

    def settle(self, chance: random.Random | None = None, crash: float = 0.0) -> None:
        """Plan and apply until the planner asks for nothing more; the shell may die between any two actions."""
        for _ in range(1000):
            actions = plan(self.observe())
            if not actions:
                return
            if chance is not None and chance.random() < crash:
                self.apply(actions[: chance.randrange(len(actions))])
                self.crash()
            else:
                self.apply(actions)
        raise AssertionError("the planner never comes to rest")

    def finish(self, name: str) -> None:
        """A running task ends with its result."""
        request = self.running.pop(name)
        self.store[request.digest] = self.results[name] = self.respond(request)

    def lose(self, name: str) -> None:
        """A running task ends without a result."""
        del self.running[name]
        self.lost[name] = self.lost.get(name, 0) + 1

    def crash(self) -> None:
        """The shell dies: objects and stored results stay, everything in memory goes."""
        self.running.clear()
        self.results.clear()
        self.lost.clear()

    def run(self, chance: random.Random, *, crash: float = 0.0, lose: float = 0.0, steps: int = 5000) -> None:
        """Drive the search to its end in an order of ``chance``'s choosing."""
        for _ in range(steps):
            self.settle(chance, crash)
            if not self.running:
                return
            draw = chance.random()
            if draw < crash:
                self.crash()
                continue
            name = chance.choice(sorted(self.running))
            if draw < crash + lose:
                self.lose(name)
            else:
                self.finish(name)
            self.now += 1.0
        raise AssertionError("the search does not end")
