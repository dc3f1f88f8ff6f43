"""An archive entry: the slim record of a finished candidate that selection, proposal and reflection work on.

M_t of the paper is a sequence of entries e_i = (z, rho, tau, y, r) in the order of their creation.  What can be derived
from the whole archive (children, frontier, descendant gain) is computed where it is needed, never stored here.
"""

from __future__ import annotations

from pydantic import Field

from poise_lib.resources.base import Model
from poise_lib.resources.candidate import CandidatePhase, Component, Reflection


class Entry(Model):
    """One finished candidate."""

    name: str
    parents: tuple[str, ...] = ()
    round: int = 0
    slot: int = 0
    depth: int = 0
    """Generations from the root along the first parent."""
    title: str = ""
    phase: CandidatePhase = CandidatePhase.ARCHIVED
    """Archived, Rejected or Failed; only archived entries have metrics."""
    mechanisms: tuple[str, ...] = ()
    composition: tuple[Component, ...] = ()
    source_digest: str | None = None
    behaviour_digest: str | None = None
    metrics: dict[str, float] = Field(default_factory=dict)
    utility: float | None = None
    trajectory: dict[str, float] = Field(default_factory=dict)
    """Summary of the training trajectory."""
    reflection: Reflection | None = None
