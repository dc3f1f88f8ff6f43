"""The lineage of a search as data for drawing: who descends from whom, what it gained, which path led to the best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from poise_lib.archive.lineage import Lineage
from poise_lib.plain import clean
from poise_lib.resources import Candidate, Search
from poise_lib.resources.candidate import FINAL_CANDIDATE_PHASES, CandidatePhase
from poise_lib.resources.search import Verdict


@dataclass(frozen=True)
class TreeNode:
    """One candidate as drawn; all text is clean."""

    name: str
    label: str
    """The name without the search's: ``003-1``."""
    title: str
    phase: CandidatePhase
    depth: int
    utility: float | None
    gain: float | None
    """Utility over the first parent's."""
    over_baseline: float | None
    parents: tuple[str, ...]
    reason: str
    verdict: Verdict | None
    best: bool
    on_best_path: bool
    children: tuple[TreeNode, ...]

    @property
    def final(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.phase in FINAL_CANDIDATE_PHASES

    def walk(self) -> list[TreeNode]:
        """This node and all below it, parents before children, in drawing order."""
        found, stack = [], [self]
        while stack:
            node = stack.pop()
            found.append(node)
            stack.extend(reversed(node.children))
        return found

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form with camelCase keys and nested children."""
        return {
            "name": self.name, "title": self.title, "phase": self.phase.value, "depth": self.depth,
            "utility": self.utility, "gain": self.gain, "overBaseline": self.over_baseline,
            "parents": list(self.parents), "reason": self.reason,
            "verdict": self.verdict.value if self.verdict else None, "best": self.best, "onBestPath": self.on_best_path,
            "children": [child.to_dict() for child in self.children],
        }  # fmt: skip


@dataclass(frozen=True)
class _Link:
    """What :class:`~poise_lib.archive.lineage.Lineage` needs to know of a candidate."""

    name: str
    parents: tuple[str, ...]


def short_name(search: str, name: str) -> str:
    """``003-1`` for ``my-search-003-1``; other names stay as they are."""
    return name.removeprefix(f"{search}-")


def build_forest(search: Search, candidates: Sequence[Candidate]) -> tuple[TreeNode, ...]:
    """The roots of the lineage with all below them; one root, the baseline, unless candidates were written by hand.

    Crossed candidates hang under their first parent and name the others.
    """
    by_name = {item.metadata.name: item for item in candidates}
    lineage = Lineage.of(_Link(item.metadata.name, item.spec.parents) for item in candidates)
    depths = lineage.depths()
    best = search.status.best.candidate if search.status.best else None
    path = set(lineage.line(best)) if best in by_name and best is not None else set()
    verdicts = _verdicts(search)
    utilities = {name: item.status.utility for name, item in by_name.items()}
    order = sorted(candidates, key=lambda item: (item.spec.round, item.spec.slot, item.metadata.name))
    below: dict[str, list[str]] = {}
    for item in order:
        parents = lineage.parents[item.metadata.name]
        if parents:
            below.setdefault(parents[0], []).append(item.metadata.name)
    baseline = next((utilities[item.metadata.name] for item in order if not lineage.parents[item.metadata.name]), None)
    built: dict[str, TreeNode] = {}
    for name in reversed(lineage.order):  # children before parents
        item, parents = by_name[name], lineage.parents[name]
        built[name] = TreeNode(
            name=name,
            label=short_name(search.metadata.name, name),
            title=clean(item.spec.proposal.title),
            phase=item.status.phase,
            depth=depths[name],
            utility=utilities[name],
            gain=_difference(utilities[name], utilities[parents[0]]) if parents else None,
            over_baseline=_difference(utilities[name], baseline) if parents else None,
            parents=parents,
            reason=clean(item.status.reason),
            verdict=verdicts.get(name),
            best=name == best,
            on_best_path=name in path,
            children=tuple(built[child] for child in below.get(name, ())),
        )
    return tuple(built[item.metadata.name] for item in order if not lineage.parents[item.metadata.name])


def _verdicts(search: Search) -> dict[str, Verdict]:
    best = search.status.best
    if best is None:
        return {}
    confirmed = [*best.others, *((best.confirmation,) if best.confirmation else ())]
    return {item.candidate: item.verdict for item in confirmed}


def _difference(value: float | None, reference: float | None) -> float | None:
    return None if value is None or reference is None else value - reference
