"""The behaviour digest: a name for what an algorithm does, whatever its source looks like.

What an algorithm does is the gradient of its reduced loss in the probe situations.  The fields are scaled to unit
size, because Adam with gradient clipping does not see the scale (an algorithm whose advantages are all multiplied by
20 is the same algorithm), and projected on fixed random directions:

- half of the numbers from all situations together, on a common scale: how strongly it answers where;
- half from single situations, each on its own scale: so that a term that is small elsewhere (a KL term in all-fail
  groups)
  still counts.

The numbers are rounded to a grid of step 1/1000 and hashed.  A rounded number may flip by float noise when it lies
near the edge of a cell, so the grid is shifted, by one of 64 offsets, to where all numbers lie furthest from an edge;
the digest names the offset too.  Two runs of the same algorithm that differ by float noise (1e-6) are recognised by
comparing a digest with the other run's digests at all offsets (:meth:`Behaviour.matches`); differences beyond about
1e-3 are told apart.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

STEP: Final = 1e-3
OFFSETS: Final = 64
_PROJECTIONS: Final = 8
_SEED: Final = 20260323
_NOTHING: Final = 1e-6
"""A field smaller than this, relative to all of them, is float noise around zero."""
_BOUND: Final = 1e6


@dataclass(frozen=True)
class Behaviour:
    """The projections of one algorithm."""

    numbers: Numbers

    @cached_property
    def _all(self) -> tuple[str, ...]:
        return tuple(self._at(offset) for offset in range(OFFSETS))

    @property
    def digest(self) -> str:
        """``sha256:...``, at the offset where every number is furthest from an edge of its cell."""
        margins = []
        for offset in range(OFFSETS):
            inside = self._cells(offset) % 1.0
            margins.append(float(np.minimum(inside, 1.0 - inside).min()))
        return self._all[int(np.argmax(margins))]

    def matches(self, digest: str) -> bool:
        """Whether ``digest`` is of the same behaviour, float noise apart."""
        return digest in self._all

    def _cells(self, offset: int) -> Numbers:
        return self.numbers / STEP + offset / OFFSETS

    def _at(self, offset: int) -> str:
        cells = np.floor(self._cells(offset)).astype("<i8")
        return "sha256:" + hashlib.sha256(bytes([offset]) + cells.tobytes()).hexdigest()


def behaviour_of(fields: Mapping[str, Sequence[NDArray[np.float32]]]) -> Behaviour:
    """The behaviour that gradient fields show.

    Args:
        fields: situation -> gradients there (with respect to log-probabilities and, if used, entropy), finite.
    """
    flat = {name: np.concatenate([part.astype(np.float64).ravel() for part in parts]) for name, parts in fields.items()}
    everything = np.concatenate([flat[name] for name in sorted(flat)])
    scale = _rms(everything)
    numbers = [_project(everything, scale, "everything")]
    for name in sorted(flat):
        own = _rms(flat[name])
        numbers.append(_project(flat[name], own if own > _NOTHING * scale else np.inf, name)[:1])
    return Behaviour(np.clip(np.concatenate(numbers), -_BOUND, _BOUND))


def _rms(values: Numbers) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _project(values: Numbers, scale: float, name: str) -> Numbers:
    """Projections of ``values / scale`` on fixed random directions; of unit variance, roughly; zeros when ``scale``
    is 0."""
    if scale == 0.0:
        return np.zeros(_PROJECTIONS)
    seed = int.from_bytes(hashlib.sha256(f"{_SEED}/{name}".encode()).digest()[:4], "little")
    directions = np.random.RandomState(seed).standard_normal((_PROJECTIONS, values.size))
    projected: Numbers = directions @ (values / scale) / np.sqrt(values.size)
    return projected
