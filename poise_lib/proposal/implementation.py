"""Implementation: the source of a proposal, and its repairs from the findings of verification."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from poise_lib.proposal.catalogue import GRAMMAR
from poise_lib.proposal.composition import Composition, canonical, component, difference, kinds, signature
from poise_lib.proposal.grammar import REQUIRED_SLOTS, Kind
from poise_lib.proposal.known import GRPO
from poise_lib.proposal.rendering import render
from poise_lib.proposal.repair import repair
from poise_lib.resources.candidate import CheckResult, Proposal

NUMERIC = ("nan", "inf", "finite", "overflow", "explod", "diverg", "gradient")
"""Words in a finding that speak of numbers out of hand; the answer is a tamer setting of what is new."""
FAILED = "failed"
NOVELTY = "novelty"
"""The check that compares a candidate's behaviour with that of its parents."""
FURTHER = 0.25
"""Step of a parameter, as a share of its range, when a change turned out to change nothing."""


@dataclass(frozen=True, slots=True)
class Implemented:
    """A module, and the composition that it renders: the proposal's own until a repair changes it."""

    source: str
    composition: Composition


def implement(
    proposal: Proposal, *, revision: int, findings: Sequence[CheckResult], previous: Composition = ()
) -> Implemented | None:
    """The module of ``proposal``; from the second revision on, repaired by what verification found.

    A component that a finding names is dropped.  Findings that name none and speak of numbers make the changed
    components tamer: parameters return to their defaults; then the changes are dropped one by one, the last first.
    Repairs add up: each starts from the revision that the findings speak of.

    Args:
        proposal: with a composition; without one, GRPO is where the repair starts.
        revision: 1 for the first implementation.
        findings: of the previous revision; only those that failed matter.
        previous: composition of the previous revision; empty where it is that of the proposal.

    Returns:
        The source with its composition, or None when nothing is left to repair.
    """
    proposed = repair(proposal.composition) if proposal.composition else GRPO
    if proposed is None:
        return None
    if revision <= 1:
        return Implemented(render(proposed, proposal.title, proposal.hypothesis), proposed)
    last = repair(previous) if previous else proposed
    if last is None:
        return None
    failed = [item for item in findings if item.status == FAILED]
    repaired = _repaired(last, proposed, frozenset(proposal.mechanisms), revision, failed)
    if repaired is None or signature(repaired[0]) == signature(last):
        return None
    composition, note = repaired
    sentences = (proposal.hypothesis, *_earlier(proposed, last), note)
    return Implemented(render(composition, proposal.title, " ".join(sentences)), composition)


def _earlier(proposed: Composition, last: Composition) -> tuple[str, ...]:
    """A sentence on what earlier repairs made of the proposal; none when there were none."""
    change = difference(proposed, last)
    retuned = dict.fromkeys(step.kind for step in change.retuned)
    done = [
        f"{verb} {', '.join(names)}"
        for verb, names in (("dropped", change.removed), ("put in", change.added), ("retuned", tuple(retuned)))
        if names
    ]
    return (f"Earlier revisions {' and '.join(done)}.",) if done else ()


def _repaired(
    composition: Composition,
    proposed: Composition,
    mechanisms: frozenset[str],
    revision: int,
    findings: Sequence[CheckResult],
) -> tuple[Composition, str] | None:
    """A repaired composition and a sentence on what was done to it; None when there is no way left.

    Args:
        composition: of the last revision.
        proposed: of the proposal.
        mechanisms: kinds that the proposal changed.
        revision: number of the one to make.
        findings: on the last revision, those that failed.
    """
    text = " ".join(f"{item.name} {item.evidence}" for item in findings).casefold()
    if all(item.name == NOVELTY for item in findings):
        return _further(composition, proposed, mechanisms, revision) if findings else None
    named = _named(composition, text)
    if named:
        rest = repair(part for part in composition if part.kind not in named)
        return (
            (rest, f"Revision {revision} drops {', '.join(sorted(named))}, which verification refused.")
            if rest
            else None
        )
    changed = [part for part in composition if part.kind in mechanisms]
    if any(word in text for word in NUMERIC):
        tamed = canonical(component(part.kind) if part in changed else part for part in composition)
        # What was proposed has been refused already; going back there after other repairs would go round in circles.
        if signature(tamed) not in (signature(composition), signature(proposed)):
            return (
                tamed,
                f"Revision {revision} returns the new components to their usual settings, to keep numbers in bounds.",
            )
    droppable = [part.kind for part in changed if not _is_neutral(part.kind)]
    if not droppable:
        return None
    leaving = droppable[-1]
    rest = repair(part for part in composition if part.kind != leaving)
    return (rest, f"Revision {revision} drops {leaving} after failed checks.") if rest else None


def _further(
    composition: Composition, proposed: Composition, mechanisms: frozenset[str], revision: int
) -> tuple[Composition, str] | None:
    """The same change taken a step further, for a candidate that behaves as one that exists.

    Each parameter moves to the side of its range that has more room from where it was *proposed*, so that the next
    step does not take this one back.
    """
    origin = {part.kind: part.parameters for part in proposed}
    moved = []
    for part in composition:
        values = dict(part.parameters)
        if part.kind in mechanisms:
            for parameter in GRAMMAR.kinds[part.kind].parameters:
                value = values[parameter.name]
                start = parameter.position(origin.get(part.kind, part.parameters).get(parameter.name, value))
                step = FURTHER if start < 0.5 else -FURTHER
                values[parameter.name] = parameter.at(parameter.position(value) + step)
        moved.append(component(part.kind, values))
    note = f"Revision {revision} takes the new settings further, because the first ones changed nothing."
    return canonical(moved), note


def _named(composition: Composition, text: str) -> frozenset[str]:
    """Kinds that the findings name, by mechanism or by one of their hyperparameters."""
    return frozenset(
        kind.name
        for kind in kinds(composition)
        if kind.switch and any(re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", text) for word in _words(kind))
    )


def _words(kind: Kind) -> list[str]:
    words = [kind.name, *(parameter.name for parameter in kind.parameters)]
    return [*words, kind.flag.name] if kind.flag is not None else words


def _is_neutral(kind: str) -> bool:
    slot = GRAMMAR.kinds[kind].slot
    return slot in REQUIRED_SLOTS and GRAMMAR.neutral(slot).name == kind
