"""Compositions: canonical form, consistency, repair, difference and distance.

A composition is a tuple of :class:`~poise_lib.resources.candidate.Component` in pipeline order.  Everything here is a
pure function of compositions and :data:`~poise_lib.proposal.catalogue.GRAMMAR`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from poise_lib.proposal.catalogue import GRAMMAR
from poise_lib.proposal.grammar import CAPACITY, REQUIRED_SLOTS, Kind, Slot
from poise_lib.resources.candidate import Component

Composition = tuple[Component, ...]
_RETUNED_WEIGHT = 0.35
"""How far a fully retuned but otherwise equal composition is, on the scale where nothing in common is 1."""


def component(kind: str, parameters: Mapping[str, float] | None = None) -> Component:
    """A component with its kind's defaults, ``parameters`` on top, each kept in its range.

    Raises:
        KeyError: the grammar has no such kind, or the kind no such parameter.
    """
    known = GRAMMAR.kinds[kind]
    values = known.defaults()
    for name, value in (parameters or {}).items():
        tunable = known.parameter(name)
        values[name] = min(max(float(value), tunable.low), tunable.high)
    return Component(slot=known.slot.value, kind=kind, parameters=values)


def canonical(components: Iterable[Component]) -> Composition:
    """Pipeline order, only what the grammar knows, each kind once (the last wins), missing slots filled neutrally."""
    chosen: dict[str, Component] = {}
    for part in components:
        known = GRAMMAR.kinds.get(part.kind)
        if known is not None:
            tunable = {parameter.name for parameter in known.parameters}
            chosen[part.kind] = component(part.kind, {k: v for k, v in part.parameters.items() if k in tunable})
    filled = {GRAMMAR.kinds[name].slot for name in chosen}
    for slot in REQUIRED_SLOTS:
        if slot not in filled:
            neutral = GRAMMAR.neutral(slot).name
            chosen[neutral] = component(neutral)
    return tuple(chosen[name] for name in sorted(chosen, key=GRAMMAR.order))


def kinds(composition: Composition) -> tuple[Kind, ...]:
    """The kinds of a composition's components, in its order."""
    return tuple(GRAMMAR.kinds[part.kind] for part in composition)


def names(composition: Composition) -> frozenset[str]:
    """Names of the kinds in a composition."""
    return frozenset(part.kind for part in composition)


def clash(one: Kind, other: Kind) -> str:
    """Why two kinds cannot stand together, or "" when they can."""
    if other.name in one.conflicts or one.name in other.conflicts:
        return f"{one.name} and {other.name} exclude each other"
    if one.controls and one.controls == other.controls:
        return f"{one.name} and {other.name} both control {one.controls}"
    return ""


def unmet(kind: Kind, before: Iterable[Kind]) -> str:
    """What ``kind`` lacks from the kinds before it in the pipeline, or ""."""
    facts = {fact for earlier in before for fact in earlier.provides}
    for fact in sorted(kind.requires - facts):
        return f"{kind.name} needs that {fact.value}"
    if kind.any_of and not kind.any_of & facts:
        return f"{kind.name} needs that {' or '.join(sorted(fact.value for fact in kind.any_of))}"
    return ""


def problems(composition: Composition) -> tuple[str, ...]:
    """Everything that is inconsistent in a composition, as sentences; empty when it can be rendered."""
    found = []
    present = kinds(composition)
    for slot in Slot:
        count = sum(kind.slot is slot for kind in present)
        if count > CAPACITY.get(slot, 1):
            found.append(f"slot {slot.value} holds {count} components, at most {CAPACITY.get(slot, 1)}")
        if slot in REQUIRED_SLOTS and count == 0:
            found.append(f"slot {slot.value} is empty")
    for i, kind in enumerate(present):
        found += [reason for other in present[i + 1 :] if (reason := clash(kind, other))]
        if reason := unmet(kind, present[:i]):
            found.append(reason)
    return tuple(found)


def signature(composition: Composition) -> tuple[tuple[str, tuple[tuple[str, str], ...]], ...]:
    """A hashable key: equal for compositions that differ by less than the rounding of their parameters."""
    return tuple(
        (part.kind, tuple((name, f"{value:.3g}") for name, value in sorted(part.parameters.items())))
        for part in composition
    )


def position(kind: str, parameter: str, value: float) -> float:
    """Where a parameter stands in its range, in [0, 1]."""
    return GRAMMAR.kinds[kind].parameter(parameter).position(value)


def distance(one: Composition, other: Composition) -> float:
    """How different two compositions are, in [0, 1]: kinds that they do not share, then parameters of those they do."""
    mine, theirs = {part.kind: part for part in one}, {part.kind: part for part in other}
    shared = sorted(mine.keys() & theirs.keys())
    union = len(mine.keys() | theirs.keys())
    apart = 1.0 - len(shared) / union if union else 0.0
    shifts = [
        abs(position(kind, name, value) - position(kind, name, theirs[kind].parameters[name]))
        for kind in shared
        for name, value in mine[kind].parameters.items()
        if name in theirs[kind].parameters
    ]
    retuned = min(1.0, sum(shifts)) if shifts else 0.0
    return apart + (1.0 - apart) * _RETUNED_WEIGHT * retuned


@dataclass(frozen=True, slots=True)
class Retuning:
    """One parameter that differs between two compositions which share its kind."""

    kind: str
    parameter: str
    before: float
    after: float

    @property
    def shift(self) -> float:
        """Signed step in units of the parameter's range."""
        return position(self.kind, self.parameter, self.after) - position(self.kind, self.parameter, self.before)


@dataclass(frozen=True, slots=True)
class Difference:
    """What changes from a parent to its child."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    retuned: tuple[Retuning, ...]

    @property
    def changed(self) -> tuple[str, ...]:
        """Kinds touched in any way, in pipeline order."""
        touched = {*self.added, *self.removed, *(change.kind for change in self.retuned)}
        return tuple(sorted(touched, key=GRAMMAR.order))


def difference(parent: Composition, child: Composition) -> Difference:
    """What changes from ``parent`` to ``child``."""
    before, after = {part.kind: part for part in parent}, {part.kind: part for part in child}
    retuned = tuple(
        Retuning(kind, name, before[kind].parameters[name], value)
        for kind, part in after.items()
        if kind in before
        for name, value in part.parameters.items()
        if name in before[kind].parameters and f"{before[kind].parameters[name]:.3g}" != f"{value:.3g}"
    )
    return Difference(
        added=tuple(kind for kind in after if kind not in before),
        removed=tuple(kind for kind in before if kind not in after),
        retuned=retuned,
    )
