"""Credit: what the archive says about each kind, its parameters, and the changes that broke things.

Every finished child is an observation ``U(child) - U(parent) = sum of the effects of what changed + noise``.  The
effects are estimated together by ridge regression, a Gaussian posterior with a prior at zero: several changes made at
once share what happened, and a change seen once is shrunk towards nothing.  Utilities enter through ``tanh``, so that
one collapse does not outweigh everything else.  Reflections' advice is added on top, the stronger the closer it was
earned to the parent; given again it grows no louder, since twenty runs with one ailment are no evidence for its remedy,
and what the remedy did to those who took it is in the effects.  Children that ended by their own fault
(:attr:`~poise_lib.archive.entry.Entry.at_fault`: refused, diverged, collapsed) mark the combination of their changes,
not each part; children that were lost or never judged say nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from poise_lib.archive.entry import Entry
from poise_lib.proposal.catalogue import GRAMMAR
from poise_lib.proposal.composition import Composition, Difference, canonical, difference
from poise_lib.proposal.known import composition_of
from poise_lib.resources.candidate import Advice
from poise_lib.resources.objective import Direction, Objective

SATURATION = 3.0
"""Utility points at which a gain saturates: one detectable difference, as in the descendant gain of the selection."""
PRIOR_PRECISION = 2.0
"""Ridge: a single observation of a single change is believed to a third."""
CURIOSITY = 0.5
"""Weight of an effect's uncertainty wherever promise is judged: kinds that were never seen stay attractive."""
WISH = 0.4
"""Promise of a kind that is there to serve what the objective asks for beside overall: as much as clear advice.  It makes way for
what is measured, as the uncertainty of the kind's effect does."""
FOREIGN_ADVICE = 0.3
"""Weight of advice that was earned outside the parent's lineage."""

Feature = tuple[str, str]
"""A kind and "" for its presence, or a kind and a parameter for its position in the range."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """An effect in units of :data:`SATURATION` points, and how uncertain it is."""

    mean: float = 0.0
    deviation: float = 1.0 / math.sqrt(PRIOR_PRECISION)
    observations: int = 0


@dataclass(frozen=True, slots=True)
class Credit:
    """Everything that the archive and its reflections say about changes to one parent."""

    effects: Mapping[Feature, Estimate] = field(default_factory=dict)
    advice: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """(slot, kind or "") to a signed strength: positive asks for it, negative warns of it."""
    reasons: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """Why the strongest advice of that key was given."""
    wishes: Mapping[str, float] = field(default_factory=dict)
    """Kind to a sign: whether it serves the objective's metrics beside overall, or works against them."""
    boundaries: tuple[frozenset[str], ...] = ()
    """Sets of changes that were refused or failed together, one a child."""

    def effect(self, kind: str, parameter: str = "") -> Estimate:
        """The estimated effect of adding a kind, or of raising a parameter through its whole range."""
        return self.effects.get((kind, parameter), Estimate())

    def leaning(self, slot: str, kind: str) -> float:
        """Advice for or against a kind: its own, else that of its slot."""
        return self.advice.get((slot, kind), self.advice.get((slot, ""), 0.0))

    def wish(self, kind: str) -> float:
        """What the objective speaks for a kind, or against it; the less, the more its effect has been measured."""
        return WISH * self.wishes.get(kind, 0.0) * self.effect(kind).deviation / Estimate().deviation

    def expected(self, change: Difference) -> float:
        """Expected effect of a change, in units of :data:`SATURATION` points."""
        total = sum(self.effect(kind).mean for kind in change.added) - sum(
            self.effect(kind).mean for kind in change.removed
        )
        return total + sum(self.effect(step.kind, step.parameter).mean * step.shift for step in change.retuned)

    def failures(self, change: Difference) -> int:
        """How many refused or failed children had made all the additions and removals of this change."""
        touched = _touched(change)
        return sum(bool(boundary) and boundary <= touched for boundary in self.boundaries)


def wishes_of(objective: Objective | None) -> dict[str, float]:
    """Kinds that are there to move what the objective weighs beside overall, with the sign of the service."""
    found: dict[str, float] = {}
    for metric in objective.metrics if objective is not None else ():
        sign = -1 if metric.direction is Direction.MINIMIZE else 1
        for kind in GRAMMAR.kinds.values():
            if metric.weight > 0 and (service := sign * kind.serves(metric.name)):
                found[kind.name] = max(-1.0, min(1.0, found.get(kind.name, 0.0) + service))
    return found


def learn(archive: Sequence[Entry], lineage: frozenset[str], objective: Objective | None = None) -> Credit:
    """The credit of a whole archive, with advice weighed for a parent whose ancestors (and itself) are ``lineage``.

    Args:
        archive: all finished candidates.
        lineage: the parent and its ancestors.
        objective: what counts; None for the suite's own.
    """
    by_name = {entry.name: entry for entry in archive}
    compositions = {entry.name: composition_of(entry) for entry in archive}
    rows: list[tuple[dict[Feature, float], float]] = []
    boundaries = []
    for entry in archive:
        parent = by_name.get(entry.parents[0]) if entry.parents else None
        if parent is None:
            continue
        change = difference(compositions[parent.name], compositions[entry.name])
        if entry.at_fault:
            boundaries.append(_boundary(change, entry, compositions[parent.name]))
        elif entry.utility is not None and parent.utility is not None:
            gain = math.tanh((entry.utility - parent.utility) / SATURATION)
            if features := _features(change):
                rows.append((features, gain))
    advice, reasons = _advice(archive, lineage)
    return Credit(_estimates(rows), advice, reasons, wishes_of(objective), tuple(boundaries))


def lineage_of(name: str, archive: Sequence[Entry]) -> frozenset[str]:
    """A candidate and all its ancestors."""
    by_name = {entry.name: entry for entry in archive}
    found: set[str] = set()
    waiting = [name]
    while waiting:
        current = waiting.pop()
        if current not in found and current in by_name:
            found.add(current)
            waiting += by_name[current].parents
    return frozenset(found)


def _touched(change: Difference) -> frozenset[str]:
    return frozenset({*(f"+{kind}" for kind in change.added), *(f"-{kind}" for kind in change.removed)})


def _boundary(change: Difference, entry: Entry, parent: Composition) -> frozenset[str]:
    """What a child at fault had changed when it ended; where repairs had undone everything, what was proposed."""
    return _touched(change) or _touched(difference(parent, canonical(entry.proposed or entry.composition)))


def _features(change: Difference) -> dict[Feature, float]:
    features: dict[Feature, float] = dict.fromkeys(((kind, "") for kind in change.added), 1.0)
    features |= dict.fromkeys(((kind, "") for kind in change.removed), -1.0)
    features |= {(step.kind, step.parameter): step.shift for step in change.retuned}
    return features


def _estimates(rows: Sequence[tuple[dict[Feature, float], float]]) -> dict[Feature, Estimate]:
    """Posterior mean and deviation of every feature that was ever changed."""
    features = sorted({feature for changes, _ in rows for feature in changes})
    if not features:
        return {}
    column = {feature: i for i, feature in enumerate(features)}
    design = np.zeros((len(rows), len(features)))
    for i, (changes, _) in enumerate(rows):
        for feature, amount in changes.items():
            design[i, column[feature]] = amount
    gains = np.array([gain for _, gain in rows])
    precision = design.T @ design + PRIOR_PRECISION * np.eye(len(features))
    covariance = np.linalg.inv(precision)
    mean = covariance @ design.T @ gains
    return {
        feature: Estimate(float(mean[i]), float(math.sqrt(covariance[i, i])), int(np.count_nonzero(design[:, i])))
        for feature, i in column.items()
    }


def _advice(
    archive: Sequence[Entry], lineage: frozenset[str]
) -> tuple[dict[tuple[str, str], float], dict[tuple[str, str], str]]:
    """Signed strengths by (slot, kind), each within [-1, 1], and the reason of the side that is louder.

    The strength is that of the strongest advice to try less that of the strongest to avoid.
    """
    sides: dict[tuple[str, str], dict[str, tuple[float, Advice]]] = {}
    for entry in archive:
        weight = 1.0 if entry.name in lineage else FOREIGN_ADVICE
        for item in entry.reflection.advice if entry.reflection else ():
            key = (item.slot, item.kind)
            strongest = sides.setdefault(key, {})
            if item.action not in strongest or weight * item.strength > strongest[item.action][0]:
                strongest[item.action] = (weight * item.strength, item)
    strengths, reasons = {}, {}
    for key, strongest in sides.items():
        for_it, against_it = (strongest[action][0] if action in strongest else 0.0 for action in ("Try", "Avoid"))
        strengths[key] = for_it - against_it
        _, loudest = max(strongest.values(), key=lambda side: side[0])
        if loudest.reason:
            reasons[key] = loudest.reason
    return strengths, reasons
