"""Confirmation: is a candidate that was picked as the best of many really better than the baseline?

Candidate and baseline are trained on the same unseen seeds and scored on the same unseen problems.  Seeds move all
algorithms together, so differences are paired by seed.  The interval is Student's t over the paired differences;
with k candidates picked for confirmation each gets the level 1 - (1 - confidence) / k (Bonferroni), so that all k
intervals cover together with at least the stated confidence.  That, with seeds and problems that the search never
used, is the correction for having picked the best.  A candidate whose runs failed was picked all the same: k stays.

Differences that do not vary at all tell nothing about their deviation, and t would claim certainty from two lucky
pairs.  There the sign test decides: n pairs of one sign have p = 2^(1-n); when that is not enough, the interval is
widened until it touches zero.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from types import MappingProxyType

from poise_lib.archive import student_t
from poise_lib.archive.objective import allowance
from poise_lib.resources.objective import Direction, Guard
from poise_lib.resources.search_status import ConfirmedCandidate, ConfirmedMetric, Kept, Verdict

_NO_DEVIATION = 1e-9
"""Deviation relative to the largest value below which differences count as equal: it is rounding, not evidence."""


def conclude(
    baseline: Sequence[float],
    arms: Mapping[str, Sequence[float]],
    confidence: float,
    *,
    picked: int,
    baseline_metrics: Mapping[str, Sequence[float]] = MappingProxyType({}),
    arm_metrics: Mapping[str, Mapping[str, Sequence[float]]] = MappingProxyType({}),
    guards: Sequence[Guard] = (),
) -> tuple[ConfirmedCandidate, ...]:
    """What confirmation shows of each candidate, in the order of ``arms``.

    Args:
        baseline: utility of the baseline by seed.
        arms: candidate name to its utilities, in the same order of seeds.
        confidence: joint level of the intervals of all that were picked, such as .95.
        picked: how many were picked for confirmation, those that dropped out since among them.
        baseline_metrics: the baseline's metrics one by one, each by seed.
        arm_metrics: the same of each candidate.
        guards: which of them are to be kept.

    Raises:
        ValueError: fewer than two seeds, another number of seeds than the baseline, a value that is not finite, or
            more arms than were picked.
    """
    if len(arms) > picked:
        raise ValueError(f"{len(arms)} arms, but only {picked} were picked for confirmation")
    level = 1.0 - (1.0 - confidence) / max(picked, 1)
    names = tuple(baseline_metrics)
    # Intervals of the metrics cover together; beside the one of the utility, which decides the verdict, they are extra.
    each = 1.0 - (1.0 - confidence) / (max(picked, 1) * max(len(names), 1))
    confirmed = []
    for name, values in arms.items():
        ours = arm_metrics.get(name, {})
        shown = [
            _metric(metric, ours[metric], baseline_metrics[metric], each, guards) for metric in names if metric in ours
        ]
        confirmed.append(_compare(name, values, baseline, level).model_copy(update={"metrics": tuple(shown)}))
    return tuple(confirmed)


def detectable_difference(sd_of_differences: float, n: int, power: float = 0.8, confidence: float = 0.95) -> float:
    """Smallest true difference that ``n`` pairs show with the given power, in the units of the deviation.

    From the noncentral t distribution: exact for normal differences.  For k candidates confirmed together pass the
    level of one of them, 1 - (1 - confidence) / k.

    Raises:
        ValueError: fewer than two pairs, or a power that no difference can have.
    """
    if n < 2:
        raise ValueError(f"a paired comparison takes at least two pairs, got {n}")
    return student_t.shift_for_power(power, n - 1, confidence) * sd_of_differences / math.sqrt(n)


def _metric(
    name: str, values: Sequence[float], baseline: Sequence[float], level: float, guards: Sequence[Guard]
) -> ConfirmedMetric:
    """One metric against the baseline's, and whether it was kept: shown, lost, or not to be told (non-inferiority)."""
    mean, margin = _difference(name, values, baseline, level)
    reference = fmean(baseline)
    verdicts = []
    for guard in guards:
        if guard.metric != name:
            continue
        limit = allowance(guard, reference)
        # Turned so that falling is what must not happen.
        turned = mean if guard.direction is Direction.MAXIMIZE else -mean
        surely, surely_not = turned - margin >= -limit, turned + margin < -limit
        verdicts.append(Kept.KEPT if surely else Kept.LOST if surely_not else Kept.NOT_SHOWN)
    worst = next((kept for kept in (Kept.LOST, Kept.NOT_SHOWN, Kept.KEPT) if kept in verdicts), None)
    return ConfirmedMetric(
        name=name,
        mean=fmean(values),
        baseline_mean=reference,
        difference=mean,
        low=mean - margin,
        high=mean + margin,
        kept=worst,
    )


def _compare(name: str, values: Sequence[float], baseline: Sequence[float], level: float) -> ConfirmedCandidate:
    mean, margin = _difference(name, values, baseline, level)
    return ConfirmedCandidate(
        candidate=name,
        mean=fmean(values),
        baseline_mean=fmean(baseline),
        difference=mean,
        low=mean - margin,
        high=mean + margin,
        seeds=len(baseline),
        verdict=Verdict.BETTER if mean > margin else Verdict.WORSE if mean < -margin else Verdict.NOT_SHOWN,
    )


def _difference(name: str, values: Sequence[float], baseline: Sequence[float], level: float) -> tuple[float, float]:
    """Mean paired difference, and half the width of its interval."""
    count = len(baseline)
    if count < 2 or len(values) != count:
        raise ValueError(
            f"{name}: {len(values)} runs against {count} of the baseline; give two or more pairs, one a seed"
        )
    if not all(map(math.isfinite, (*values, *baseline))):
        raise ValueError(f"{name}: a run without a finite utility cannot be compared; leave its seed out of both")
    differences = [ours - theirs for ours, theirs in zip(values, baseline, strict=True)]
    return fmean(differences), _margin(differences, max(map(abs, (*values, *baseline))), level)


def _margin(differences: Sequence[float], scale: float, level: float) -> float:
    """Half the width of the interval of the mean difference."""
    count, deviation = len(differences), stdev(differences)
    if deviation <= _NO_DEVIATION * scale:
        return 0.0 if 2.0 ** (1 - count) <= 1.0 - level else abs(fmean(differences))
    return student_t.quantile(0.5 + 0.5 * level, count - 1) * deviation / math.sqrt(count)
