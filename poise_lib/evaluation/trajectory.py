"""The training trajectory tau: per-step metrics under names that every engine uses, and what is kept of them.

Where VeRL records the same quantity the name is VeRL's, so that one set of diagnostics reads both engines.  A
record is a flat mapping of metric name to float, one per step, in order.  A candidate's own metrics appear as
``candidate/<name>``.

Trajectories come from the process that ran untrusted code.  They are advisory: they may explain a score or stop a run
early, and never enter a score.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

STEP: Final = "training/global_step"
"""Steps done before this one, from 0."""
REWARD: Final = "critic/rewards/mean"
"""Mean of what the candidate's ``rewards`` returned (correctness, without one)."""
ACCURACY: Final = "critic/score/mean"
"""Share of sampled responses that are correct."""
FORMAT_VALID: Final = "reward/format_valid"
"""Share of sampled responses that keep the format."""
ENTROPY: Final = "actor/entropy"
"""Mean entropy of the sampling policy per token, nats."""
KL: Final = "actor/kl"
"""Mean k3 estimate of KL(sampling policy || reference) per token; only when the candidate needs the reference."""
GRAD_NORM: Final = "actor/grad_norm"
"""Norm of the gradient before clipping, mean over the step's updates."""
CLIP_FRACTION: Final = "actor/pg_clipfrac"
"""The candidate's ``clip_fraction`` metric; only when it reports one."""
LOSS: Final = "actor/pg_loss"
"""The reduced loss, mean over the step's updates."""
RATIO_OUTSIDE: Final = "actor/ratio_outside"
"""Share of tokens whose importance ratio left [0.8, 1.2] at an update."""
LEARNING_RATE: Final = "actor/lr"
RESPONSE_LENGTH: Final = "response_length/mean"
"""Mean length of sampled responses, tokens."""
RESPONSE_LENGTH_MAX: Final = "response_length/max"
RESPONSE_CUT: Final = "response_length/clip_ratio"
"""Share of responses that reached the longest length without ending."""
GROUPS_ALL_FAIL: Final = "groups/all_fail"
"""Share of groups without a correct response; the three shares add up to 1."""
GROUPS_MIXED: Final = "groups/mixed"
GROUPS_ALL_CORRECT: Final = "groups/all_correct"
GROUPS_RARE_SUCCESS: Final = "groups/rare_success"
"""Share of groups with exactly one correct response; a part of the mixed ones."""
ADVANTAGE_MEAN: Final = "critic/advantages/mean"
"""Over the tokens of the step's responses, as are the next three."""
ADVANTAGE_STD: Final = "critic/advantages/std"
ADVANTAGE_MAX: Final = "critic/advantages/max"
ADVANTAGE_MIN: Final = "critic/advantages/min"
CANDIDATE_PREFIX: Final = "candidate/"
COEFFICIENT_PREFIX: Final = "coefficient/"
"""What the candidate's ``schedule`` returned for the step."""
TIME_SAMPLE: Final = "timing_s/gen"
"""Seconds; times are left out of everything that must repeat."""
TIME_UPDATE: Final = "timing_s/update_actor"
TIMES: Final = (TIME_SAMPLE, TIME_UPDATE)

Record = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class MetricSummary:
    """One metric over a run."""

    first: float
    """Mean of the first tenth of the steps that have it (at least one)."""
    last: float
    """Mean of the last tenth."""
    mean: float
    low: float
    high: float


def down_sample(trajectory: Sequence[Record], points: int) -> list[dict[str, float]]:
    """At most ``points`` records: means over consecutive steps, so that no spike disappears between two samples unseen.

    Each record carries the last step of its stretch under :data:`STEP`.
    """
    if points < 1:
        raise ValueError(f"points must be at least 1, got {points}")
    count = min(points, len(trajectory))
    edges = [round(i * len(trajectory) / count) for i in range(count + 1)] if count else []
    thinned = []
    for start, end in itertools.pairwise(edges):
        stretch = trajectory[start:end]
        record = {name: _mean([step[name] for step in stretch if name in step]) for name in _names(stretch)}
        record[STEP] = stretch[-1].get(STEP, float(end - 1))
        thinned.append(record)
    return thinned


def summarise(trajectory: Sequence[Record]) -> dict[str, MetricSummary]:
    """Start, end, mean and extremes of every metric; metrics that are never finite are left out."""
    summaries = {}
    for name in _names(trajectory):
        values = [step[name] for step in trajectory if math.isfinite(step.get(name, math.nan))]
        if values:
            edge = max(1, len(values) // 10)
            summaries[name] = MetricSummary(
                _mean(values[:edge]), _mean(values[-edge:]), _mean(values), min(values), max(values)
            )
    return summaries


def _names(records: Sequence[Record]) -> list[str]:
    """Every metric name, in order of first appearance."""
    return list(dict.fromkeys(name for record in records for name in record))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


SUMMARISED: Final = (
    REWARD,
    ACCURACY,
    FORMAT_VALID,
    ENTROPY,
    KL,
    GRAD_NORM,
    CLIP_FRACTION,
    RATIO_OUTSIDE,
    RESPONSE_LENGTH,
    RESPONSE_CUT,
    GROUPS_ALL_FAIL,
    GROUPS_MIXED,
    GROUPS_ALL_CORRECT,
    ADVANTAGE_STD,
)
"""The metrics that an Evaluation's ``status.summary``, an archive entry's ``trajectory`` and the diagnostics speak
of."""


def flat_summary(trajectory: Sequence[Record]) -> dict[str, float]:
    """The summary as one flat mapping, the form in which resources and archive entries carry it.

    Keys are ``<metric>.first``, ``.last``, ``.low`` and ``.high`` (see :class:`MetricSummary`) for every metric of
    :data:`SUMMARISED` that the trajectory has; values are rounded to 6 decimals.
    """
    flat = {}
    for name, summary in summarise(trajectory).items():
        if name in SUMMARISED:
            for part in ("first", "last", "low", "high"):
                flat[f"{name}.{part}"] = round(getattr(summary, part), 6)
    return flat
