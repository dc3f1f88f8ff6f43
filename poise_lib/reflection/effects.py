"""What a run says about each changed mechanism: hypotheses, not controlled tests.

One run against one run cannot tell apart what was changed together.  A single change gets the whole difference;
several share it, and are called helpful or harmful only when the difference is so large that the share would count by
itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from poise_lib.archive.entry import Entry
from poise_lib.resources.candidate import Advice, Component, Effect, MechanismEffect

CLEAR = 3.0
"""Utility points that one run can be trusted to show: the smallest difference that the protocol detects."""
NEUTRAL = 1.0
"""Points within which a single change made no difference."""


@dataclass(frozen=True, slots=True)
class Change:
    """One changed component, and how it changed: "added", "removed" or "retuned"."""

    slot: str
    kind: str
    how: str
    detail: str = ""


def changes(child: Entry, parent: Entry) -> tuple[Change, ...]:
    """What differs between the two compositions; without both, the mechanisms that the child names as changed."""
    if not child.composition or not parent.composition:
        slots = {part.kind: part.slot for part in child.composition}
        return tuple(Change(slots.get(name, ""), name, "added") for name in child.mechanisms)
    before = {part.kind: part for part in parent.composition}
    after = {part.kind: part for part in child.composition}
    found = [Change(part.slot, kind, "added") for kind, part in after.items() if kind not in before]
    found += [Change(part.slot, kind, "removed") for kind, part in before.items() if kind not in after]
    for kind in after:
        if kind in before and (detail := _retuning(before[kind], after[kind])):
            found.append(Change(after[kind].slot, kind, "retuned", detail))
    return tuple(found)


def decisions(changed: Sequence[Change]) -> int:
    """How many independent changes these are: a kind that takes another's place in a slot counts once, not twice."""
    how = Counter((change.slot, change.how) for change in changed)
    slots = sorted({change.slot for change in changed})
    return sum(max(how[slot, "added"], how[slot, "removed"]) + how[slot, "retuned"] for slot in slots)


def effects(changed: Sequence[Change], gain: float | None) -> tuple[MechanismEffect, ...]:
    """The evidence on each change, given the difference in utility to the parent.

    What was taken out gets the opposite verdict: where the child gained by that, the mechanism is called harmful.
    """
    together = decisions(changed)
    return tuple(
        MechanismEffect(
            mechanism=change.kind,
            effect=verdict(-gain if gain is not None and change.how == "removed" else gain, together),
            note=_note(change, gain, together),
        )
        for change in changed
    )


def verdict(gain: float | None, together: int) -> Effect:
    """What a difference in utility says about each of ``together`` changes that caused it."""
    if gain is None:
        return Effect.UNCLEAR
    if abs(gain) >= CLEAR * together:
        return Effect.HELPFUL if gain > 0 else Effect.HARMFUL
    return Effect.NEUTRAL if together == 1 and abs(gain) < NEUTRAL else Effect.UNCLEAR


def lessons(changed: Sequence[Change], gain: float | None) -> tuple[Advice, ...]:
    """Advice on each change from a clear gain or loss, shared among all that changed together."""
    if gain is None or not changed or abs(gain) < CLEAR:
        return ()
    together = decisions(changed)
    strength = min(1.0, abs(gain) / (2.0 * CLEAR)) / together
    advice = []
    for change in changed:
        if not change.slot or change.how == "retuned":
            continue  # whether to go on turning the same way is a matter of credit, not of the kind
        good = (gain > 0) == (change.how == "added")
        company = f" as one of {together} changes" if together > 1 else ""
        advice.append(
            Advice(
                action="Try" if good else "Avoid",
                slot=change.slot,
                kind=change.kind,
                strength=round(strength, 4),
                reason=f"{change.how} {change.kind}{company}: {gain:+.1f} points against the parent",
            )
        )
    return tuple(advice)


def _retuning(before: Component, after: Component) -> str:
    """Parameters that moved, as text."""
    moved = [
        f"{name} {before.parameters[name]:g} to {value:g}"
        for name, value in after.parameters.items()
        if name in before.parameters and f"{before.parameters[name]:.3g}" != f"{value:.3g}"
    ]
    return ", ".join(moved)


def _note(change: Change, gain: float | None, together: int) -> str:
    what = f"{change.how}{f' ({change.detail})' if change.detail else ''}"
    if gain is None:
        return f"{what}; there is no utility to compare"
    if together == 1:
        return f"{what}, the only change: {gain:+.2f} points against the parent"
    return f"{what}, one of {together} changes that share {gain:+.2f} points against the parent"
