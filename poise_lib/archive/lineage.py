"""The lineage of an archive: who descends from whom, how deep, and how the best grew with depth and with evaluations.

The paper's lineage is a tree.  A crossed candidate has several parents, the first of which gave it its line:
``depth``, ``root`` and the tree that is drawn follow first parents; ``descendants`` and ``ancestors`` follow every link
and count the shortest way.  With one parent each, both readings agree.

Archives are edited by hand as well.  A parent that is not there is ignored.  Links that close a cycle are dropped,
in a way that does not depend on the order of the nodes, so nothing here can loop for ever.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol


class Node(Protocol):
    """What a lineage needs to know of an entry or a candidate."""

    @property
    def name(self) -> str:
        """Unique in the archive."""
        ...

    @property
    def parents(self) -> tuple[str, ...]:
        """Names of the parents; the first gave the line."""
        ...


@dataclass(frozen=True, slots=True)
class Lineage:
    """An acyclic graph over the nodes of an archive; build it with :meth:`of`."""

    parents: Mapping[str, tuple[str, ...]]
    """Known parents of each node; missing ones, and links of a cycle, are left out."""
    children: Mapping[str, tuple[str, ...]]
    """Children of each node, by name."""
    order: tuple[str, ...]
    """All nodes, every parent before its children."""

    @classmethod
    def of(cls, nodes: Iterable[Node]) -> Lineage:
        """The lineage of ``nodes``, in whatever order they come.

        Raises:
            ValueError: two nodes have the same name.
        """
        given: dict[str, tuple[str, ...]] = {}
        for node in nodes:
            if node.name in given:
                raise ValueError(f"two entries are named {node.name!r}")
            given[node.name] = node.parents
        links = {
            name: tuple(dict.fromkeys(parent for parent in given[name] if parent in given and parent != name))
            for name in sorted(given)
        }
        tangled = _tangled(links)
        if tangled:
            links = {
                name: tuple(parent for parent in parents if name not in tangled or parent not in tangled)
                for name, parents in links.items()
            }
        children = _reversed(links)
        return cls(links, {name: tuple(below) for name, below in children.items()}, _topological(links, children))

    def roots(self) -> tuple[str, ...]:
        """Nodes without a known parent, by name."""
        return tuple(name for name, parents in self.parents.items() if not parents)

    def depths(self) -> dict[str, int]:
        """Generations from the root along first parents, for every node."""
        depths: dict[str, int] = {}
        for name in self.order:
            parents = self.parents[name]
            depths[name] = depths[parents[0]] + 1 if parents else 0
        return depths

    def line(self, name: str) -> tuple[str, ...]:
        """The way from the root to ``name`` along first parents, both included."""
        way = [name]
        while parents := self.parents[way[-1]]:
            way.append(parents[0])
        return tuple(reversed(way))

    def root(self, name: str) -> str:
        """Where the line of ``name`` begins."""
        return self.line(name)[0]

    def descendants(self, name: str) -> dict[str, int]:
        """Every descendant with its generations below ``name``, nearest first."""
        return _walk(name, self.children)

    def ancestors(self, name: str) -> dict[str, int]:
        """Every ancestor with its generations above ``name``, nearest first."""
        return _walk(name, self.parents)


def best_by_depth(lineage: Lineage, utilities: Mapping[str, float]) -> tuple[tuple[int, str, float], ...]:
    """Best node at each depth that has one: (depth, name, utility); the first name wins a tie."""
    depths = lineage.depths()
    best: dict[int, tuple[float, str]] = {}
    for name in sorted(utilities):
        depth, value = depths[name], utilities[name]
        if depth not in best or value > best[depth][0]:
            best[depth] = (value, name)
    return tuple((depth, best[depth][1], best[depth][0]) for depth in sorted(best))


def cumulative_best(steps: Iterable[tuple[int, str, float]]) -> tuple[tuple[int, str, float], ...]:
    """The steps at which a new best was reached, from (position, name, utility) in order of position.

    Positions are evaluations, or depths from :func:`best_by_depth`.
    """
    records: list[tuple[int, str, float]] = []
    for position, name, value in steps:
        if not records or value > records[-1][2]:
            records.append((position, name, value))
    return tuple(records)


def _walk(start: str, links: Mapping[str, tuple[str, ...]]) -> dict[str, int]:
    """Breadth first from ``start``, which is not part of the answer."""
    distance = {start: 0}
    queue = deque([start])
    while queue:
        here = queue.popleft()
        for neighbour in links[here]:
            if neighbour not in distance:
                distance[neighbour] = distance[here] + 1
                queue.append(neighbour)
    del distance[start]
    return distance


def _reversed(links: Mapping[str, tuple[str, ...]]) -> dict[str, list[str]]:
    turned: dict[str, list[str]] = {name: [] for name in links}
    for name, targets in links.items():
        for target in targets:
            turned[target].append(name)
    return turned


def _tangled(links: Mapping[str, tuple[str, ...]]) -> frozenset[str]:
    """Nodes on a cycle, or on a way from one cycle to another: what peeling off roots, then leaves, leaves over."""
    children = _reversed(links)
    left = set(links)
    for above, below in ((links, children), (children, links)):
        waiting = {name: sum(other in left for other in above[name]) for name in left}
        free = [name for name, count in waiting.items() if count == 0]
        while free:
            name = free.pop()
            left.discard(name)
            for other in below[name]:
                if other in left:
                    waiting[other] -= 1
                    if waiting[other] == 0:
                        free.append(other)
    return frozenset(left)


def _topological(links: Mapping[str, tuple[str, ...]], children: Mapping[str, list[str]]) -> tuple[str, ...]:
    """Parents before children (Kahn); deterministic, because ``links`` is sorted by name."""
    waiting = {name: len(parents) for name, parents in links.items()}
    ready = deque(name for name, count in waiting.items() if count == 0)
    order: list[str] = []
    while ready:
        name = ready.popleft()
        order.append(name)
        for child in children[name]:
            waiting[child] -= 1
            if waiting[child] == 0:
                ready.append(child)
    return tuple(order)
