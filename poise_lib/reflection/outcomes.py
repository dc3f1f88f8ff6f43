"""Diagnostics of what the policy does: accuracy, format, length, and the outcomes of groups."""

from __future__ import annotations

from poise_lib.names import METRIC_FORMAT_VALID
from poise_lib.reflection.findings import (
    ACCURACY,
    FORMAT_VALID,
    GROUPS_ALL_CORRECT,
    GROUPS_ALL_FAIL,
    RESPONSE_CUT,
    RESPONSE_LENGTH,
    Finding,
    Run,
    attempt,
    avoid,
    evidence,
)
from poise_lib.resources.candidate import EvidenceItem

FORMAT_DROP = 0.05
"""Loss of valid responses, as a share, that counts."""
LENGTH_COLLAPSE = 0.6
"""Share of its first value to which length may fall."""
LENGTH_COLLAPSED = "length-collapse"
LENGTH_GROWTH = 1.4
"""Multiple of the parent's final length."""
CUT_SHARE = 0.1
"""Share of responses that reach the limit without an end."""
DEAD_SHARE = 0.6
"""Share of groups of one outcome at the end that leaves little to compare."""
NO_GAIN = 0.02
"""Gain in training accuracy below which nothing was learnt."""
LOST_PEAK = 0.1
"""Training accuracy given back after its peak."""
FASTER = 0.03
"""Lead over the parent's final training accuracy that is worth a word."""


def format_loss(run: Run, parent: Run | None) -> Finding | None:
    """Fewer responses keep the format than at the start, or than the parent's do."""
    first, last = run.get(FORMAT_VALID, "first"), run.get(FORMAT_VALID, "last")
    scored = run.metrics.get(METRIC_FORMAT_VALID)
    reference = parent.metrics.get(METRIC_FORMAT_VALID) if parent else None
    items: list[EvidenceItem] = []
    sentences = []
    if first is not None and last is not None and last < first - FORMAT_DROP:
        items.append(evidence(run, parent, FORMAT_VALID, "last", f"{first:.0%} at the start"))
        sentences.append(f"Valid responses fell from {first:.0%} to {last:.0%} in training.")
    if scored is not None and reference is not None and scored < reference - 100.0 * FORMAT_DROP:
        items.append(EvidenceItem(metric=METRIC_FORMAT_VALID, value=scored, reference=reference))
        sentences.append(f"When scored, {scored:.0f}% kept the format, against the parent's {reference:.0f}%.")
    if not items:
        return None
    reason = sentences[-1].rstrip(".")
    return Finding(
        "format-loss",
        " ".join(sentences),
        tuple(items),
        (
            attempt("failure", "invalid-floor", 0.5, reason),
            attempt("failure", "format-stream", 0.4, reason),
            attempt("reward", "format-penalty", 0.4, reason),
            attempt("reward", "graded-reward", 0.2, reason),
        ),
    )


def length_collapse(run: Run, parent: Run | None) -> Finding | None:
    """Responses shrank to a fraction of their length."""
    first, last = run.get(RESPONSE_LENGTH, "first"), run.get(RESPONSE_LENGTH, "last")
    if first is None or last is None or last > LENGTH_COLLAPSE * first:
        return None
    reason = f"responses shrank from {first:.1f} to {last:.1f} tokens"
    return Finding(
        LENGTH_COLLAPSED,
        f"Responses shrank from {first:.1f} to {last:.1f} tokens.",
        (evidence(run, parent, RESPONSE_LENGTH, "last"),),
        (
            attempt("length", "length-attenuation", 0.4, reason),
            attempt("controller", "accuracy-gated-efficiency", 0.3, reason),
            avoid("length", "length-index", 0.4, reason),
            avoid("reward", "concise-correct", 0.3, reason),
        ),
    )


def length_growth(run: Run, parent: Run | None) -> Finding | None:
    """Responses ended far longer than the parent's and were no more often correct."""
    last, reference = run.get(RESPONSE_LENGTH, "last"), parent.get(RESPONSE_LENGTH, "last") if parent else None
    if last is None or reference is None or last < LENGTH_GROWTH * reference:
        return None
    ours, theirs = run.get(ACCURACY, "last"), parent.get(ACCURACY, "last") if parent else None
    if ours is not None and theirs is not None and ours > theirs + NO_GAIN:
        return None
    reason = f"responses grew to {last:.1f} tokens against {reference:.1f} without being more often right"
    return Finding(
        "length-growth",
        f"Responses grew to {last:.1f} tokens against the parent's {reference:.1f} without a gain in accuracy.",
        (evidence(run, parent, RESPONSE_LENGTH, "last"),),
        (attempt("length", "overlength-cost", 0.4, reason), avoid("length", "length-power-law", 0.4, reason)),
    )


def cut_off(run: Run, parent: Run | None) -> Finding | None:
    """Many responses reach the length limit without an end."""
    last = run.get(RESPONSE_CUT, "last")
    if last is None or last < CUT_SHARE:
        return None
    reason = f"{last:.0%} of the responses were cut off at the end"
    return Finding(
        "cut-off",
        f"{last:.0%} of the responses reached the length limit at the end.",
        (evidence(run, parent, RESPONSE_CUT, "last"),),
        (attempt("reward", "overlong-shaping", 0.5, reason), attempt("length", "overlength-cost", 0.2, reason)),
    )


def failing_groups(run: Run, parent: Run | None) -> Finding | None:
    """Most groups still fail altogether at the end."""
    last = run.get(GROUPS_ALL_FAIL, "last")
    if last is None or last < DEAD_SHARE:
        return None
    reason = f"{last:.0%} of the groups still failed altogether at the end"
    return Finding(
        "failing-groups",
        f"{last:.0%} of the groups still failed altogether at the end and taught little.",
        (evidence(run, parent, GROUPS_ALL_FAIL, "last"),),
        (
            attempt("failure", "regime-penalties", 0.3, reason),
            attempt("failure", "entropy-signal", 0.3, reason),
            attempt("routing", "rare-success", 0.4, reason),
            attempt("baseline", "optimistic-baseline", 0.2, reason),
        ),
    )


def solved_groups(run: Run, parent: Run | None) -> Finding | None:
    """Most groups are solved at the end, and nothing is left to compare in them."""
    last = run.get(GROUPS_ALL_CORRECT, "last")
    if last is None or last < DEAD_SHARE:
        return None
    reason = f"{last:.0%} of the groups were solved at the end"
    return Finding(
        "solved-groups",
        f"{last:.0%} of the groups were solved at the end; the update rested on the few that were not.",
        (evidence(run, parent, GROUPS_ALL_CORRECT, "last"),),
        (
            attempt("routing", "difficulty-weighting", 0.4, reason),
            attempt("length", "efficiency-stream", 0.2, reason),
            attempt("scale", "batch-normalisation", 0.2, reason),
        ),
        benign=True,
    )


def no_learning(run: Run, parent: Run | None) -> Finding | None:
    """Training accuracy did not rise."""
    first, last = run.get(ACCURACY, "first"), run.get(ACCURACY, "last")
    if first is None or last is None or last > first + NO_GAIN:
        return None
    reason = f"training accuracy went from {first:.1%} to {last:.1%}"
    return Finding(
        "no-learning",
        f"Nothing was learnt: training accuracy went from {first:.1%} to {last:.1%}.",
        (evidence(run, parent, ACCURACY, "first"), evidence(run, parent, ACCURACY, "last")),
        (attempt("scale", "group-normalisation", 0.3, reason), attempt("routing", "rare-success", 0.3, reason)),
    )


def unstable_reward(run: Run, parent: Run | None) -> Finding | None:
    """Training accuracy peaked and was lost again."""
    high, last = run.get(ACCURACY, "high"), run.get(ACCURACY, "last")
    if high is None or last is None or last > high - LOST_PEAK:
        return None
    reason = f"training accuracy peaked at {high:.1%} and ended at {last:.1%}"
    return Finding(
        "unstable-reward",
        f"Training accuracy peaked at {high:.1%} and ended at {last:.1%}.",
        (evidence(run, parent, ACCURACY, "high"), evidence(run, parent, ACCURACY, "last")),
        (
            attempt("controller", "clip-schedule", 0.4, reason),
            attempt("clip", "soft-advantage-clip", 0.3, reason),
            attempt("regularisation", "reference-kl", 0.2, reason),
        ),
    )


def faster_learning(run: Run, parent: Run | None) -> Finding | None:
    """Training accuracy ended clearly above the parent's."""
    last, reference = run.get(ACCURACY, "last"), parent.get(ACCURACY, "last") if parent else None
    if last is None or reference is None or last < reference + FASTER:
        return None
    return Finding(
        "faster-learning",
        f"Training accuracy reached {last:.1%}, against the parent's {reference:.1%}.",
        (evidence(run, parent, ACCURACY, "last"),),
        benign=True,
    )


OUTCOMES = (
    no_learning,
    format_loss,
    failing_groups,
    unstable_reward,
    length_collapse,
    length_growth,
    cut_off,
    solved_groups,
    faster_learning,
)
