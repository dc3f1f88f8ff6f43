"""Who may spend how much: pure arithmetic on caps, allotments and calls.

Pods have no access to the API, so nobody can ask anybody during a task.  Before a task starts the planner sets an
:class:`Allotment` aside (:func:`grant`); the task's calls stay within it (:class:`Book`); when it ends, what it spent
counts and the rest is free again.  A task that ends without telling counts its whole allotment.  So::

    spent by ended tasks + allotments of running ones <= cap

holds at every instant, wherever anything dies; only a server that bills more than it was asked for can break it, and then
the ledger says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from poise_lib.llm.prices import Price
from poise_lib.llm.usage import Bounds, worst
from poise_lib.resources.llm import Ledger, LLMSettings, Reservation, Spend

_SPARE_CALLS: Final = 2
"""Calls of an allotment for repeats after a server hung up: those count in full."""
_BYTES_A_TOKEN: Final = 4
"""Of a prompt that was cut to ``contextTokens`` by :func:`~poise_lib.llm.tokens.estimate` (three), and of what repairs add."""
_UNIT: Final = 1e-9


@dataclass(frozen=True)
class Allotment:
    """What one task may spend, over all its attempts; ``usd`` is None when dollars are not capped."""

    tokens: int
    usd: float | None = None

    def allows(self, spend: Spend) -> bool:
        """Whether ``spend`` stays within it."""
        return spend.tokens <= self.tokens and (self.usd is None or spend.cost_usd <= self.usd + _UNIT / 2)


@dataclass(frozen=True)
class Caps:
    """The budget's hard caps; None is no cap."""

    tokens: int | None = None
    usd: float | None = None


@dataclass(frozen=True)
class Refusal:
    """No allotment: a cap is reached.  A condition of the search, not an error."""

    cap: str
    """The field, such as budget.llmTokens."""
    message: str


def call_allotment(settings: LLMSettings, price: Price | None) -> Allotment:
    """The most that one call of a search can cost."""
    most = worst(Bounds(0, _BYTES_A_TOKEN * settings.context_tokens, settings.max_output_tokens), price)
    return Allotment(most.tokens, most.cost_usd if price is not None else None)


def task_allotment(settings: LLMSettings, price: Price | None, asks: int = 1) -> Allotment:
    """What a task should get: every ask with all its repairs, and a few repeats.

    Args:
        settings: of the model.
        price: of the model; None when it is not known.
        asks: questions that the task puts.
    """
    one = call_allotment(settings, price)
    calls = asks * (1 + settings.max_repairs) + _SPARE_CALLS
    return Allotment(one.tokens * calls, None if one.usd is None else round(one.usd * calls, 9))


def grant(
    caps: Caps, spent: Spend, held: Iterable[Allotment], wanted: Allotment, smallest: Allotment
) -> Allotment | Refusal:
    """An allotment for a new task: what it wants, or what is left if that is enough for one call.

    Args:
        caps: of the search.
        spent: by tasks that have ended.
        held: by tasks that have not.
        wanted: by the new task.
        smallest: with less than this it is no use to start.
    """
    holding = tuple(held)
    tokens, usd = wanted.tokens, wanted.usd
    if caps.tokens is not None:
        reserved = sum(one.tokens for one in holding)
        left = caps.tokens - spent.tokens - reserved
        if left < smallest.tokens:
            return _refusal(
                "llmTokens", f"{caps.tokens:,}", f"{spent.tokens:,}", f"{reserved:,}", f"{smallest.tokens:,}"
            )
        tokens = min(tokens, left)
    if caps.usd is not None:
        reserved_usd = sum(one.usd or 0.0 for one in holding)
        left_usd = round(caps.usd - spent.cost_usd - reserved_usd, 9)
        if smallest.usd is None or usd is None or left_usd < smallest.usd:
            asked = f"{smallest.usd:.4f}" if smallest.usd is not None else "an unknown sum"
            return _refusal("llmCostUSD", f"{caps.usd:g}", f"{spent.cost_usd:.4f}", f"{reserved_usd:.4f}", asked)
        usd = min(usd, left_usd)
    else:
        usd = None
    return Allotment(tokens, usd)


def _refusal(field: str, cap: str, spent: str, reserved: str, asked: str) -> Refusal:
    message = (
        f"budget.{field} of {cap} is reached: {spent} are spent, {reserved} are set aside for tasks that run, and one more "
        f"call could take {asked}; raise budget.{field} to go on"
    )
    return Refusal(f"budget.{field}", message)


def holding(open_: Iterable[Reservation]) -> tuple[Allotment, ...]:
    """What is held by the tasks of a ledger that have not been counted yet."""
    return tuple(Allotment(item.tokens, item.usd) for item in open_ if not item.counted)


def ledger(spent: Spend, held: Iterable[Allotment], exhausted: str = "") -> Ledger:
    """What a Search's status shows.

    Args:
        spent: by tasks that have ended.
        held: by tasks that have not.
        exhausted: the cap that is reached, such as budget.llmTokens.
    """
    holding = tuple(held)
    return Ledger(
        **dict(spent),
        reserved_tokens=sum(one.tokens for one in holding),
        reserved_usd=round(sum(one.usd or 0.0 for one in holding), 9),
        exhausted=exhausted,
    )


@dataclass(frozen=True)
class Call:
    """One call: what it may cost, and what it has cost once that is known."""

    worst: Spend
    actual: Spend | None = None

    @property
    def charged(self) -> Spend:
        """The worst case until it is settled."""
        return self.actual if self.actual is not None else self.worst


@dataclass(frozen=True)
class Book:
    """All calls of one task, by their names."""

    calls: Mapping[str, Call] = field(default_factory=dict)

    @property
    def charged(self) -> Spend:
        """The sum, never below what was really spent."""
        total = Spend()
        for call in self.calls.values():
            total = total.plus(call.charged)
        return total

    def reserved(self, name: str, worst: Spend) -> Book:
        """With a call that is about to be sent."""
        return replace(self, calls={**self.calls, name: Call(worst)})

    def settled(self, name: str, actual: Spend) -> Book:
        """With what a call has cost.  A call that was never reserved is taken as it is; a second settlement is not."""
        known = self.calls.get(name)
        if known is not None and known.actual is not None:
            return self
        return replace(self, calls={**self.calls, name: Call(known.worst if known else actual, actual)})

    def fits(self, worst: Spend, allotment: Allotment) -> bool:
        """Whether one more call stays within the allotment, whatever it costs."""
        return allotment.allows(self.charged.plus(worst))
