"""The reflection operator A without a model: diagnose a candidate against its parent, and say what to try next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from poise_lib.archive.entry import Entry
from poise_lib.archive.utility import feasible
from poise_lib.names import METRIC_FORMAT_VALID, METRIC_OVERALL, METRIC_RESPONSE_LENGTH
from poise_lib.reflection.dynamics import DYNAMICS
from poise_lib.reflection.effects import changes, effects, lessons
from poise_lib.reflection.findings import Finding, Run
from poise_lib.reflection.objective import objective_items, objective_sentences, wants_shorter
from poise_lib.reflection.outcomes import LENGTH_COLLAPSED, OUTCOMES
from poise_lib.resources.candidate import Advice, Effect, EvidenceItem, MechanismEffect, Reflection
from poise_lib.resources.objective import Objective

MAX_FINDINGS = 12
MAX_EVIDENCE = 16
MAX_ADVICE = 12
MOVED = 5.0
"""Points by which a benchmark must differ from the parent's to be named."""
_NO_BENCHMARK = frozenset({METRIC_OVERALL, METRIC_RESPONSE_LENGTH, METRIC_FORMAT_VALID})


def diagnose(
    child_summary: Mapping[str, float],
    parent_summary: Mapping[str, float] | None,
    child_metrics: Mapping[str, float],
    parent_metrics: Mapping[str, float] | None,
) -> tuple[Finding, ...]:
    """Every diagnostic that fires, faults before strengths, outcomes before dynamics.

    Args:
        child_summary: flat trajectory summary, see :mod:`poise_lib.reflection.findings`; a diagnostic whose keys are
            missing stays silent.
        parent_summary: the parent's, or None for a root.
        child_metrics: scores, percentage points.
        parent_metrics: the parent's, or None.
    """
    run = Run(child_summary, child_metrics)
    parent = (
        None if parent_summary is None and parent_metrics is None else Run(parent_summary or {}, parent_metrics or {})
    )
    fired = [finding for check in (*OUTCOMES, *DYNAMICS) if (finding := check(run, parent)) is not None]
    return tuple(sorted(fired, key=lambda finding: finding.benign))  # a stable sort


def reflect(
    child: Entry, parent: Entry | None, baseline: Entry | None, objective: Objective | None = None
) -> Reflection:
    """Diagnosis, evidence, effect of each changed mechanism, and advice for later proposals.

    Args:
        child: the finished candidate.
        parent: the candidate that it was proposed from; None for a root.
        baseline: where the search started; adds a comparison when it is another than the parent.
        objective: what counts, where that is not the suite's own; adds how the child stands in each of its metrics.
    """
    findings = diagnose(
        child.trajectory, parent.trajectory if parent else None, child.metrics, parent.metrics if parent else None
    )
    if objective is not None and wants_shorter(objective) and feasible(child.metrics, objective):
        # Responses that shrank at no cost are what was asked for, not an ailment with remedies against it.
        findings = tuple(finding for finding in findings if finding.name != LENGTH_COLLAPSED)
    gain = _gain(child, parent)
    changed = changes(child, parent) if parent is not None else ()
    judged = effects(changed, gain)
    moved = _benchmarks(child, parent)
    asked = objective_items(child, parent, objective)
    items = [*_utilities(child, parent), *asked, *(item for finding in findings for item in finding.evidence), *moved]
    advice = _merged([*lessons(changed, gain), *_weighed(findings, gain)])
    return Reflection(
        diagnosis=_diagnosis(
            child, parent, baseline, gain, findings, judged, moved, objective_sentences(child, parent, objective)
        ),
        findings=tuple(finding.name for finding in findings)[:MAX_FINDINGS],
        evidence=tuple(items)[:MAX_EVIDENCE],
        mechanisms=judged[:12],
        advice=advice[:MAX_ADVICE],
    )


def _gain(child: Entry, other: Entry | None) -> float | None:
    if other is None or child.utility is None or other.utility is None:
        return None
    return child.utility - other.utility


def _utilities(child: Entry, parent: Entry | None) -> list[EvidenceItem]:
    if child.utility is None:
        return []
    reference = parent.utility if parent else None
    return [EvidenceItem(metric="utility", value=child.utility, reference=reference, note="on the search problems")]


def _benchmarks(child: Entry, parent: Entry | None) -> list[EvidenceItem]:
    """Benchmarks that moved, the largest movement first."""
    if parent is None:
        return []
    moved = [
        EvidenceItem(metric=name, value=value, reference=parent.metrics[name])
        for name, value in child.metrics.items()
        if name in parent.metrics and name not in _NO_BENCHMARK and abs(value - parent.metrics[name]) >= MOVED
    ]
    return sorted(moved, key=lambda item: (-abs(item.value - (item.reference or 0.0)), item.metric))


def _weighed(findings: Sequence[Finding], gain: float | None) -> list[Advice]:
    """Advice of the findings; a fault in a run that gained all the same weighs half."""
    fault = 0.5 if gain is not None and gain > 0 else 1.0
    return [
        item.model_copy(update={"strength": round((1.0 if finding.benign else fault) * item.strength, 4)})
        for finding in findings
        for item in finding.advice
    ]


def _merged(advice: Sequence[Advice]) -> tuple[Advice, ...]:
    """One piece of advice a kind and direction, the strongest, strongest first."""
    best: dict[tuple[str, str, str], Advice] = {}
    for item in advice:
        key = (item.action, item.slot, item.kind)
        if key not in best or item.strength > best[key].strength:
            best[key] = item
    return tuple(sorted(best.values(), key=lambda item: (-item.strength, item.action, item.slot, item.kind)))


def _diagnosis(
    child: Entry,
    parent: Entry | None,
    baseline: Entry | None,
    gain: float | None,
    findings: Sequence[Finding],
    judged: Sequence[MechanismEffect],
    moved: Sequence[EvidenceItem],
    asked: Sequence[str],
) -> str:
    """The reflection in sentences."""
    title = child.title or child.name
    sentences = [_standing(title, child, parent, gain)]
    over_baseline = _gain(child, baseline)
    compared = {child.name, *([parent.name] if parent else [])}
    if baseline is not None and over_baseline is not None and baseline.name not in compared:
        sentences.append(f"Against {baseline.title or baseline.name} that is {over_baseline:+.2f}.")
    sentences += asked
    if moved:
        named = ", ".join(f"{item.metric} {item.value - (item.reference or 0.0):+.1f}" for item in moved[:3])
        sentences.append(f"It shows most in {named}.")
    sentences += [finding.sentence for finding in findings[:5]]
    if not findings and child.trajectory:
        sentences.append("The training dynamics show nothing unusual.")
    if judged:
        sentences.append(_attribution(judged))
    return " ".join(sentences)[:2000]


def _standing(title: str, child: Entry, parent: Entry | None, gain: float | None) -> str:
    if child.utility is None:
        return f"{title} was not scored ({child.phase.value})."
    if parent is None or gain is None:
        return f"{title} scored {child.utility:.2f}."
    side = "above" if gain > 0 else "below"
    where = f"{abs(gain):.2f} points {side}" if gain else "equal to"
    return f"{title} scored {child.utility:.2f}, {where} its parent {parent.title or parent.name}."


def _attribution(judged: Sequence[MechanismEffect]) -> str:
    by_effect: dict[Effect, list[str]] = {}
    for item in judged:
        by_effect.setdefault(item.effect, []).append(item.mechanism)
    parts = [f"{effect.value.lower()}: {', '.join(names)}" for effect, names in by_effect.items()]
    return f"Of what changed, judged {'; judged '.join(parts)}."
