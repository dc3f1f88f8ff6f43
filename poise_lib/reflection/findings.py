"""What a diagnostic works on and what it returns.

The metrics of a run come as one flat mapping, ``<metric>.first``, ``.last``, ``.low`` and ``.high`` (an archive entry's
``trajectory``); the names of metrics are those of VeRL where it has them, and any of them may be missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from poise_lib.resources.candidate import Advice, EvidenceItem

REWARD: Final = "critic/rewards/mean"
ACCURACY: Final = "critic/score/mean"
FORMAT_VALID: Final = "reward/format_valid"
ENTROPY: Final = "actor/entropy"
KL: Final = "actor/kl"
GRAD_NORM: Final = "actor/grad_norm"
CLIP_FRACTION: Final = "actor/pg_clipfrac"
RATIO_OUTSIDE: Final = "actor/ratio_outside"
RESPONSE_LENGTH: Final = "response_length/mean"
RESPONSE_CUT: Final = "response_length/clip_ratio"
GROUPS_ALL_FAIL: Final = "groups/all_fail"
GROUPS_ALL_CORRECT: Final = "groups/all_correct"
ADVANTAGE_STD: Final = "critic/advantages/std"


@dataclass(frozen=True, slots=True)
class Run:
    """The summary of a trajectory, and the scores of what came out of it."""

    summary: Mapping[str, float] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)

    def get(self, metric: str, part: str) -> float | None:
        """A part ("first", "last", "low", "high") of a metric, or None when the run has it not."""
        return self.summary.get(f"{metric}.{part}")


@dataclass(frozen=True, slots=True)
class Finding:
    """A diagnostic that fired."""

    name: str
    sentence: str
    evidence: tuple[EvidenceItem, ...]
    advice: tuple[Advice, ...] = ()
    benign: bool = False
    """A strength, not a fault."""


def evidence(run: Run, parent: Run | None, metric: str, part: str, note: str = "") -> EvidenceItem:
    """A number of ``run`` beside the parent's.  The caller has seen that the run has it."""
    return EvidenceItem(
        metric=f"{metric}.{part}",
        value=run.summary[f"{metric}.{part}"],
        reference=parent.get(metric, part) if parent else None,
        note=note,
    )


def attempt(slot: str, kind: str, strength: float, reason: str) -> Advice:
    """Advice to lean towards a kind (or, with no kind, towards its slot)."""
    return Advice(action="Try", slot=slot, kind=kind, strength=strength, reason=reason)


def avoid(slot: str, kind: str, strength: float, reason: str) -> Advice:
    """Advice to lean away from a kind or slot."""
    return Advice(action="Avoid", slot=slot, kind=kind, strength=strength, reason=reason)
