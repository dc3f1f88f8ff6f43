"""The nano task: chains of small operations modulo 1000, with working whose length the policy chooses.

A problem starts from a three-digit number and applies three to eight operations to it, each result taken modulo
1000.  The answer is the last total.  A response may write working before its answer: running totals, each marked by
the step it belongs to; any of them may be left out.  Writing all of them makes every step a small sum; writing none
makes the answer one hard leap.  Nothing rewards working as such: the policy has to find out that it pays.

Numbers are written with the least significant digit first, so that a carry is known before the digit that needs it.

Prompts have :data:`PROMPT_LENGTH` tokens: three digits, eight slots for operations (empty ones hold ``.``) and
``?``.  An operation is one token (``+7``).  Responses use only the first :data:`RESPONSE_VOCABULARY` tokens:
digits, step marks ``a`` to ``h``, ``#`` before the answer and ``;`` at the end.  For 214 + 7 - 3 the prompt is ``4
1 2 +7 -3 . . . . . . ?`` and a complete response ``a 1 2 2 b 8 1 2 # 8 1 2 ;``.

A response is *valid* when it ends with ``;``, holds exactly one ``#`` and has exactly three digits between the two.
It is *correct* when it is valid and those digits are the answer.  Working is never judged.  One guess in a thousand
is right.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

MODULUS: Final = 1000
DIGITS: Final = 3
MAX_OPERATIONS: Final = 8
PROMPT_LENGTH: Final = DIGITS + MAX_OPERATIONS + 1

STEP_MARKS: Final = tuple("abcdefgh")
ANSWER_MARK: Final = "#"
END: Final = ";"
_ADDITIONS: Final = tuple(f"+{operand}" for operand in range(1, 10))
_SUBTRACTIONS: Final = tuple(f"-{operand}" for operand in range(1, 10))
_MULTIPLICATIONS: Final = tuple(f"*{operand}" for operand in range(2, 10))
TOKENS: Final = (
    *"0123456789",
    *STEP_MARKS,
    ANSWER_MARK,
    END,
    "?",
    ".",
    *_ADDITIONS,
    *_SUBTRACTIONS,
    *_MULTIPLICATIONS,
)
"""Every token by its id; a digit's id is its value."""
TOKEN_ID: Final = {token: index for index, token in enumerate(TOKENS)}
RESPONSE_VOCABULARY: Final = TOKEN_ID[END] + 1
ANSWER_ID: Final = TOKEN_ID[ANSWER_MARK]
END_ID: Final = TOKEN_ID[END]


@dataclass(frozen=True, slots=True)
class Family:
    """A kind of problem: how many operations, of which sorts."""

    name: str
    operations: int
    symbols: str
    """Operators drawn from, for example ``"+-*"``."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A start value and the operations applied to it, as tokens such as ``"+7"``."""

    family: str
    start: int
    operations: tuple[str, ...]

    @property
    def totals(self) -> tuple[int, ...]:
        """The running total after each operation; the last one is the answer."""
        totals, value = [], self.start
        for operation in self.operations:
            value = apply(value, operation)
            totals.append(value)
        return tuple(totals)

    @property
    def answer(self) -> int:
        """The number that a correct response ends with."""
        return self.totals[-1]

    @property
    def key(self) -> str:
        """The problem as text; two problems are the same exactly when their keys are."""
        return f"{self.start:03d}{''.join(self.operations)}"

    def prompt(self) -> list[int]:
        """The :data:`PROMPT_LENGTH` token ids that pose the problem."""
        empty = (".",) * (MAX_OPERATIONS - len(self.operations))
        return [*digits(self.start), *(TOKEN_ID[token] for token in (*self.operations, *empty, "?"))]


def apply(value: int, operation: str) -> int:
    """``value`` after one operation token, modulo :data:`MODULUS`."""
    operand = int(operation[1:])
    if operation[0] == "+":
        return (value + operand) % MODULUS
    if operation[0] == "-":
        return (value - operand) % MODULUS
    return (value * operand) % MODULUS


def digits(value: int) -> list[int]:
    """The :data:`DIGITS` digits of ``value``, least significant first; they are token ids as well."""
    return [value // 10**place % 10 for place in range(DIGITS)]


def draw(family: Family, rng: random.Random) -> Problem:
    """A random problem of ``family``."""
    start = rng.randrange(100, MODULUS)
    operations = []
    for _ in range(family.operations):
        symbol = rng.choice(family.symbols)
        operations.append(f"{symbol}{rng.randint(2 if symbol == '*' else 1, 9)}")
    return Problem(family.name, start, tuple(operations))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the verifier says of one response."""

    valid: bool
    correct: bool


def verify(answer: int, response: Sequence[int]) -> Verdict:
    """Judge a response, given as token ids up to and including the end token (absent when it was cut off)."""
    tail = DIGITS + 2
    valid = (
        len(response) >= tail
        and response[-1] == END_ID
        and response[-tail] == ANSWER_ID
        and list(response).count(ANSWER_ID) == 1
        and all(token < 10 for token in response[-tail + 1 : -1])
    )
    return Verdict(valid, valid and list(response[-tail + 1 : -1]) == digits(answer))


def text(tokens: Sequence[int]) -> str:
    """Token ids as text, for records and people."""
    return "".join(TOKENS[token] for token in tokens)
