"""The Library proposer: N ranked proposals for one parent, composed from the grammar, with no language model.

Moves are drawn by what the archive says of them (credit, advice, curiosity); crossing partners come from the parent's
context tiers; screening ranks what comes out.  Every (round, slot) has its own random stream, so that parents of a
round that are proposed on at the same time do not think the same thoughts, and the same search thinks them again.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from poise_lib.archive.entry import Entry
from poise_lib.errors import InvalidInputError
from poise_lib.proposal import wording
from poise_lib.proposal.composition import canonical, difference, signature
from poise_lib.proposal.credit import learn, lineage_of
from poise_lib.proposal.known import composition_of
from poise_lib.proposal.moves import Move, Reference, apply, available, probabilities
from poise_lib.proposal.screening import Archived, Draft, rank
from poise_lib.resources.candidate import Proposal
from poise_lib.resources.objective import Objective
from poise_lib.resources.search import ParentChoice, Strategy

POOL = 6
"""Drafts screened per proposal wanted."""
PATIENCE = 40
"""Draws per proposal wanted before the pool is taken as it is."""
MOVE_COUNTS = ((1, 0.55), (2, 0.35), (3, 0.10))
"""Atomic moves in a proposal: mostly one, so that its effect can be told; at times more, to leap."""
MAX_MECHANISMS = 16


@dataclass(frozen=True, slots=True)
class _Drawn:
    draft: Draft
    moves: tuple[Move, ...]


def propose(
    parent: ParentChoice,
    archive: Sequence[Entry],
    strategy: Strategy,
    *,
    round: int,
    slot: int,
    seed: int,
    objective: Objective | None = None,
) -> tuple[Proposal, ...]:
    """Up to ``strategy.proposals_per_parent`` proposals for one parent, best first.

    None has the composition of an archived entry, before or after its repairs, or of another in the list.

    Args:
        parent: the selected parent with its terms and reference tiers.
        archive: all finished candidates, in the order of their creation.
        strategy: how many proposals.
        round: round of the search that the child will belong to.
        slot: place of the child in its round.
        seed: of the search.
        objective: what counts; None for the suite's own. Kinds that serve its metrics are tried more often.

    Raises:
        InvalidInputError: the archive does not hold the parent.
    """
    by_name = {entry.name: entry for entry in archive}
    if parent.name not in by_name:
        raise InvalidInputError(f"parent {parent.name!r} is not in the archive of {len(archive)} entries")
    entry = by_name[parent.name]
    rng = np.random.default_rng([seed, round, slot, zlib.crc32(parent.name.encode())])
    credit = learn(archive, lineage_of(parent.name, archive), objective)
    moves = available(composition_of(entry), _references(parent, by_name))
    weights = probabilities(moves, credit)
    drawn = _draw(entry, archive, moves, weights, rng, strategy.proposals_per_parent)
    known = [Archived(other.title or other.name, composition_of(other)) for other in archive]
    ranked = rank([item.draft for item in drawn], credit, known, strategy.proposals_per_parent)
    moves_of = {signature(item.draft.composition): item.moves for item in drawn}
    taken = {other.title for other in archive}
    proposals = []
    for draft, screening in ranked:
        name = wording.title(draft.change, taken)
        taken.add(name)
        proposals.append(
            Proposal(
                title=name,
                hypothesis=wording.hypothesis(entry, draft.change),
                expected_effect=wording.expected_effect(draft.change),
                rationale=wording.rationale(
                    entry, parent.terms, moves_of[signature(draft.composition)], draft.change, credit, by_name
                ),
                mechanisms=draft.change.changed[:MAX_MECHANISMS],
                composition=draft.composition,
                screening=screening,
            )
        )
    return tuple(proposals)


def _references(parent: ParentChoice, by_name: dict[str, Entry]) -> tuple[Reference, ...]:
    """The entries of the context tiers, each once, under the first tier that names it."""
    found: dict[str, Reference] = {}
    own = by_name[parent.name]
    for tier, names in (
        ("Pareto", parent.pareto),
        ("complementary", parent.complementary),
        ("exploratory", parent.exploratory),
    ):
        for name in names:
            if name in by_name and name != parent.name:
                found.setdefault(name, Reference(name, tier, composition_of(by_name[name]), _lead(by_name[name], own)))
    return tuple(found.values())


def _lead(reference: Entry, parent: Entry) -> float:
    if reference.utility is None or parent.utility is None:
        return 0.0
    return reference.utility - parent.utility


def _draw(
    parent: Entry,
    archive: Sequence[Entry],
    moves: Sequence[Move],
    weights: np.ndarray[tuple[int], np.dtype[np.float64]],
    rng: np.random.Generator,
    wanted: int,
) -> list[_Drawn]:
    """Distinct drafts that the archive does not hold."""
    start = composition_of(parent)
    seen = {signature(composition_of(entry)) for entry in archive} | {signature(start)}
    # What repairs had to change would have to be repaired again.
    seen |= {signature(canonical(entry.proposed)) for entry in archive if entry.proposed}
    counts, shares = zip(*MOVE_COUNTS, strict=True)
    drawn: list[_Drawn] = []
    for _ in range(PATIENCE * wanted):
        if len(drawn) >= POOL * wanted:
            break
        count = int(rng.choice(counts, p=shares))
        picked = rng.choice(len(moves), size=min(count, len(moves)), replace=False, p=weights)
        chosen = tuple(moves[int(i)] for i in picked)
        composition = apply(start, chosen, rng)
        if composition is None or signature(composition) in seen:
            continue
        seen.add(signature(composition))
        intended = frozenset(name for move in chosen for name in (move.kind, move.replaced) if name)
        precedent = max(move.precedent for move in chosen)
        drawn.append(_Drawn(Draft(composition, difference(start, composition), intended, precedent), chosen))
    return drawn
