"""What a step is measured by, in the names of :mod:`poise_lib.evaluation.trajectory`.

A candidate's metrics are means over tokens or responses of the whole step.  VeRL averages what each micro-batch, rank
and mini-batch returns, which is another number as soon as those differ in size.  So workers return sums and what they
are sums over; both are averaged alike, and their quotient is the mean.  Names are carried in hexadecimal, because VeRL
takes the extreme instead of the mean where a name contains "max" or "min".
"""

from __future__ import annotations

import math
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Final

from torch import Tensor

from poise_lib.algorithms import ops
from poise_lib.evaluation import trajectory as names

RATIO_OUTSIDE: Final = names.RATIO_OUTSIDE
_PREFIX: Final = "actor/poise/"
_TOKENS: Final = _PREFIX + "t"
_ROWS: Final = _PREFIX + "r"
_PER_TOKEN: Final = _PREFIX + "t/"
_PER_ROW: Final = _PREFIX + "r/"
_OWN: Final = (RATIO_OUTSIDE,)


@dataclass(slots=True)
class MetricSums:
    """Sums over a micro-batch, by metric."""

    tokens: float
    rows: float
    per_token: dict[str, float] = field(default_factory=dict)
    per_row: dict[str, float] = field(default_factory=dict)

    def add(self, name: str, values: Tensor, mask: Tensor) -> None:
        """Add a metric: ``values`` [b, T], a mean over the mask, or [b], a mean over responses."""
        values = values.detach().float()
        if values.shape == mask.shape:
            self.per_token[name] = float(ops.masked(values, mask).sum())
        else:
            self.per_row[name] = float(values.where(mask.any(-1), values.new_zeros(())).sum())

    def encoded(self) -> dict[str, float]:
        """Under names that VeRL's averaging treats alike; all are to be summed over micro-batches."""
        sums = {_TOKENS: self.tokens, _ROWS: self.rows}
        sums |= {_PER_TOKEN + name.encode().hex(): value for name, value in self.per_token.items()}
        return sums | {_PER_ROW + name.encode().hex(): value for name, value in self.per_row.items()}


def decoded(metrics: MutableMapping[str, float]) -> dict[str, float]:
    """Take the encoded sums out of ``metrics``, and return the means under the trajectory's names."""
    tokens, rows = (max(float(metrics.pop(name, 0.0)), 1e-9) for name in (_TOKENS, _ROWS))
    means = {}
    for prefix, count in ((_PER_TOKEN, tokens), (_PER_ROW, rows)):
        for key in [key for key in metrics if key.startswith(prefix)]:
            name = bytes.fromhex(key.removeprefix(prefix)).decode()
            means[_shown(name)] = float(metrics.pop(key)) / count
    return means


def _shown(name: str) -> str:
    if name in _OWN:
        return name
    return names.CLIP_FRACTION if name == "clip_fraction" else names.CANDIDATE_PREFIX + name


TRAJECTORY: Final = frozenset(value for name, value in vars(names).items() if name.isupper() and isinstance(value, str))
_PREFIXES: Final = (names.CANDIDATE_PREFIX, names.COEFFICIENT_PREFIX)


def record_of(metrics: Mapping[str, object], step: int, *, finite: bool = True) -> dict[str, float]:
    """The part of VeRL's metrics of a step that is the trajectory's; other names and what is not finite are left out.

    Args:
        metrics: a line's ``data`` of VeRL's JSON-lines logger, or the trainer's metrics.
        step: steps done before this one, from 0.
        finite: False keeps what is not finite, for what watches over a run.
    """
    record = {names.STEP: float(step)}
    for name, value in metrics.items():
        if not isinstance(value, bool | int | float) or name == names.STEP:
            continue
        if (name in TRAJECTORY or name.startswith(_PREFIXES)) and (not finite or math.isfinite(value)):
            record[name] = float(value)
    return record
