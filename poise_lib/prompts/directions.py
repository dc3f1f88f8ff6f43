"""N directions for N proposals of one parent, so that proposals asked for at the same time do not think the same thought.

The paper's population is "N parallel candidates along diverse local directions" (arXiv:2603.23951, phase I).  A direction names a
mechanism family and what to start from: the parent's diagnosis, a complementary reference, a paper, or the family
itself.  Families are drawn without replacement until all were used, with odds that follow what is known: advice of the
parent's reflection first, families the parent has nothing of next, the rest after.  Seed, parent and slot decide the draw.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from poise_lib.algorithms.contract import Family
from poise_lib.names import METRIC_FORMAT_VALID, METRIC_RESPONSE_LENGTH
from poise_lib.prompts.exhibits import Exhibit, Reference, Tier
from poise_lib.prompts.literature import Literature
from poise_lib.resources.candidate import Advice
from poise_lib.resources.objective import Objective

SLOT_FAMILIES: Final[dict[str, Family]] = {
    "reward": Family.REWARD,
    "baseline": Family.CORE_SIGNAL,
    "scale": Family.CORE_SIGNAL,
    "routing": Family.ROUTING,
    "failure": Family.FAILURE_CONTROL,
    "length": Family.LENGTH_SHAPING,
    "clip": Family.STABILISATION,
    "token": Family.ROUTING,
    "objective": Family.OBJECTIVE,
    "aggregation": Family.OBJECTIVE,
    "regularisation": Family.STABILISATION,
    "controller": Family.CONTROLLER,
}
"""The family that a slot of the grammar mostly speaks of; a test holds it against the catalogue."""

FAMILY_GOALS: Final[dict[Family, str]] = {
    Family.CORE_SIGNAL: "how a reward becomes an advantage: its baseline and its scale",
    Family.ROUTING: "which groups, samples or tokens get which signal",
    Family.FAILURE_CONTROL: "what all-fail groups and invalid responses receive",
    Family.STABILISATION: "what keeps the update in bounds: clips of advantages, KL, entropy, damping",
    Family.LENGTH_SHAPING: "what is learnt from the length of responses",
    Family.OBJECTIVE: "the surrogate: the level of the ratio, clipping or gating, aggregation",
    Family.CONTROLLER: "coefficients that follow the state of training",
    Family.REWARD: "the order of rewards over correct, valid and length",
}


METRIC_FAMILIES: Final[dict[str, Family]] = {
    METRIC_RESPONSE_LENGTH: Family.LENGTH_SHAPING,
    METRIC_FORMAT_VALID: Family.FAILURE_CONTROL,
}
"""The family that is there to move a metric beside overall."""


class Start(StrEnum):
    """What a proposal along a direction starts from."""

    DIAGNOSIS = "diagnosis"
    CROSSING = "crossing"
    LITERATURE = "literature"
    SIMPLIFY = "simplify"
    FAMILY = "family"


@dataclass(frozen=True, slots=True)
class Direction:
    """Where one of the parallel proposals shall look; all text of it is ours but what ``source`` and ``advice`` name."""

    family: Family
    start: Start
    source: str = ""
    """A candidate's name or a paper's identifier, of those in the context; empty for the others."""
    advice: str = ""
    """Words of the parent's reflection: data."""

    def sentence(self) -> str:
        """The direction in our own words; the advice stands in the prompt as data."""
        goal = f"Change {FAMILY_GOALS[self.family]} (family {self.family.value})."
        how = {
            Start.DIAGNOSIS: "Start from what the parent's diagnosis says went wrong, as quoted below.",
            Start.CROSSING: f"Take over the idea of {self.source}, from the references, that the parent lacks, and make it fit the parent.",
            Start.LITERATURE: f"Start from the mechanism of paper {self.source} in the literature, adapted to the parent.",
            Start.SIMPLIFY: "Remove or merge mechanisms of the parent that the evidence does not support, and put the most "
            "promising single change in their place.",
            Start.FAMILY: "Find a mechanism that neither the archive nor the literature has.",
        }[self.start]
        return f"{goal} {how}"

    @property
    def key(self) -> str:
        """One word for logs and for seeds."""
        return "/".join(part for part in (self.family.value, self.start.value, self.source) if part)


def directions(
    parent: Exhibit,
    references: Sequence[Reference],
    literature: Literature,
    count: int,
    *,
    seed: int,
    round: int,
    slot: int,
    objective: Objective | None = None,
) -> tuple[Direction, ...]:
    """``count`` directions, all different as long as there are enough.

    Args:
        parent: where the proposals start.
        references: its context tiers.
        literature: the papers that stand in its context.
        count: how many are wanted.
        seed: of the search.
        round: round of the children.
        slot: place of the parent in its round.
        objective: what counts; families that serve its metrics beside overall come up more often.
    """
    digest = hashlib.sha256(f"directions/{seed}/{round}/{slot}/{parent.entry.name}".encode()).digest()
    rng = random.Random(int.from_bytes(digest[:8]))
    chosen: list[Direction] = []
    families: list[Family] = []
    for _ in range(count):
        if not families:
            families = _order(parent, rng, objective)
        family = families.pop(0)
        options = _options(family, parent, references, literature, rng)
        fresh = [option for option in options if option not in chosen]
        # Starts that were used least come first, so that not all proposals are crossings.
        used = [direction.start for direction in chosen]
        chosen.append(min(fresh or options, key=lambda option: used.count(option.start)))
    return tuple(chosen)


def _order(parent: Exhibit, rng: random.Random, objective: Objective | None) -> list[Family]:
    """All families, in an order drawn by their weights (Efraimidis and Spirakis: the largest u^(1/w) first)."""
    weights = dict.fromkeys(Family, 1.0)
    present = {SLOT_FAMILIES[part.slot] for part in parent.entry.composition if part.slot in SLOT_FAMILIES}
    for family in Family:
        if parent.entry.composition and family not in present:
            weights[family] += 0.5
    for metric in objective.metrics if objective is not None else ():
        if metric.weight > 0 and metric.name in METRIC_FAMILIES:
            weights[METRIC_FAMILIES[metric.name]] += 2.0
    for advice in _advice(parent):
        if advice.slot in SLOT_FAMILIES:
            weights[SLOT_FAMILIES[advice.slot]] += (2.0 if advice.action == "Try" else 0.7) * advice.strength
    keys = {family: rng.random() ** (1.0 / weights[family]) for family in Family}
    return sorted(Family, key=lambda family: -keys[family])


def _options(
    family: Family, parent: Exhibit, references: Sequence[Reference], literature: Literature, rng: random.Random
) -> list[Direction]:
    """What a proposal about ``family`` could start from, best founded first; each list in a drawn order."""
    found = [
        Direction(family, Start.DIAGNOSIS, advice=f"{advice.action} {advice.kind or advice.slot}: {advice.reason}")
        for advice in _advice(parent)
        if SLOT_FAMILIES.get(advice.slot) is family
    ]
    partners = [item.exhibit.entry for item in references if item.tier is not Tier.PARETO]
    partners += [item.exhibit.entry for item in references if item.tier is Tier.PARETO]
    own = {part.kind for part in parent.entry.composition}
    crossings = [
        Direction(family, Start.CROSSING, entry.name)
        for entry in partners
        if not entry.composition
        or any(SLOT_FAMILIES.get(part.slot) is family and part.kind not in own for part in entry.composition)
    ]
    papers = [
        Direction(family, Start.LITERATURE, paper.identifier) for paper in literature.papers if family in paper.families
    ]
    rng.shuffle(crossings)
    rng.shuffle(papers)
    return [*found, *crossings, *papers, Direction(family, Start.FAMILY), Direction(family, Start.SIMPLIFY)]


def _advice(parent: Exhibit) -> tuple[Advice, ...]:
    return parent.entry.reflection.advice if parent.entry.reflection is not None else ()
