"""The typed grammar of mechanisms: what kinds there are, what they need, and how they are tuned.

An algorithm is a *composition*: a set of components, each of a *kind* that fills a *slot*.  Slots stand in the order
in which a reward becomes an update::

    reward -> baseline -> scale -> routing -> failure -> length -> clip -> token      (rewards, advantages)
    objective -> aggregation -> regularisation -> controller                          (policy_loss, schedule)

A kind carries everything that is known about it: hyperparameters with the ranges in which they may be tuned, one
switch that disables it, facts that it needs and provides (its type), the claim it stands for, and its piece of code
(:class:`Code`).  Kinds are data; the modules beside this one compose, check, move and render them, and none of them
names a kind.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from poise_lib.algorithms.contract import Family
from poise_lib.names import METRIC_RESPONSE_LENGTH


class Slot(StrEnum):
    """A place in the composition; the order is that of the pipeline."""

    REWARD = "reward"
    BASELINE = "baseline"
    SCALE = "scale"
    ROUTING = "routing"
    FAILURE = "failure"
    LENGTH = "length"
    CLIP = "clip"
    TOKEN = "token"
    OBJECTIVE = "objective"
    AGGREGATION = "aggregation"
    REGULARISATION = "regularisation"
    CONTROLLER = "controller"


REQUIRED_SLOTS = (Slot.REWARD, Slot.BASELINE, Slot.SCALE, Slot.OBJECTIVE, Slot.AGGREGATION)
"""Slots that hold exactly one component; the others may be empty."""
CAPACITY = {Slot.ROUTING: 2, Slot.FAILURE: 2, Slot.LENGTH: 2, Slot.REGULARISATION: 2, Slot.CONTROLLER: 2}
"""Most components a slot may hold; 1 where it is not named."""


class Fact(StrEnum):
    """What holds of the signal or the objective once a component is in place: the types of the grammar."""

    UNIT_REWARD = "rewards lie in [0, 1]"
    UNIT_BASELINE = "the baseline is a probability"
    FAIL_SIGNAL = "all-fail groups have a signal"
    SOLVED_SIGNAL = "all-correct groups have a signal"
    UNBALANCED = "positive and negative signals differ in mass"
    WIDE_SIGNAL = "advantages may exceed 1 by far"
    CLIPPED = "the objective has a clip interval"
    TOKEN_RATIO = "the objective has one ratio a token"
    ENTROPY_TERM = "the loss has an entropy term"
    KL_TERM = "the loss has a KL term"
    DIFFICULTY_TERM = "groups are weighted by difficulty"
    EFFICIENCY_TERM = "correct responses compete on length"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A tunable number of a kind, with the range in which the proposer may move it."""

    name: str
    default: float
    low: float
    high: float
    description: str
    log: bool = False
    """Steps are factors, not differences."""

    def position(self, value: float) -> float:
        """Where ``value`` stands in the range, in [0, 1]."""
        value = min(max(value, self.low), self.high)
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def at(self, position: float) -> float:
        """The value at a position in [0, 1], rounded to three significant digits so that code stays readable."""
        position = min(max(position, 0.0), 1.0)
        value = (
            self.low * (self.high / self.low) ** position if self.log else self.low + position * (self.high - self.low)
        )
        return min(max(float(f"{value:.3g}"), self.low), self.high)


@dataclass(frozen=True, slots=True)
class Flag:
    """A hyperparameter that exists only to switch a mechanism off: 1 keeps it, 0 takes it out."""

    name: str
    description: str


@dataclass(frozen=True, slots=True)
class Code:
    """What a kind contributes to a module.  Lines have no indentation of their own; ``{name}`` marks a coefficient.

    ``reward``, ``signal`` and ``token`` are lines of ``rewards`` and ``advantages``; they rebind ``reward`` [B],
    ``baseline`` and ``signal`` [B], and ``advantage`` [B, T].  ``loss`` are lines of ``policy_loss``, which rebind
    ``loss`` and may bind ``clipped`` [B, T].  ``helpers`` are whole functions.  ``coefficients`` maps names that
    ``schedule`` returns to expressions over its arguments.  ``metrics`` are what ``policy_loss`` reports.
    """

    reward: str = ""
    signal: str = ""
    token: str = ""
    loss: str = ""
    helpers: tuple[str, ...] = ()
    coefficients: tuple[tuple[str, str], ...] = ()
    metrics: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of component; its name is unique in the grammar and names the mechanism in the rendered module."""

    name: str
    slot: Slot
    family: Family
    label: str
    """A few words for titles, such as "valid-subset baseline"."""
    claim: str
    """One sentence: what it is good for."""
    effect: str
    """What should be seen in training if the claim holds; completes "If so, ..."."""
    formula: str
    """One line of plain mathematics for the module's docstring."""
    code: Code
    parameters: tuple[Parameter, ...] = ()
    switch: str = ""
    """The parameter or flag that disables the mechanism; "" when the kind is no mechanism but the neutral choice."""
    off: float = 0.0
    flag: Flag | None = None
    requires: frozenset[Fact] = frozenset()
    """Facts that components before it in the pipeline must provide."""
    any_of: frozenset[Fact] = frozenset()
    """At least one of these must be provided before it; empty asks for nothing."""
    provides: frozenset[Fact] = frozenset()
    conflicts: frozenset[str] = frozenset()
    """Kinds that cannot stand beside it; symmetric by construction of the checks."""
    controls: str = ""
    """The coefficient whose value this kind replaces: a name in braces in another kind's code."""
    expression: str = ""
    """What it puts in its place; "" for a kind that controls nothing."""
    needs: tuple[str, ...] = ()
    """What the engine must compute besides: "reference", "entropy"."""
    aggregation: str = ""
    """Of the kinds of the aggregation slot: the contract's name for it."""
    pull: str = ""
    """Which length the kind rewards, "longer" or "shorter"; screening marks a contradiction down."""
    raises: frozenset[str] = frozenset()
    """Metrics beside accuracy and length that it is there to raise, such as format_valid."""
    cost: float = 0.0
    """Extra work and risk of an implementation, in [0, 1]; screening counts it against feasibility."""
    source: str = ""
    """Where the idea is published, if it is."""

    def parameter(self, name: str) -> Parameter:
        """The parameter of that name.

        Raises:
            KeyError: the kind has none of that name.
        """
        for parameter in self.parameters:
            if parameter.name == name:
                return parameter
        raise KeyError(f"{self.name} has no parameter {name!r}")

    def serves(self, metric: str) -> int:
        """Which way it is there to move a metric: 1 up, -1 down, 0 when that is not what it is for."""
        if metric == METRIC_RESPONSE_LENGTH:
            return {"longer": 1, "shorter": -1}.get(self.pull, 0)
        return int(metric in self.raises)

    def defaults(self) -> dict[str, float]:
        """Every parameter at its default."""
        return {parameter.name: parameter.default for parameter in self.parameters}


class Grammar:
    """The kinds by name, in the order of the pipeline."""

    def __init__(self, kinds: Iterable[Kind]) -> None:
        slots = list(Slot)
        ordered = sorted(kinds, key=lambda kind: slots.index(kind.slot))
        self.kinds: Mapping[str, Kind] = MappingProxyType({kind.name: kind for kind in ordered})
        self._order = {name: i for i, name in enumerate(self.kinds)}

    def of(self, slot: Slot) -> tuple[Kind, ...]:
        """The kinds that fill ``slot``, in pipeline order."""
        return tuple(kind for kind in self.kinds.values() if kind.slot is slot)

    def neutral(self, slot: Slot) -> Kind:
        """The kind that a required slot falls back to: its first."""
        return self.of(slot)[0]

    def order(self, name: str) -> int:
        """Place of a kind in the pipeline."""
        return self._order[name]
