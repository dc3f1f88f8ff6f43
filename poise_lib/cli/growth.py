"""How the best grew: by evaluation and by depth, the two curves of the paper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from poise_lib.archive.lineage import cumulative_best
from poise_lib.cli.lineage import TreeNode
from poise_lib.resources import Candidate


@dataclass(frozen=True)
class Growth:
    """Every score in order, the running best after each, and the running best at each depth."""

    scores: tuple[tuple[int, float], ...]
    """(evaluation from 1, utility)."""
    best: tuple[tuple[int, float], ...]
    """(evaluation from 1, best so far)."""
    records: tuple[tuple[int, str, float], ...]
    """(evaluation, title, utility) where a new best was reached."""
    by_depth: tuple[tuple[int, float], ...]
    """(depth, best at this depth or above)."""


def growth(candidates: Sequence[Candidate], roots: Sequence[TreeNode]) -> Growth:
    """The curves; candidates in order of round and slot, those without a score left out."""
    titles = {node.name: node.title for root in roots for node in root.walk()}
    scored = [(item.metadata.name, item.status.utility) for item in candidates if item.status.utility is not None]
    scores = tuple((index, value) for index, (_, value) in enumerate(scored, 1))
    steps = [(index, titles[name], value) for index, (name, value) in enumerate(scored, 1)]
    depths = sorted((node.depth, node.utility) for root in roots for node in root.walk() if node.utility is not None)
    return Growth(scores, _running(scores), cumulative_best(steps), tuple(dict(_running(depths)).items()))


def _running(points: Sequence[tuple[int, float]]) -> tuple[tuple[int, float], ...]:
    best, out = float("-inf"), []
    for position, value in points:
        best = max(best, value)
        out.append((position, best))
    return tuple(out)
