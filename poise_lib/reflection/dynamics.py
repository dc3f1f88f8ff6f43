"""Diagnostics of the optimisation itself: entropy, drift, gradients, clipping.

Each is a pure function of a run and its parent's, with its thresholds as constants beside it.  The thresholds are rules
of thumb, not fitted to any data; the numbers behind each finding go with it.
"""

from __future__ import annotations

from poise_lib.reflection.findings import (
    ADVANTAGE_STD,
    CLIP_FRACTION,
    ENTROPY,
    GRAD_NORM,
    KL,
    RATIO_OUTSIDE,
    Finding,
    Run,
    attempt,
    avoid,
    evidence,
)

COLLAPSED_ENTROPY = 0.15
"""Share of its first value to which entropy may fall."""
PARENT_ENTROPY = 0.6
"""And it must lie this far below the parent's, where there is one."""
EXPLODED_ENTROPY = 1.5
"""Multiple of its first value beyond which entropy has blown up, if it also grew by :data:`ENTROPY_STEP` nats."""
ENTROPY_STEP = 0.1
KL_SPIKE = 4.0
"""Peak over end: a drift that was taken back was an accident."""
KL_NOTABLE = 0.05
"""Nats per token; below, the ratio of two tiny numbers says nothing."""
KL_DRIFT = 3.0
"""Multiple of the parent's final drift."""
GRADIENT_SPIKE = 6.0
"""Peak over the mean of first and last norm.  Never over the parent's: sums over tokens in place of means make every
norm of a run ten times as large, and Adam does not see it."""
CLIPPED = 0.2
"""Share of tokens whose gradient the clip took away."""
OFF_POLICY = 0.35
"""Share of tokens whose ratio left [0.8, 1.2] at an update."""
LOUD_SIGNAL = 4.0
"""Standard deviation of advantages above which single responses rule the update."""
FAINT_SIGNAL = 0.03
"""Below, there is next to no signal."""


def entropy_collapse(run: Run, parent: Run | None) -> Finding | None:
    """Entropy fell to a small share of where it began, and further than the parent's."""
    first, last = run.get(ENTROPY, "first"), run.get(ENTROPY, "last")
    if first is None or last is None or last > COLLAPSED_ENTROPY * first:
        return None
    reference = parent.get(ENTROPY, "last") if parent else None
    if reference is not None and last > PARENT_ENTROPY * reference:
        return None
    reason = f"entropy fell from {first:.3f} to {last:.3f}"
    return Finding(
        "entropy-collapse",
        f"Entropy collapsed from {first:.3f} to {last:.3f} nats.",
        (evidence(run, parent, ENTROPY, "last"), evidence(run, parent, ENTROPY, "first")),
        (
            attempt("regularisation", "entropy-bonus", 0.5, reason),
            attempt("objective", "clip-higher", 0.4, reason),
            attempt("controller", "entropy-target", 0.3, reason),
            attempt("routing", "negative-damping", 0.2, reason),
        ),
    )


def entropy_explosion(run: Run, parent: Run | None) -> Finding | None:
    """Entropy grew well beyond where it began."""
    first, last = run.get(ENTROPY, "first"), run.get(ENTROPY, "last")
    if first is None or last is None or last < max(EXPLODED_ENTROPY * first, first + ENTROPY_STEP):
        return None
    reason = f"entropy grew from {first:.3f} to {last:.3f}"
    return Finding(
        "entropy-explosion",
        f"Entropy grew from {first:.3f} to {last:.3f} nats: the policy became undecided.",
        (evidence(run, parent, ENTROPY, "last"), evidence(run, parent, ENTROPY, "first")),
        (
            avoid("regularisation", "entropy-bonus", 0.6, reason),
            avoid("failure", "uniform-penalty", 0.3, reason),
            attempt("routing", "negative-damping", 0.4, reason),
            attempt("routing", "silence-failed", 0.3, reason),
        ),
    )


def kl_spike(run: Run, parent: Run | None) -> Finding | None:
    """Drift from the reference peaked and came back."""
    high, last = run.get(KL, "high"), run.get(KL, "last")
    if high is None or last is None or high < KL_NOTABLE or high < KL_SPIKE * max(last, 1e-6):
        return None
    reason = f"KL peaked at {high:.3f} and ended at {last:.3f}"
    return Finding(
        "kl-spike",
        f"KL to the reference peaked at {high:.3f} nats and ended at {last:.3f}.",
        (evidence(run, parent, KL, "high"), evidence(run, parent, KL, "last")),
        (
            attempt("clip", "soft-advantage-clip", 0.4, reason),
            attempt("scale", "damped-normalisation", 0.3, reason),
            attempt("controller", "kl-gate", 0.3, reason),
        ),
    )


def kl_drift(run: Run, parent: Run | None) -> Finding | None:
    """The policy ended several times as far from the reference as its parent."""
    last, reference = run.get(KL, "last"), parent.get(KL, "last") if parent else None
    if last is None or reference is None or last < KL_NOTABLE or last < KL_DRIFT * max(reference, 1e-6):
        return None
    reason = f"KL ended at {last:.3f} against the parent's {reference:.3f}"
    return Finding(
        "kl-drift",
        f"The policy drifted to a KL of {last:.3f} nats, {last / max(reference, 1e-6):.1f} times as far as its parent.",
        (evidence(run, parent, KL, "last"),),
        (
            attempt("regularisation", "reference-kl", 0.4, reason),
            attempt("controller", "kl-gate", 0.3, reason),
            attempt("failure", "reference-fallback", 0.2, reason),
        ),
    )


def gradient_spikes(run: Run, parent: Run | None) -> Finding | None:
    """The gradient norm peaked far above its usual size."""
    first, last, high = (run.get(GRAD_NORM, part) for part in ("first", "last", "high"))
    if first is None or last is None or high is None:
        return None
    usual = max(0.5 * (first + last), 1e-9)
    if high < GRADIENT_SPIKE * usual:
        return None
    reason = f"gradient norm peaked at {high:.2f}, usually {usual:.2f}"
    return Finding(
        "gradient-spikes",
        f"The gradient norm peaked at {high:.2f}, {high / usual:.1f} times its usual size.",
        (evidence(run, parent, GRAD_NORM, "high"), evidence(run, parent, GRAD_NORM, "last")),
        (
            attempt("clip", "advantage-clip", 0.5, reason),
            attempt("objective", "dual-clip", 0.3, reason),
            attempt("token", "probability-weighting", 0.3, reason),
            avoid("objective", "plain-gradient", 0.3, reason),
        ),
    )


def over_clipping(run: Run, parent: Run | None) -> Finding | None:
    """The clip took the gradient of many tokens away."""
    last, high = run.get(CLIP_FRACTION, "last"), run.get(CLIP_FRACTION, "high")
    if last is None or high is None or last < CLIPPED:
        return None
    reason = f"{last:.0%} of the tokens were clipped at the end"
    return Finding(
        "over-clipping",
        f"Clipping silenced {last:.0%} of the tokens at the end (peak {high:.0%}).",
        (evidence(run, parent, CLIP_FRACTION, "last"), evidence(run, parent, CLIP_FRACTION, "high")),
        (
            attempt("objective", "soft-gate", 0.4, reason),
            attempt("objective", "truncated-weights", 0.3, reason),
            attempt("controller", "clip-feedback", 0.3, reason),
        ),
    )


def off_policy(run: Run, parent: Run | None) -> Finding | None:
    """Many tokens were far from the sampling policy while it was updated."""
    high = run.get(RATIO_OUTSIDE, "high")
    if high is None or high < OFF_POLICY:
        return None
    reason = f"up to {high:.0%} of the ratios left [0.8, 1.2]"
    return Finding(
        "off-policy",
        f"Up to {high:.0%} of the importance ratios left [0.8, 1.2].",
        (evidence(run, parent, RATIO_OUTSIDE, "high"),),
        (
            avoid("objective", "plain-gradient", 0.5, reason),
            attempt("objective", "proximal-penalty", 0.3, reason),
            attempt("controller", "clip-schedule", 0.2, reason),
        ),
    )


def loud_signal(run: Run, parent: Run | None) -> Finding | None:
    """Advantages were so large that single responses ruled the update."""
    high = run.get(ADVANTAGE_STD, "high")
    if high is None or high < LOUD_SIGNAL:
        return None
    reason = f"the deviation of advantages reached {high:.1f}"
    return Finding(
        "loud-signal",
        f"The deviation of advantages reached {high:.1f}: single responses ruled the update.",
        (evidence(run, parent, ADVANTAGE_STD, "high"),),
        (attempt("clip", "advantage-clip", 0.5, reason), attempt("scale", "moment-scale", 0.3, reason)),
    )


def faint_signal(run: Run, parent: Run | None) -> Finding | None:
    """Advantages had all but vanished at the end."""
    last = run.get(ADVANTAGE_STD, "last")
    if last is None or last >= FAINT_SIGNAL:
        return None
    reason = f"the deviation of advantages fell to {last:.3f}"
    return Finding(
        "faint-signal",
        f"The deviation of advantages fell to {last:.3f}: there was little left to learn from.",
        (evidence(run, parent, ADVANTAGE_STD, "last"),),
        (attempt("scale", "batch-normalisation", 0.4, reason), attempt("baseline", "shrunk-baseline", 0.2, reason)),
    )


DYNAMICS = (
    entropy_collapse,
    entropy_explosion,
    kl_spike,
    kl_drift,
    gradient_spikes,
    over_clipping,
    off_policy,
    loud_signal,
    faint_signal,
)
