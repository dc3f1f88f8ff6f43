"""Small archives for tests: entries, candidates and evaluations with only what a test is about."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from poise_lib.archive.entry import Entry
from poise_lib.artifacts.digest import digest_of
from poise_lib.resources import Candidate, Evaluation, Search
from poise_lib.resources.candidate import CandidatePhase, Component
from poise_lib.resources.suites import Suite, SuiteBenchmark

PAIR = Suite(
    name="pair", benchmarks=(SuiteBenchmark(name="a", weight=0.75, pass_k=8), SuiteBenchmark(name="b", weight=0.25))
)
"""Two benchmarks: U = .75 a + .25 b."""


def entry(name: str, *parents: str, value: float | None = None, **fields: Any) -> Entry:
    """An archived entry whose metrics on :data:`PAIR` both equal ``value``, so that its utility does too."""
    metrics = {} if value is None else {"a": value, "b": value}
    return Entry(name=name, parents=parents, **{"metrics": metrics, **fields})


def composition(**kinds: str) -> tuple[Component, ...]:
    """One component a slot, without parameters."""
    return tuple(Component(slot=slot, kind=kind) for slot, kind in kinds.items())


def grown_archive(count: int, seed: int) -> list[Entry]:
    """A random tree of ``count`` entries on :data:`PAIR`: some rejected, with compositions and learning curves."""
    rng = random.Random(seed)
    entries: list[Entry] = []
    for i in range(count):
        parent = rng.choice(entries) if entries else None
        rejected = parent is not None and rng.random() < 0.1
        level = parent.metrics.get("a", 50.0) if parent else 50.0
        entries.append(
            Entry(
                name=f"c{i:03d}",
                parents=(parent.name,) if parent else (),
                round=(i + 2) // 3,
                slot=i % 3,
                phase=CandidatePhase.REJECTED if rejected else CandidatePhase.ARCHIVED,
                composition=(
                    Component(slot="scale", kind=rng.choice("xyz"), parameters={"floor": rng.random()}),
                    Component(slot="baseline", kind=rng.choice("uvw")),
                ),
                metrics={} if rejected else {"a": level + rng.gauss(0.5, 2), "b": rng.uniform(30, 70)},
                trajectory={"actor/entropy.last": rng.random(), "actor/entropy.first": rng.random()},
            )
        )
    return entries


def search(**spec: Any) -> Search:
    """A search named "s" over the default suite."""
    return Search.model_validate({"metadata": {"name": "s"}, "spec": {"budget": {"candidates": 8}, **spec}})


def candidate(name: str, *parents: str, source: str | None = "x = 1", **changes: Any) -> Candidate:
    """An archived candidate of the search "s"; ``changes`` go to status, or to spec for round, slot and search."""
    spec: dict[str, Any] = {"search": "s", "parents": parents, "proposal": {"title": name, "hypothesis": "none"}}
    spec |= {key: changes.pop(key) for key in ("round", "slot", "search") if key in changes}
    status: dict[str, Any] = {"phase": "Archived", "metrics": {"a": 1.0}, "utility": 1.0, **changes}
    if source is not None:
        status["implementation"] = {"source": source, "digest": digest_of(source.encode())}
    return Candidate.model_validate({"metadata": {"name": name}, "spec": spec, "status": status})


def evaluation(owner: str, seed: int, metrics: Mapping[str, float], **status: Any) -> Evaluation:
    """A complete evaluation of ``owner`` in the search "s"."""
    return Evaluation.model_validate(
        {
            "metadata": {"name": f"{owner}-{seed}"},
            "spec": {"search": "s", "candidate": owner, "seed": seed},
            "status": {"phase": "Complete", "metrics": dict(metrics), **status},
        }
    )
