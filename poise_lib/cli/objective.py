"""The objective that counts, in words: for the report and for ``poise describe``."""

from __future__ import annotations

from collections.abc import Mapping

from poise_lib.cli.text import number, signed
from poise_lib.names import METRIC_RESPONSE_LENGTH
from poise_lib.plain import clean
from poise_lib.resources import Search
from poise_lib.resources.objective import Direction, Objective
from poise_lib.resources.search_status import Best, ConfirmedCandidate, Kept

_KEPT = {Kept.KEPT: ": kept", Kept.NOT_SHOWN: ": not shown to be kept", Kept.LOST: ": not kept"}


def counting(search: Search) -> Objective:
    """The objective as the status has it; an old status has none."""
    found = search.status.objective
    if found is None:
        return search.spec.objective
    return Objective.model_construct(metrics=found.metrics, constraints=found.constraints)


def formula(objective: Objective) -> str:
    """Such as ``0.8 overall - 0.2 response_length / 0.237, with overall >= 64.1``; empty for the suite's own."""
    terms = ""
    for metric in objective.metrics:
        minus = metric.direction is Direction.MINIMIZE
        joint = (" - " if minus else " + ") if terms else ("-" if minus else "")
        terms += f"{joint}{metric.weight:g} {metric.name}" + (
            f" / {metric.scale:.4g}" if metric.scale is not None else ""
        )
    bounds = []
    for bound in objective.constraints:
        low = f"{bound.minimum:.4g} <= " if bound.minimum is not None else ""
        high = f" <= {bound.maximum:.4g}" if bound.maximum is not None else ""
        bounds.append(f"{low}{bound.metric}{high}")
    return clean(", ".join(part for part in (terms, f"with {' and '.join(bounds)}" if bounds else "") if part))


def told(search: Search) -> str:
    """Where the objective comes from, and what of the directive changes no score."""
    found = search.status.objective
    return clean(found.text) if found is not None else ""


def objective_report(search: Search) -> list[str]:
    """Lines for the report; none where nobody asked for anything but the suite's own."""
    if search.status.objective is None:
        return []
    lines = [told(search)] if told(search) else []
    if by := formula(counting(search)):
        lines.append(f"Utility: {by}.")
    return lines


def metric_lines(best: Best, baseline: str) -> list[str]:
    """The best in each metric of the objective, against the baseline, on the search's problems."""
    parts = [
        f"{clean(name)} {number(value)} against {number(best.baseline_metrics[name])} ({_change(name, value, best.baseline_metrics)})"
        for name, value in best.metrics.items()
        if name in best.baseline_metrics
    ]
    return [f"By the objective's metrics, against {baseline}: {'; '.join(parts)}."] if parts else []


def _change(name: str, value: float, baseline: Mapping[str, float]) -> str:
    before = baseline[name]
    if name == METRIC_RESPONSE_LENGTH and before > 0:
        return f"{100.0 * (value / before - 1.0):+.1f}%"
    return signed(value - before)


def confirmed_lines(found: ConfirmedCandidate) -> list[str]:
    """Each metric of the objective on unseen problems, with its interval, and whether it was kept."""
    return [
        f"{clean(one.name)} {number(one.mean)} against {number(one.baseline_mean)}: {signed(one.difference)}, interval "
        f"{signed(one.low)} to {signed(one.high)}{_KEPT[one.kept] if one.kept is not None else ''}."
        for one in found.metrics
    ]


def objective_document(search: Search) -> dict[str, object]:
    """For programs; nothing where the status has none."""
    found = search.status.objective
    return {"objective": found.to_document()} if found is not None else {}
