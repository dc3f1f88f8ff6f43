"""Random compositions, as a search would walk to them, and small archives."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from poise_lib.archive.entry import Entry
from poise_lib.proposal.composition import Composition, component
from poise_lib.proposal.known import GRPO, KNOWN
from poise_lib.proposal.moves import Reference, apply, available
from poise_lib.proposal.repair import repair
from poise_lib.resources.candidate import SelectionTerms
from poise_lib.resources.search import ParentChoice

REFERENCES = tuple(Reference(name, "Pareto", composition) for name, composition in KNOWN.items())
TERMS = SelectionTerms(round=1, score=0.5, pareto=0.4, performance=0.6, diversity=0.5, bayes=0.5)


def walk(seed: int) -> Composition:
    """A composition some random moves away from a known algorithm."""
    rng = np.random.default_rng(seed)
    composition = list(KNOWN.values())[int(rng.integers(len(KNOWN)))]
    for _ in range(int(rng.integers(1, 6))):
        moves = available(composition, REFERENCES)
        chosen = [moves[int(i)] for i in rng.choice(len(moves), size=2, replace=False)]
        composition = apply(composition, chosen, rng) or composition
    return composition


walks = st.integers(0, 10_000).map(walk)


def with_kind(kind: str) -> Composition:
    """GRPO with ``kind`` in it, and what the kind needs."""
    found = repair([*GRPO, component(kind)], keep=frozenset({kind}))
    assert found is not None, kind
    return found


def entry(name: str, composition: Composition, utility: float | None = None, parent: str = "", **more: object) -> Entry:
    """An archived candidate."""
    values = {"title": name.upper(), "parents": (parent,) if parent else (), **more}
    return Entry(name=name, composition=composition, utility=utility, **values)


def choice(name: str, **tiers: tuple[str, ...]) -> ParentChoice:
    """A selected parent."""
    return ParentChoice(name=name, terms=TERMS, **tiers)
