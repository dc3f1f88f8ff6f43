"""Which calls a candidate's declarations ask for: names of calls are what the judges look results up by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from poise_lib.verification import situations as at
from poise_lib.verification.declarations import Declarations
from poise_lib.verification.protocol import Call, Request
from poise_lib.verification.situations import Situation

VARIED: Final = (at.RICH, at.LATE, at.EXPLORING, at.LARGE_GROUPS, at.EXTREME_RATIOS, at.EXTREME_LENGTHS, at.ALL_FAIL)
"""Situations in which mechanisms are switched off and hyperparameters moved."""
TRANSFORMED: Final = (at.RICH, at.EXPLORING, at.LATE)
"""Situations at the start, in the middle and near the end of training, shown again in other guises."""
PART_ROWS: Final = 17
_EXTRA_COLUMNS: Final = 3


def base(situation: str) -> str:
    """The call with default hyperparameters."""
    return f"base/{situation}"


def again(situation: str) -> str:
    """The same call once more, after all others."""
    return f"again/{situation}"


def permuted(situation: str) -> str:
    """Samples in another order."""
    return f"permuted/{situation}"


def relabelled(situation: str) -> str:
    """Groups under other labels."""
    return f"relabelled/{situation}"


def padded(situation: str) -> str:
    """More padding, filled with arbitrary values."""
    return f"padded/{situation}"


def part(situation: str) -> str:
    """``policy_loss`` on the first :data:`PART_ROWS` rows only."""
    return f"part/{situation}"


def without(need: str, situation: str) -> str:
    """Other values for what a need provides."""
    return f"other-{need}/{situation}"


def off(mechanism: str, situation: str) -> str:
    """A mechanism switched off."""
    return f"off/{mechanism}/{situation}"


def moved(hyperparameter: str, end: str, situation: str) -> str:
    """A hyperparameter at one end of its range, "low" or "high"."""
    return f"moved/{hyperparameter}/{end}/{situation}"


@dataclass(frozen=True, slots=True)
class Plan:
    """A request, and what the judges need to know about it."""

    request: Request
    orders: Mapping[str, at.Array]
    """Situation -> the order of its permuted version."""


def make_plan(declared: Declarations, *, training: bool) -> Plan:
    """Every call that verification needs of a candidate with these declarations."""
    base_situations = at.all_situations()
    situations: dict[str, Situation] = dict(base_situations)
    hyper = declared.hyper
    calls = [Call(base(name), name, hyper) for name in base_situations]
    orders = {}

    def add(call: str, situation: Situation) -> None:
        situations[situation.name] = situation
        calls.append(Call(call, situation.name, hyper))

    for name in TRANSFORMED:
        shuffled, orders[name] = at.permuted(base_situations[name], seed=5)
        add(permuted(name), shuffled)
        add(relabelled(name), at.relabelled(base_situations[name]))
        add(padded(name), at.padded(base_situations[name], _EXTRA_COLUMNS))
        calls.append(Call(part(name), name, hyper, rows=PART_ROWS))
        for need in declared.needs:
            add(without(need, name), at.with_other(base_situations[name], need))
    for mechanism in declared.mechanisms:
        switched = {**hyper, mechanism.hyperparameter: mechanism.off}
        calls += [Call(off(mechanism.name, name), name, switched) for name in VARIED]
    for name, declared_one in declared.hyperparameters.items():
        for end, value in (("low", declared_one.low), ("high", declared_one.high)):
            if value != declared_one.default:
                calls += [Call(moved(name, end, where), where, {**hyper, name: value}) for where in VARIED]
    calls += [Call(again(name), name, hyper) for name in base_situations]
    histories = at.histories() if "schedule" in declared.functions else {}
    return Plan(Request(situations, calls, histories, hyper, declared.needs, declared.aggregation, training), orders)
