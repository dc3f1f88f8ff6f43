"""Repair: make a changed composition consistent again without giving up the change itself."""

from __future__ import annotations

from collections.abc import Iterable

from poise_lib.proposal.catalogue import GRAMMAR
from poise_lib.proposal.composition import Composition, canonical, clash, component, kinds, problems, unmet
from poise_lib.proposal.grammar import CAPACITY, REQUIRED_SLOTS, Kind, Slot
from poise_lib.resources.candidate import Component

_ROUNDS = 12
"""Each round settles one problem; compositions have at most 24 components."""


def repair(components: Iterable[Component], keep: frozenset[str] = frozenset()) -> Composition | None:
    """The nearest consistent composition that still holds every kind of ``keep``.

    What ``keep`` lacks is supplied by the first kind that provides it; what stands in its way is dropped.

    Returns:
        None when the kinds of ``keep`` cannot stand together.
    """
    composition = canonical(components)
    for _ in range(_ROUNDS):
        if not problems(composition):
            return composition
        settled = _settle(composition, keep)
        if settled is None:
            return None
        composition, supplied = settled
        keep |= supplied
    return None


def _settle(composition: Composition, keep: frozenset[str]) -> tuple[Composition, frozenset[str]] | None:
    """Settle the first problem; None when only a kind of ``keep`` could give way.

    Returns the new composition, and the kinds in it that were supplied and must be kept from now on.
    """
    present = kinds(composition)
    for slot in Slot:
        filling = [kind for kind in present if kind.slot is slot]
        if len(filling) > CAPACITY.get(slot, 1):
            return _drop(composition, filling, keep)
    for i, kind in enumerate(present):
        for other in present[i + 1 :]:
            if clash(kind, other):
                return _drop(composition, (kind, other), keep)
    for i, kind in enumerate(present):
        if unmet(kind, present[:i]):
            return _supply(composition, kind, keep) if kind.name in keep else _drop(composition, (kind,), keep)
    return composition, frozenset()


def _drop(
    composition: Composition, candidates: Iterable[Kind], keep: frozenset[str]
) -> tuple[Composition, frozenset[str]] | None:
    """Without the first of ``candidates`` that is not kept; a required slot then falls back to its neutral kind."""
    for kind in candidates:
        if kind.name in keep:
            continue
        if kind.slot in REQUIRED_SLOTS and kind is GRAMMAR.neutral(kind.slot):
            # Dropping the neutral kind helps only where another kind of its slot stays.
            rivals = [part for part in composition if part.slot == kind.slot.value and part.kind != kind.name]
            if not rivals:
                continue
        return canonical(part for part in composition if part.kind != kind.name), frozenset()
    return None


def _supply(composition: Composition, kind: Kind, keep: frozenset[str]) -> tuple[Composition, frozenset[str]] | None:
    """Add or swap in the first kind that gives ``kind`` one of the facts that it lacks."""
    present = kinds(composition)
    facts = {
        fact for other in present if GRAMMAR.order(other.name) < GRAMMAR.order(kind.name) for fact in other.provides
    }
    missing = kind.requires - facts or kind.any_of
    for provider in GRAMMAR.kinds.values():
        if GRAMMAR.order(provider.name) >= GRAMMAR.order(kind.name):
            break
        if not provider.provides & missing or clash(provider, kind):
            continue
        kept = [other for other in present if other.name in keep]
        if any(clash(provider, other) for other in kept):
            continue
        filling = [other for other in kept if other.slot is provider.slot]
        if len(filling) >= CAPACITY.get(provider.slot, 1):
            continue
        crowded = [part for part in composition if part.slot == provider.slot.value and part.kind not in keep]
        room = CAPACITY.get(provider.slot, 1) - len(filling)
        leaving = {part.kind for part in crowded[: max(0, len(crowded) - room + 1)]}
        rest = [part for part in composition if part.kind not in leaving]
        return canonical([*rest, component(provider.name)]), frozenset({provider.name})
    return None
