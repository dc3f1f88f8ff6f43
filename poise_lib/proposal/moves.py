"""Moves: every atomic change of a parent's composition, each with a reason, and how they are sampled.

Five moves as a person would make them: add a mechanism, remove one, replace one by another of its slot, retune a
parameter, and cross with a reference of the context tiers.  A move carries what must survive repair; a change may
consist of two moves.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from poise_lib.proposal.catalogue import GRAMMAR
from poise_lib.proposal.composition import Composition, canonical, component, names
from poise_lib.proposal.credit import CURIOSITY, SATURATION, Credit
from poise_lib.proposal.grammar import CAPACITY, REQUIRED_SLOTS, Slot
from poise_lib.proposal.repair import repair
from poise_lib.resources.candidate import Component

TEMPERATURE = 0.35
"""Of the soft choice between moves, in units of credit; lower is greedier."""
EXPLORATION = 0.2
"""Share of moves that are drawn regardless of credit."""
RETUNE_STEP = 0.25
"""Usual step of a parameter, as a share of its range."""

TIER_PRECEDENT = {"Pareto": 0.25, "complementary": 0.15, "exploratory": 0.1}
"""Units of credit for a part that a reference of the tier has: it was trained and found worth showing."""
LEAD_PRECEDENT = 0.3
"""Most that a reference's lead over the parent adds."""


class MoveType(StrEnum):
    """What a move does."""

    ADD = "add"
    REMOVE = "remove"
    REPLACE = "replace"
    RETUNE = "retune"
    CROSS = "cross"


PRIOR = {MoveType.ADD: 1.0, MoveType.REPLACE: 1.0, MoveType.CROSS: 1.2, MoveType.RETUNE: 0.6, MoveType.REMOVE: 0.5}
"""How often a type of move is tried when nothing is known, relative to the others."""


@dataclass(frozen=True, slots=True)
class Move:
    """One atomic change."""

    type: MoveType
    kind: str
    """What it brings, retunes or takes away."""
    replaced: str = ""
    parameter: str = ""
    direction: float = 0.0
    """Of a retuning: up or down."""
    reference: str = ""
    """Of a crossing: the entry that the component comes from."""
    tier: str = ""
    brought: Component | None = None
    """Of a crossing: the component with the reference's parameters."""
    precedent: float = 0.0
    """Of a crossing: what the reference speaks for it, in units of credit."""


@dataclass(frozen=True, slots=True)
class Reference:
    """An entry of a context tier."""

    name: str
    tier: str
    composition: Composition
    lead: float = 0.0
    """Its utility less that of the parent; 0 when either is unknown."""

    @property
    def precedent(self) -> float:
        """What it speaks for the parts taken from it: its tier, and how far it is ahead of the parent."""
        return TIER_PRECEDENT.get(self.tier, 0.0) + LEAD_PRECEDENT * math.tanh(max(0.0, self.lead) / SATURATION)


def available(parent: Composition, references: Sequence[Reference]) -> tuple[Move, ...]:
    """Every atomic move from ``parent``, in a fixed order."""
    present = names(parent)
    moves: list[Move] = []
    for kind in GRAMMAR.kinds.values():
        if kind.name in present:
            continue
        holders = [part.kind for part in parent if part.slot == kind.slot.value]
        if kind.slot not in REQUIRED_SLOTS and len(holders) < CAPACITY.get(kind.slot, 1):
            moves.append(Move(MoveType.ADD, kind.name))
        moves += [Move(MoveType.REPLACE, kind.name, replaced=holder) for holder in holders]
    for part in parent:
        kind = GRAMMAR.kinds[part.kind]
        if kind.slot not in REQUIRED_SLOTS or (kind.switch and kind is not GRAMMAR.neutral(kind.slot)):
            moves.append(Move(MoveType.REMOVE, kind.name))
        for parameter in kind.parameters:
            place = parameter.position(part.parameters[parameter.name])
            if place < 0.95:
                moves.append(Move(MoveType.RETUNE, kind.name, parameter=parameter.name, direction=1.0))
            if place > 0.05:
                moves.append(Move(MoveType.RETUNE, kind.name, parameter=parameter.name, direction=-1.0))
    for reference in references:
        for part in reference.composition:
            if part.kind not in present:
                moves.append(
                    Move(
                        MoveType.CROSS,
                        part.kind,
                        reference=reference.name,
                        tier=reference.tier,
                        brought=part,
                        precedent=reference.precedent,
                    )
                )
    return tuple(moves)


def appeal(move: Move, credit: Credit) -> float:
    """What the archive promises of a move: estimated effect, curiosity, advice, and what the objective asks for."""
    kind = GRAMMAR.kinds[move.kind]
    leaning = credit.leaning(kind.slot.value, kind.name) + credit.wish(kind.name)
    if move.type is MoveType.RETUNE:
        effect = credit.effect(move.kind, move.parameter)
        presence = credit.effect(move.kind)
        doubt = max(0.0, -presence.mean - leaning)  # a kind in doubt is worth another setting
        return RETUNE_STEP * (move.direction * effect.mean + CURIOSITY * effect.deviation) + 0.3 * doubt
    effect = credit.effect(move.kind)
    if move.type is MoveType.REMOVE:
        return -effect.mean - leaning + 0.5 * CURIOSITY * effect.deviation
    gain = effect.mean + leaning + CURIOSITY * effect.deviation + move.precedent
    if move.type is MoveType.REPLACE:
        old = GRAMMAR.kinds[move.replaced]
        gain -= (
            credit.effect(move.replaced).mean
            + credit.advice.get((old.slot.value, old.name), 0.0)
            + credit.wish(old.name)
        )
    return gain


def probabilities(moves: Sequence[Move], credit: Credit) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """How likely each move is drawn: a soft choice by appeal within and across types, mixed with plain exploration.

    The mass of a type follows its prior and not the number of its members, so that a hundred ways to replace
    something do not crowd out the two ways to cross.
    """
    sizes: Mapping[MoveType, int] = {kind: sum(move.type is kind for move in moves) for kind in MoveType}
    even = np.array([PRIOR[move.type] / sizes[move.type] for move in moves])
    appeals = np.array([appeal(move, credit) for move in moves])
    soft = even * np.exp(np.clip((appeals - appeals.max()) / TEMPERATURE, -50.0, 0.0))
    mixed: np.ndarray[tuple[int], np.dtype[np.float64]] = (
        1.0 - EXPLORATION
    ) * soft / soft.sum() + EXPLORATION * even / even.sum()
    return mixed


def apply(parent: Composition, moves: Sequence[Move], rng: np.random.Generator) -> Composition | None:
    """The parent's composition after ``moves``, repaired; None when they cannot stand together."""
    composition: Composition = parent
    keep: set[str] = set()
    gone: set[str] = set()
    for move in moves:
        if move.type is MoveType.RETUNE:
            if move.kind not in names(composition):
                return None
            composition = _retuned(composition, move, rng)
            keep.add(move.kind)
            continue
        leaving = {move.kind if move.type is MoveType.REMOVE else move.replaced}
        rest = [part for part in composition if part.kind not in leaving]
        gone |= leaving
        if move.type is not MoveType.REMOVE:
            rest.append(move.brought or component(move.kind))
            keep.add(move.kind)
        composition = canonical(rest)
    repaired = repair(composition, frozenset(keep))
    if repaired is None or names(repaired) & (gone - keep) - _neutrals():
        return None
    return repaired


def _retuned(composition: Composition, move: Move, rng: np.random.Generator) -> Composition:
    """One parameter moved by a random step of about :data:`RETUNE_STEP` of its range."""
    parameter = GRAMMAR.kinds[move.kind].parameter(move.parameter)
    step = move.direction * RETUNE_STEP * math.exp(rng.uniform(-0.7, 0.7))
    retuned = []
    for part in composition:
        if part.kind == move.kind:
            value = parameter.at(parameter.position(part.parameters[parameter.name]) + step)
            part = component(part.kind, {**part.parameters, parameter.name: value})
        retuned.append(part)
    return tuple(retuned)


def _neutrals() -> frozenset[str]:
    return frozenset(GRAMMAR.neutral(slot).name for slot in Slot if slot in REQUIRED_SLOTS)
