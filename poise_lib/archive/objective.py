"""The objective that counts: spec.objective, or what follows from the directive and the baseline's scores, or the suite's own.

``spec.objective`` always wins.  Else aims of the directive become secondary metrics beside overall, and what it wants kept
becomes bounds around the baseline's scores; nor may the best be worse than the baseline in what is aimed at.  The directive
is read once, when the search begins, and the reading stays in ``status.objective``: as a later change of spec.objective, a later
directive would leave candidates that cannot be compared.

Units.  Scores are percentage points and lengths are tokens, so the length counts in hundredths of the baseline's
(:attr:`~poise_lib.resources.objective.Metric.scale`): with a weight of 0.2 against 0.8 responses that are 4% shorter make up for one
point of overall, whatever a token is worth in the suite.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from poise_lib.archive.directive import read
from poise_lib.names import METRIC_OVERALL, METRIC_RESPONSE_LENGTH
from poise_lib.resources.objective import (
    Aim,
    Constraint,
    Direction,
    Guard,
    Metric,
    Objective,
    ObjectiveSource,
    ObjectiveStatus,
    Reading,
)
from poise_lib.resources.search import Search
from poise_lib.resources.suites import Suite

AIM_WEIGHT: Final = 0.2
"""Of an aim beside overall: it decides between algorithms of about the same score, and does not outvote the score."""
AIMS_WEIGHT: Final = 0.5
"""Most that all aims beside overall weigh together."""
_DECIMALS: Final = 6
_MOST_CONSTRAINTS: Final = 8
"""An objective has room for no more; what is to be kept comes first."""
_BY_HAND: Final = "write spec.objective.metrics and .constraints to say it exactly"


def reading_of(search: Search) -> Reading:
    """What the search understands of its directive: as it stands in its status, once it has begun."""
    if search.status.objective is not None:
        return search.status.objective.reading
    return read(search.spec.directive, search.spec.evaluation.measured)


def source_of(search: Search) -> ObjectiveSource:
    """Where the objective comes from."""
    given = search.spec.objective
    if given.metrics or given.constraints:
        return ObjectiveSource.SPEC
    reading = reading_of(search)
    return ObjectiveSource.DIRECTIVE if secondary(reading) or reading.guards else ObjectiveSource.SUITE


def guards_of(search: Search) -> tuple[Guard, ...]:
    """What the directive wants kept, where the objective comes from it."""
    return reading_of(search).guards if source_of(search) is ObjectiveSource.DIRECTIVE else ()


def told_reading(search: Search) -> str:
    """What a language model is told beside the directive's own words; empty where the scores do not follow it."""
    return reading_text(reading_of(search)) if source_of(search) is ObjectiveSource.DIRECTIVE else ""


def secondary(reading: Reading) -> tuple[Aim, ...]:
    """Aims at anything but overall, which is the suite's own objective."""
    return tuple(aim for aim in reading.aims if aim.metrics != (METRIC_OVERALL,))


def objective_of(search: Search, baseline: Mapping[str, float]) -> Objective | None:
    """The objective that counts.

    Args:
        search: its spec, its directive's reading.
        baseline: the baseline's metrics; empty before it is scored.

    Returns:
        None when it depends on scores of the baseline that are not there.
    """
    if source_of(search) is not ObjectiveSource.DIRECTIVE:
        return search.spec.objective
    return derived(reading_of(search), search.spec.evaluation.measured, baseline)


def derived(reading: Reading, suite: Suite, baseline: Mapping[str, float]) -> Objective | None:
    """Metrics and constraints that follow from a reading; None when the baseline lacks a score that they need."""
    aims = secondary(reading)
    needed = {metric for aim in aims for metric in aim.metrics} | {guard.metric for guard in reading.guards}
    if not all(math.isfinite(baseline.get(metric, math.nan)) for metric in needed):
        return None
    guards = (*reading.guards, *(implied for aim in aims if (implied := _no_worse(aim)) is not None))
    return Objective(
        metrics=_metrics(aims, suite, baseline) if aims else (),
        constraints=_constraints(guards, baseline)[:_MOST_CONSTRAINTS],
    )


def _no_worse(aim: Aim) -> Guard | None:
    """Whatever else it gains, the best must not be worse than the baseline in the one metric that is aimed at.

    An aim at several, such as pass@k, leaves them free against each other.
    """
    if len(aim.metrics) != 1:
        return None
    return Guard(metric=aim.metrics[0], direction=aim.direction, tolerance=0.0, words=aim.words)


def _metrics(aims: tuple[Aim, ...], suite: Suite, baseline: Mapping[str, float]) -> tuple[Metric, ...]:
    each = min(AIM_WEIGHT, AIMS_WEIGHT / len(aims))
    weights: dict[str, float] = {}
    directions: dict[str, Direction] = {}
    known = suite.weights()
    for aim in aims:
        total = math.fsum(known.get(metric, 1.0) for metric in aim.metrics)
        for metric in aim.metrics:
            weights[metric] = weights.get(metric, 0.0) + each * known.get(metric, 1.0) / total
            directions[metric] = aim.direction
    shares = {metric: round(weight, _DECIMALS) for metric, weight in weights.items()}
    rest = round(1.0 - math.fsum(shares.values()), _DECIMALS)
    return (
        Metric(name=METRIC_OVERALL, weight=rest),
        *(
            Metric(name=metric, weight=weight, direction=directions[metric], scale=_scale(metric, baseline))
            for metric, weight in shares.items()
        ),
    )


def _scale(metric: str, baseline: Mapping[str, float]) -> float | None:
    if metric != METRIC_RESPONSE_LENGTH:
        return None
    hundredth = round(baseline[metric] / 100.0, _DECIMALS)
    return hundredth if hundredth > 0.0 else None


def _constraints(guards: tuple[Guard, ...], baseline: Mapping[str, float]) -> tuple[Constraint, ...]:
    """One bound a metric: the guards on both sides of it together."""
    lower: dict[str, float] = {}
    upper: dict[str, float] = {}
    for guard in guards:
        value = baseline[guard.metric]
        slack = allowance(guard, value)
        if guard.direction is Direction.MAXIMIZE:
            lower[guard.metric] = max(lower.get(guard.metric, -math.inf), round(value - slack, _DECIMALS))
        else:
            upper[guard.metric] = min(upper.get(guard.metric, math.inf), round(value + slack, _DECIMALS))
    names = dict.fromkeys(guard.metric for guard in guards)
    return tuple(Constraint(metric=name, minimum=lower.get(name), maximum=upper.get(name)) for name in names)


def allowance(guard: Guard, value: float) -> float:
    """How far from the baseline's value the metric may be, in its own units."""
    return abs(value) * guard.tolerance / 100.0 if guard.percent else guard.tolerance


def objective_status(search: Search, baseline: Mapping[str, float]) -> ObjectiveStatus:
    """What ``status.objective`` says.

    Args:
        search: with its status as it was.
        baseline: the baseline's metrics; empty before it is scored.
    """
    objective = objective_of(search, baseline) or Objective()
    return ObjectiveStatus(
        source=source_of(search),
        text=" ".join(sentences(search, baseline))[:2000],
        metrics=objective.metrics,
        constraints=objective.constraints,
        reading=reading_of(search),
    )


def sentences(search: Search, baseline: Mapping[str, float]) -> list[str]:
    """The objective in words, and what of the directive changes no score."""
    reading, source = reading_of(search), source_of(search)
    told = []
    if source is ObjectiveSource.DIRECTIVE:
        told.append(f"Directive read as: {reading_text(reading, baseline)}; {_BY_HAND}.")
    elif source is ObjectiveSource.SPEC:
        told.append(
            "spec.objective is given, so the directive changes no score." if search.spec.directive.strip() else ""
        )
    elif reading.aims:
        told.append("Directive read as: maximise overall, which is the suite's own objective.")
    elif search.spec.directive.strip():
        told.append(
            "Nothing in the directive was understood as an aim, so it changes no score: a language model is told it, the library "
            f"proposes as without it; {_BY_HAND}."
        )
    if reading.ignored and source is not ObjectiveSource.SPEC and (reading.aims or reading.guards):
        parts = "; ".join(f'"{part}"' for part in reading.ignored)
        told.append(f"Not understood, so that it changes no score: {parts}.")
    if search.status.objective is not None and source is not ObjectiveSource.SPEC:
        now = read(search.spec.directive, search.spec.evaluation.measured)
        if gist(now) != gist(reading):
            told.append(
                "The directive was changed after the search began: a language model is told the new one, the objective stays, "
                "because its candidates would no longer be comparable; start a new Search to change it."
            )
    return [sentence for sentence in told if sentence]


def gist(reading: Reading) -> list[list[object]]:
    """What scores follow of a reading, without its words: two that agree here are the same objective."""
    found: list[list[object]] = [[aim.direction.value, *aim.metrics] for aim in secondary(reading)]
    for guard in reading.guards:
        found.append([guard.direction.value, guard.metric, guard.tolerance, guard.percent])
    return found


def reading_text(reading: Reading, baseline: Mapping[str, float] | None = None) -> str:
    """Aims and guards in words, such as "minimise response_length (weight 0.2), keep overall within 1 of the baseline's 47.3"."""
    aims = secondary(reading)
    each = min(AIM_WEIGHT, AIMS_WEIGHT / len(aims)) if aims else 0.0
    parts = []
    for aim in aims:
        verb = "minimise" if aim.direction is Direction.MINIMIZE else "maximise"
        unit = ", in hundredths of the baseline's" if aim.metrics == (METRIC_RESPONSE_LENGTH,) else ""
        worse = "longer" if unit and verb == "minimise" else "worse"
        bound = f"; the best is not {worse} than the baseline" if len(aim.metrics) == 1 else ""
        parts.append(f"{verb} {' and '.join(aim.metrics)} (weight {each:.3g}{unit}{bound})")
    if aims:
        parts.append(f"maximise overall (weight {1.0 - each * len(aims):.3g})")
    elif reading.aims:
        parts.append("maximise overall")
    parts += [guard_text(guard, (baseline or {}).get(guard.metric)) for guard in reading.guards]
    return ", ".join(parts)


def guard_text(guard: Guard, baseline: float | None = None) -> str:
    """A guard in words, with its bound where the baseline's score is known."""
    size = f"{guard.tolerance:g}{'%' if guard.percent else ''}"
    rising = guard.direction is Direction.MINIMIZE
    what = f"keep {guard.metric} from {'rising' if rising else 'falling'} more than {size} {'above' if rising else 'below'} the baseline's"
    if baseline is None:
        return what
    bound = baseline + allowance(guard, baseline) if rising else baseline - allowance(guard, baseline)
    return f"{what} {baseline:.1f} (so at {'most' if rising else 'least'} {bound:.1f})"
