"""Implementation: the source of a proposal, and its repairs from the findings of verification."""

from __future__ import annotations

import re
from collections.abc import Sequence

from poise_lib.proposal.catalogue import GRAMMAR
from poise_lib.proposal.composition import Composition, canonical, component, kinds, signature
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


def implement(proposal: Proposal, *, revision: int, findings: Sequence[CheckResult]) -> str | None:
    """The module of ``proposal``; from the second revision on, repaired by what verification found.

    A component that a finding names is dropped.  Findings that name none and speak of numbers make the changed
    components tamer: parameters return to their defaults; then the changes are dropped one by one, the last first.

    Args:
        proposal: with a composition; without one, GRPO is where the repair starts.
        revision: 1 for the first implementation.
        findings: of the previous revision; only those that failed matter.

    Returns:
        The source, or None when nothing is left to repair.
    """
    composition = repair(proposal.composition) if proposal.composition else GRPO
    if composition is None:
        return None
    if revision <= 1:
        return render(composition, proposal.title, proposal.hypothesis)
    repaired = _repaired(composition, proposal, revision, [item for item in findings if item.status == FAILED])
    if repaired is None or signature(repaired[0]) == signature(composition):
        return None
    composition, note = repaired
    return render(composition, proposal.title, f"{proposal.hypothesis} {note}")


def _repaired(
    composition: Composition, proposal: Proposal, revision: int, findings: Sequence[CheckResult]
) -> tuple[Composition, str] | None:
    """A repaired composition and a sentence on what was done to it; None when there is no way left."""
    text = " ".join(f"{item.name} {item.evidence}" for item in findings).casefold()
    if all(item.name == NOVELTY for item in findings):
        return _further(composition, proposal, revision) if findings else None
    named = _named(composition, text)
    if named:
        rest = repair(part for part in composition if part.kind not in named)
        return (
            (rest, f"Revision {revision} drops {', '.join(sorted(named))}, which verification refused.")
            if rest
            else None
        )
    changed = [part for part in composition if part.kind in proposal.mechanisms]
    if any(word in text for word in NUMERIC) and revision == 2:
        tamed = canonical(component(part.kind) if part in changed else part for part in composition)
        if signature(tamed) != signature(composition):
            return (
                tamed,
                f"Revision {revision} returns the new components to their usual settings, to keep numbers in bounds.",
            )
    leaving = [part.kind for part in changed if not _is_neutral(part.kind)][-(revision - 1) :]
    if not leaving:
        return None
    rest = repair(part for part in composition if part.kind not in leaving)
    return (rest, f"Revision {revision} drops {', '.join(leaving)} after failed checks.") if rest else None


def _further(composition: Composition, proposal: Proposal, revision: int) -> tuple[Composition, str] | None:
    """The same change taken further, for a candidate that behaves as one that exists."""
    moved = []
    for part in composition:
        values = dict(part.parameters)
        if part.kind in proposal.mechanisms:
            for parameter in GRAMMAR.kinds[part.kind].parameters:
                place = parameter.position(values[parameter.name])
                values[parameter.name] = parameter.at(place + (FURTHER if place < 0.5 else -FURTHER) * (revision - 1))
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
