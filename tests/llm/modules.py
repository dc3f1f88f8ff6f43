"""Modules that a scripted model writes: those of the zoo and small variations of them, and ways to get one wrong.

A variation moves the default of one mechanism's switch, so it behaves otherwise and stays within the contract.  A proposal
and its module find each other by the title.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

from poise_lib.algorithms.contract import Hyperparameter, Mechanism
from poise_lib.algorithms.registry import ZooEntry, zoo, zoo_source

_STEPS: Final = (0.2, 0.4, 0.6)
"""How far a default goes towards the value at which its mechanism is off."""


@dataclass(frozen=True)
class Module:
    """A module of the zoo, perhaps with one default moved."""

    entry: ZooEntry
    mechanism: Mechanism | None = None
    default: float = 0.0

    @property
    def title(self) -> str:
        """What tells it from all others."""
        return self.entry.title if self.mechanism is None else (
            f"{self.entry.title} with {self.mechanism.name} at {self.default:g}"
        )  # fmt: skip

    @property
    def hyperparameters(self) -> Mapping[str, Hyperparameter]:
        """As the module declares them."""
        declared = dict(self.entry.hyperparameters)
        if self.mechanism is not None:
            old = declared[self.mechanism.hyperparameter]
            declared[self.mechanism.hyperparameter] = Hyperparameter(self.default, old.low, old.high, old.description)
        return declared

    @property
    def source(self) -> str:
        """The module's text."""
        text = zoo_source(self.entry.name)
        if self.mechanism is None:
            return text
        name = self.mechanism.hyperparameter
        return re.sub(rf'("{name}": Hyperparameter\(\s*)[^,\s]+,', rf"\g<1>{self.default!r},", text, count=1)


@cache
def modules() -> Mapping[str, Module]:
    """All of them by title; the plain baseline is left out, since a search begins with it."""
    found = {}
    for entry in zoo().values():
        if entry.name != "grpo":
            found[Module(entry).title] = Module(entry)
        for mechanism in entry.mechanisms:
            start = entry.hyperparameters[mechanism.hyperparameter].default
            for step in _STEPS:
                moved = Module(entry, mechanism, float(f"{start + step * (mechanism.off - start):.3g}"))
                if moved.default not in (start, mechanism.off):
                    found[moved.title] = moved
    return found


def _instead(source: str, body: str) -> str:
    """The module with other advantages, made from its own."""
    renamed = source.replace("def advantages(", "def plain_advantages(")
    return f'{renamed}\n\ndef advantages(batch: Batch, hyper: Hyper) -> Tensor:\n    """Advantages."""\n    return {body}\n'


def _idle(source: str) -> str:
    """The first mechanism's switch is declared and not read."""
    switch = re.search(r'Mechanism\([^)]*?"(\w+)",\s*[-\d.e]+,?\s*\)', source)
    assert switch is not None
    return source.replace(f'hyper["{switch[1]}"]', "0.5")


MISTAKES: Final[Mapping[str, Callable[[str], str]]] = {
    "wrong-names": lambda source: re.sub(r'(Mechanism\(\s*")([a-z])', r"\g<1>my-\g<2>", source),
    "flipped-sign": lambda source: _instead(source, "-plain_advantages(batch, hyper)"),
    "not-finite": lambda source: _instead(source, "plain_advantages(batch, hyper) / 0.0"),
    "padding-matters": lambda source: _instead(source, "plain_advantages(batch, hyper) + batch.old_logprobs.mean()"),
    "idle-mechanism": _idle,
    "forbidden": lambda source: source.replace("from torch import Tensor", "import os\n\nfrom torch import Tensor"),
    "cut": lambda source: source[: len(source) * 2 // 3],
}
"""Code that looks right and is not."""
