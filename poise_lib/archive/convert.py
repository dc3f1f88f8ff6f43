"""From candidates to the slim entries that selection, proposal and reflection work on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from poise_lib.archive.entry import Entry
from poise_lib.archive.lineage import Lineage
from poise_lib.resources.candidate import FINAL_CANDIDATE_PHASES, Candidate, CandidatePhase


@dataclass(frozen=True, slots=True)
class _Node:
    name: str
    parents: tuple[str, ...]


def entry_from_candidate(candidate: Candidate, depth: int) -> Entry:
    """The entry of one candidate, ``depth`` generations from its root.

    Only an archived candidate keeps its metrics and utility: what a rejected or failed one left behind is no score.
    """
    spec, status = candidate.spec, candidate.status
    archived = status.phase is CandidatePhase.ARCHIVED
    # What was run, not what was proposed; code that is no rendering has only the proposal's word for it.
    composition = (status.implementation.composition if status.implementation else ()) or spec.proposal.composition
    return Entry(
        name=candidate.metadata.name,
        parents=spec.parents,
        round=spec.round,
        slot=spec.slot,
        depth=depth,
        title=spec.proposal.title,
        phase=status.phase,
        mechanisms=spec.proposal.mechanisms,
        composition=composition,
        proposed=spec.proposal.composition if composition != spec.proposal.composition else (),
        reason=status.reason,
        source_digest=status.implementation.digest if status.implementation else None,
        behaviour_digest=status.verification.behaviour_digest if status.verification else None,
        metrics=status.metrics if archived else {},
        utility=status.utility if archived else None,
        trajectory=status.trajectory,
        reflection=status.reflection,
    )


def entries(candidates: Iterable[Candidate]) -> tuple[Entry, ...]:
    """Entries of the candidates that are final, in (round, slot, name) order, whatever order they come in.

    Depths follow first parents through all the candidates given; one whose parent is missing begins a line of its own.

    Raises:
        ValueError: two candidates have the same name.
    """
    known = tuple(candidates)
    depths = Lineage.of(_Node(candidate.metadata.name, candidate.spec.parents) for candidate in known).depths()
    final = (candidate for candidate in known if candidate.status.phase in FINAL_CANDIDATE_PHASES)
    ordered = sorted(final, key=lambda c: (c.spec.round, c.spec.slot, c.metadata.name))
    return tuple(entry_from_candidate(candidate, depths[candidate.metadata.name]) for candidate in ordered)
