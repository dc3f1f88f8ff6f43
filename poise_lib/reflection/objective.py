"""How a child stands in each metric that the objective names, and which bounds it breaks."""

from __future__ import annotations

from poise_lib.archive.entry import Entry
from poise_lib.names import METRIC_RESPONSE_LENGTH
from poise_lib.resources.candidate import EvidenceItem
from poise_lib.resources.objective import Direction, Objective


def wants_shorter(objective: Objective) -> bool:
    """Whether it asks for shorter responses."""
    return any(
        metric.name == METRIC_RESPONSE_LENGTH and metric.direction is Direction.MINIMIZE and metric.weight > 0
        for metric in objective.metrics
    )


def objective_items(child: Entry, parent: Entry | None, objective: Objective | None) -> list[EvidenceItem]:
    """The objective's metrics as evidence, in its order."""
    if objective is None or child.utility is None:
        return []
    names = dict.fromkeys(
        (*(item.name for item in objective.metrics), *(bound.metric for bound in objective.constraints))
    )
    return [
        EvidenceItem(
            metric=name,
            value=child.metrics[name],
            reference=parent.metrics.get(name) if parent is not None else None,
            note="a metric of the objective",
        )
        for name in names
        if name in child.metrics
    ]


def objective_sentences(child: Entry, parent: Entry | None, objective: Objective | None) -> list[str]:
    """The same in words, and every bound that does not hold."""
    items = objective_items(child, parent, objective)
    if objective is None or not items:
        return []
    parts = [
        f"{item.metric} {item.value:.1f}"
        + (f" ({item.value - item.reference:+.1f})" if item.reference is not None else "")
        for item in items
    ]
    found = [f"By the metrics of the objective: {', '.join(parts)}."]
    for bound in objective.constraints:
        value = child.metrics.get(bound.metric)
        if value is None:
            continue
        if bound.minimum is not None and value < bound.minimum:
            found.append(f"It breaks a bound: {bound.metric} has to be at least {bound.minimum:.1f}.")
        if bound.maximum is not None and value > bound.maximum:
            found.append(f"It breaks a bound: {bound.metric} has to be at most {bound.maximum:.1f}.")
    return found
