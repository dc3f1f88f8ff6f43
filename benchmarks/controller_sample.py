"""A real archived candidate and its evaluation, and many that are like them, for bench_controller.

``controller_sample.jsonl`` holds candidate 001-0 of a real search, ``poise run`` with the standard protocol of 30 steps:
12 kB as JSON, half of it source, and an evaluation of 19 kB, most of it the trajectory.  Copies of it differ in names, parents,
digests, a line of the source, and metrics.
"""

from __future__ import annotations

import copy
import hashlib
import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from poise_lib.archive.utility import utility
from poise_lib.artifacts.digest import digest_of
from poise_lib.names import (
    ANNOTATION_DEPTH,
    ANNOTATION_DIGEST,
    ANNOTATION_PARENTS,
    ANNOTATION_ROOT,
    ANNOTATION_UTILITY,
    API_VERSION,
    LABEL_CANDIDATE,
    LABEL_FIDELITY,
    LABEL_ROUND,
    LABEL_SEARCH,
)
from poise_lib.resources.evaluation import Fidelity
from poise_lib.resources.search import Objective
from poise_lib.resources.suites import SUITES
from poise_lib.search.naming import candidate_name, evaluation_name

Document = dict[str, Any]

FILE: Final = Path(__file__).with_suffix(".jsonl")
SLOTS: Final = 3
"""Candidates a round, as many as the paper keeps parents."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The pieces of the real candidate and its real evaluation."""

    candidate: Document
    evaluation: Document

    @classmethod
    def load(cls) -> Sample:
        """Read the file."""
        candidate, evaluation = map(json.loads, FILE.read_text(encoding="utf-8").splitlines())
        return cls(candidate, evaluation)

    @property
    def sizes(self) -> tuple[int, int]:
        """Bytes of each as compact JSON."""
        candidate, evaluation = (
            len(json.dumps(one, separators=(",", ":"))) for one in (self.candidate, self.evaluation)
        )
        return candidate, evaluation

    @property
    def composition(self) -> list[Document]:
        """What the code is composed of."""
        found: list[Document] = self.candidate["status"]["implementation"]["composition"]
        return found

    @property
    def verification(self) -> Document:
        """The verdict on it."""
        found: Document = self.candidate["status"]["verification"]
        return found

    @property
    def reflection(self) -> Document:
        """The diagnosis."""
        found: Document = self.candidate["status"]["reflection"]
        return found

    @property
    def trajectory(self) -> list[Document]:
        """The steps of its training."""
        found: list[Document] = self.evaluation["status"]["trajectory"]
        return found

    @property
    def summary(self) -> Document:
        """The summary of it."""
        found: Document = self.evaluation["status"]["summary"]
        return found

    def source(self, mark: str) -> str:
        """The code, another one for another mark."""
        return f"{self.candidate['status']['implementation']['source']}# {mark}\n"

    def proposal(self, component: Document, mark: str, index: int) -> Document:
        """The proposal with one more component; its title is another one for another mark."""
        own: Document = self.candidate["spec"]["proposal"]
        more = {**component, "parameters": {**component["parameters"], "index": float(index)}}
        return {**own, "title": f"{own['title']} {mark[-6:]}/{index}", "composition": [*own["composition"], more]}


@dataclass(frozen=True, slots=True)
class Archive:
    """A finished search: its baseline, then rounds of three, each child of an earlier candidate.

    Args:
        search: name of the search.
        size: how many candidates it has.
        seed: of everything random.
    """

    sample: Sample
    search: str
    size: int
    seed: int

    def name(self, index: int) -> str:
        """Name of a candidate; the baseline has index 0."""
        return candidate_name(self.search, *self._place(index))

    def spec(self, **budget: Any) -> Document:
        """The spec of a search that has spent its budget."""
        return {
            "budget": {"candidates": self.size, "concurrent": 1, **budget},
            "strategy": {"parentsPerRound": SLOTS},
            "evaluation": {"confirmation": {"top": 0}},
        }

    def document(self) -> Document:
        """The Search."""
        return {
            "apiVersion": API_VERSION,
            "kind": "Search",
            "metadata": {"name": self.search},
            "spec": self.spec(),
        }

    def status(self) -> Document:
        """The part of the Search's status that nothing else tells: which round was the last."""
        terms = {"score": 0.5, "pareto": 0.0, "performance": 0.5, "diversity": 0.5, "bayes": 0.0}
        round_ = self._place(self.size - 1)[0]
        return {
            "selection": {"round": round_, "parents": [{"name": self.name(0), "terms": {"round": round_, **terms}}]}
        }

    def candidate(self, index: int) -> Document:
        """A whole Candidate, status included."""
        chance = random.Random(f"{self.seed}/{self.search}/{index}")
        made = copy.deepcopy(self.sample.candidate)
        round_, slot = self._place(index)
        parents = [self.name(chance.randrange(max(1, index - SLOTS)))] if index else []
        source = self.sample.source(self.name(index))
        metrics = self._metrics(index)
        value = round(utility(metrics, Objective(), SUITES["chains-v1"]) or 0.0, 6)
        made["metadata"] = {
            "name": self.name(index),
            "labels": {LABEL_SEARCH: self.search, LABEL_ROUND: str(round_)},
            "annotations": {
                **made["metadata"]["annotations"],
                ANNOTATION_PARENTS: ",".join(parents),
                ANNOTATION_DEPTH: str(min(round_, 20)),
                ANNOTATION_ROOT: self.name(0),
                ANNOTATION_DIGEST: digest_of(source.encode()),
                ANNOTATION_UTILITY: str(value),
            },
        }
        made["spec"] |= {"search": self.search, "parents": parents, "round": round_, "slot": slot}
        behaviour = "sha256:" + hashlib.sha256(self.name(index).encode()).hexdigest()
        made["status"]["implementation"] |= {"source": source, "digest": digest_of(source.encode())}
        made["status"]["verification"] |= {"behaviourDigest": behaviour}
        made["status"] |= {"metrics": metrics, "utility": value, "selections": []}
        return made

    def evaluation(self, index: int, owner: Document) -> Document:
        """The Evaluation of a candidate that the server has."""
        made = copy.deepcopy(self.sample.evaluation)
        name = self.name(index)
        metadata = owner["metadata"]
        made["metadata"] = {
            "name": evaluation_name(name, Fidelity.FULL, 0),
            "labels": {LABEL_SEARCH: self.search, LABEL_CANDIDATE: name, LABEL_FIDELITY: Fidelity.FULL.value},
            "annotations": {ANNOTATION_DIGEST: metadata["annotations"][ANNOTATION_DIGEST]},
            "ownerReferences": [
                {
                    "apiVersion": API_VERSION,
                    "kind": "Candidate",
                    "name": name,
                    "uid": metadata["uid"],
                    "controller": True,
                }
            ],
        }
        made["spec"] |= {"search": self.search, "candidate": name}
        made["status"]["metrics"] = self._metrics(index)
        return made

    def _metrics(self, index: int) -> dict[str, float]:
        chance = random.Random(f"{self.seed}/{self.search}/{index}/metrics")
        metrics: dict[str, float] = self.sample.evaluation["status"]["metrics"]
        return {name: round(value * chance.uniform(0.9, 1.0), 6) for name, value in metrics.items()}

    @staticmethod
    def _place(index: int) -> tuple[int, int]:
        return (0, 0) if index == 0 else ((index - 1) // SLOTS + 1, (index - 1) % SLOTS)
