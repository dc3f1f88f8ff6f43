"""Fit what could be said into a token budget, by value and not by cutting at the end.

A prompt's context is a list of pieces: the parent's code, a reference, a paper, a failure.  Each has a value, and forms
from the fullest to the shortest, made by whoever knows what can be left out of it (points of a trajectory before
metrics, code before the proposal).  Required pieces come first, in their shortest form; if even these do not fit,
that is an error which names the smallest budget that would do.  The rest of the budget goes, step by step, to whatever gives
most value for its tokens: an optional piece, or a fuller form of one that is there (a greedy multiple-choice knapsack).
The same pieces and budget give the same choice.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from poise_lib.errors import InvalidInputError
from poise_lib.llm.tokens import estimate

Estimate = Callable[[str], int]
"""Tokens of a text; must not grow when a text is split (a sum over parts is at least the whole)."""
estimate_tokens: Final[Estimate] = estimate
"""Where the caller has no tokenizer."""


class ContextTooSmallError(InvalidInputError):
    """Required pieces do not fit."""

    def __init__(self, budget: int, smallest: int, required: Sequence[str]) -> None:
        super().__init__(
            f"a context of {budget} tokens is too small for what must be in it ({', '.join(required)}); "
            f"the smallest that works is {smallest}"
        )
        self.budget = budget
        self.smallest = smallest


@dataclass(frozen=True, slots=True)
class Form:
    """A piece at one length."""

    text: str
    share: float = 1.0
    """Of the piece's value, in (0, 1]; fuller forms have more."""
    left_out: str = ""
    """What this form lacks, in our own words; empty for the fullest."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Something that may stand in a context."""

    key: str
    """Unique; names the piece in the report, in our own words (kinds and object names only)."""
    kind: str
    """What it is, in our own words; pieces of one kind stand together."""
    forms: tuple[Form, ...]
    """From the fullest to the shortest; at least one."""
    value: float = 1.0
    required: bool = False
    why: str = ""
    """Why it is shown, in our own words."""
    directive: bool = False
    """The user's own words, which state a goal; all other pieces are data."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A piece in the form in which it stands in the context."""

    piece: Piece
    form: Form


@dataclass(frozen=True, slots=True)
class Context:
    """What was chosen, in the order in which it was offered, and what was not."""

    placed: tuple[Placed, ...]
    tokens: int
    shortened: tuple[str, ...] = ()
    """``key: what is lacking``."""
    omitted: tuple[str, ...] = ()
    """Keys of the pieces that found no room."""


def fit(pieces: Sequence[Piece], budget: int, cost: Callable[[Piece, Form], int], *, overhead: int = 0) -> Context:
    """Choose pieces and forms within a budget.

    Args:
        pieces: in the order in which they shall stand.
        budget: tokens in all.
        cost: tokens of a piece in a form, with whatever is written around it.
        overhead: tokens of what is there anyway; counted in.

    Raises:
        ContextTooSmallError: the overhead and the shortest forms of the required pieces exceed the budget.
        ValueError: two pieces have one key, or a piece has no form.
    """
    keys = [piece.key for piece in pieces]
    if len(set(keys)) != len(keys) or any(not piece.forms for piece in pieces):
        raise ValueError("pieces need keys of their own and at least one form")
    costs = [[cost(piece, form) for form in piece.forms] for piece in pieces]
    chosen: list[int | None] = [_cheapest(costs[i]) if piece.required else None for i, piece in enumerate(pieces)]
    used = overhead + sum(costs[i][at] for i, at in enumerate(chosen) if at is not None)
    if used > budget:
        raise ContextTooSmallError(budget, used, [piece.key for piece in pieces if piece.required])
    used = _fill(pieces, costs, chosen, used, budget)
    placed = tuple(Placed(piece, piece.forms[at]) for piece, at in zip(pieces, chosen, strict=True) if at is not None)
    return Context(
        placed=placed,
        tokens=used,
        shortened=tuple(f"{item.piece.key}: {item.form.left_out}" for item in placed if item.form.left_out),
        omitted=tuple(piece.key for piece, at in zip(pieces, chosen, strict=True) if at is None),
    )


def _fill(
    pieces: Sequence[Piece], costs: Sequence[Sequence[int]], chosen: list[int | None], used: int, budget: int
) -> int:
    """Spend what is left on the steps of most value a token; changes ``chosen``, returns the tokens used."""
    queue: list[tuple[float, int, int, int | None]] = []

    def offer(index: int, room: int) -> None:
        """The best step of a piece that fits into ``room``."""
        now = chosen[index]
        piece, prices = pieces[index], costs[index]
        spent, worth = (prices[now], piece.forms[now].share) if now is not None else (0, 0.0)
        steps = [
            (-(piece.value * (form.share - worth)) / max(1, prices[at] - spent), at)
            for at, form in enumerate(piece.forms)
            if form.share > worth and prices[at] - spent <= room
        ]
        if steps and piece.value > 0:
            density, at = min(steps)
            heapq.heappush(queue, (density, index, at, now))

    for index in range(len(pieces)):
        offer(index, budget - used)
    while queue:
        _, index, at, before = heapq.heappop(queue)
        step = costs[index][at] - (costs[index][before] if before is not None else 0)
        if step <= budget - used:
            chosen[index] = at
            used += step
        # Room has shrunk since the step was offered: what does not fit any more may fit in a shorter form.
        offer(index, budget - used)
    return used


def _cheapest(prices: Sequence[int]) -> int:
    return min(range(len(prices)), key=lambda at: (prices[at], at))
