"""Screening: rank changed compositions by consistency, feasibility, novelty and expected gain, and say why.

The four criteria are the paper's (arXiv:2603.23951, phase I).  All scores lie in [0, 1].  Ranking is greedy: what is
chosen next is compared with what was chosen before it, so that the list does not hold one idea six times.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from poise_lib.proposal.catalogue import GRAMMAR
from poise_lib.proposal.composition import Composition, Difference, distance, kinds, problems
from poise_lib.proposal.credit import CURIOSITY, Credit
from poise_lib.resources.candidate import Screening

WEIGHTS = {"consistency": 0.15, "feasibility": 0.15, "novelty": 0.2, "expected_gain": 0.5}
"""Expected gain leads: the first two are gates that most drafts pass, and novelty must not outvote evidence."""
NOVEL = 0.12
"""Distance beyond which a composition counts as fully new: one kind of about nine that nothing else has."""
SIBLING = 0.15
"""The same between proposals of one list."""
MANAGEABLE = 8
"""Mechanisms beyond this many make an algorithm hard to get right and to learn from."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A changed composition on its way to become a proposal."""

    composition: Composition
    change: Difference
    intended: frozenset[str]
    """Kinds that the moves named; whatever else changed is collateral of the repair."""
    precedent: float = 0.0
    """What the references that it was crossed with speak for, in units of credit."""


@dataclass(frozen=True, slots=True)
class Archived:
    """What screening knows of an archive entry."""

    title: str
    composition: Composition


def consistency(draft: Draft) -> tuple[float, list[str]]:
    """Do the parts fit each other and the change that was meant."""
    if found := problems(draft.composition):
        return 0.0, [f"inconsistent: {found[0]}"]
    score, reasons = 1.0, []
    pulls = {kind.pull: kind.label for kind in kinds(draft.composition) if kind.pull}
    if len(pulls) > 1:
        score -= 0.4
        reasons.append(f"length is pulled both ways, by {' and '.join(sorted(pulls.values()))}")
    collateral = [kind for kind in draft.change.changed if kind not in draft.intended]
    if collateral:
        score -= min(0.4, 0.15 * len(collateral))
        reasons.append(f"consistency also asks to change {', '.join(collateral)}")
    return max(0.0, score), reasons


def feasibility(draft: Draft, credit: Credit) -> tuple[float, list[str]]:
    """Can it be implemented at bearable cost, and has nothing like it broken before."""
    present = kinds(draft.composition)
    cost = sum(kind.cost for kind in present)
    score, reasons = 1.0 - min(0.4, 0.5 * cost), []
    if cost >= 0.2:
        reasons.append(f"costly parts: {', '.join(kind.label for kind in present if kind.cost)}")
    mechanisms = sum(bool(kind.switch) for kind in present)
    if mechanisms > MANAGEABLE:
        score -= min(0.3, 0.08 * (mechanisms - MANAGEABLE))
        reasons.append(f"{mechanisms} mechanisms are many to get right")
    if broken := credit.failures(draft.change):
        score -= 0.5 * math.tanh(broken)
        reasons.append(f"{broken} earlier candidates with this change were refused or failed")
    return max(0.0, score), reasons


Nearest = tuple[float, str]
"""Distance to the closest composition of the archive, and its title; (1, "") when the archive is empty."""


def nearest(draft: Draft, archive: Sequence[Archived]) -> Nearest:
    """The archive's closest composition."""
    apart = [(distance(draft.composition, entry.composition), entry.title) for entry in archive]
    return min(apart, default=(1.0, ""))


def novelty(closest_archived: Nearest, closest_sibling: float) -> tuple[float, list[str]]:
    """Distance from everything in the archive, and from the proposals ranked before it; see :func:`nearest`."""
    apart, title = closest_archived
    score = min(1.0, apart / NOVEL)
    reasons = [f"nearest in the archive is {title!r} at distance {apart:.2f}"] if title else []
    if closest_sibling < SIBLING:
        score *= closest_sibling / SIBLING
        reasons.append(f"close to another proposal of this list ({closest_sibling:.2f})")
    return score, reasons


def expected_gain(draft: Draft, credit: Credit) -> tuple[float, list[str]]:
    """Expected improvement over the parent from credit, advice, precedent and room to learn; 0.5 is none."""
    effect = credit.expected(draft.change)
    touched = [(name, 1.0) for name in draft.change.added] + [(name, -1.0) for name in draft.change.removed]
    leaning = sum(sign * credit.leaning(GRAMMAR.kinds[name].slot.value, name) for name, sign in touched)
    curiosity = CURIOSITY * max((credit.effect(name).deviation for name in draft.change.added), default=0.0)
    wish = sum(sign * credit.wish(name) for name, sign in touched)
    parts = {
        "credit of the changes": effect,
        "advice": leaning,
        **({"what the objective asks for": wish} if credit.wishes else {}),
        "room to learn": curiosity,
        "precedent": draft.precedent,
    }
    reasons = [", ".join(f"{name} {value:+.2f}" for name, value in parts.items())]
    return 0.5 + 0.5 * math.tanh(sum(parts.values())), reasons


def screen(draft: Draft, credit: Credit, closest_archived: Nearest, closest_sibling: float = 1.0) -> Screening:
    """All four scores with their reasons, and the weighted total."""
    scores: dict[str, float] = {}
    reasons: list[str] = []
    for name, (score, why) in (
        ("consistency", consistency(draft)),
        ("feasibility", feasibility(draft, credit)),
        ("novelty", novelty(closest_archived, closest_sibling)),
        ("expected_gain", expected_gain(draft, credit)),
    ):
        scores[name] = round(score, 4)
        reasons += [f"{name.replace('_', ' ')}: {reason}" for reason in why]
    total = round(sum(WEIGHTS[name] * score for name, score in scores.items()), 4)
    return Screening(**scores, score=total, reasons=tuple(reasons[:16]))


def rank(
    drafts: Sequence[Draft], credit: Credit, archive: Sequence[Archived], count: int
) -> tuple[tuple[Draft, Screening], ...]:
    """The best ``count`` drafts, best first; ties keep their order."""
    chosen: list[tuple[Draft, Screening]] = []
    waiting = [(draft, nearest(draft, archive)) for draft in drafts]
    closest_sibling = [1.0] * len(waiting)
    while waiting and len(chosen) < count:
        screened = [
            screen(draft, credit, archived, sibling)
            for (draft, archived), sibling in zip(waiting, closest_sibling, strict=True)
        ]
        best = max(range(len(waiting)), key=lambda i: (screened[i].score, -i))
        taken, _ = waiting.pop(best)
        closest_sibling.pop(best)
        chosen.append((taken, screened[best]))
        closest_sibling = [
            min(sibling, distance(draft.composition, taken.composition))
            for (draft, _), sibling in zip(waiting, closest_sibling, strict=True)
        ]
    return tuple(chosen)
