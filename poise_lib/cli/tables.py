"""Tables like kubectl's: columns as functions of a resource, wide ones on request, text cleaned and aligned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from poise_lib.cli.money import cost, gpu_hours, tokens
from poise_lib.cli.text import duration, fit, number, pad, signed, width
from poise_lib.plain import clean
from poise_lib.resources import Candidate, Evaluation, Search
from poise_lib.resources.candidate import CandidatePhase
from poise_lib.resources.loading import Resource

_LONGEST = 60
"""Columns that a cell of a plain table may take; wide tables cut nothing."""


@dataclass(frozen=True)
class Column:
    """One column: its head, its cell, whether it is a number, whether only wide tables have it."""

    head: str
    cell: Callable[[Any], str]
    right: bool = False
    wide: bool = False
    optional: bool = False
    """Whether it is left out where no resource has anything in it."""


def _spent(item: Search) -> str:
    return cost(item.status.ledger) if item.status.ledger is not None else ""


def _tokens(item: Search) -> str:
    return tokens(item.status.ledger.tokens) if item.status.ledger is not None else ""


def _gpu_hours(item: Search) -> str:
    return gpu_hours(item.status.gpus.spent_hours) if item.status.gpus is not None else ""


def _search_best(item: Search) -> str:
    return item.status.best.candidate if item.status.best else ""


def _search_verdict(item: Search) -> str:
    best = item.status.best
    return best.confirmation.verdict.value if best and best.confirmation else ""


def _gain(item: Search) -> str:
    best = item.status.best
    return signed(best.utility - best.baseline_utility) if best else ""


def _why(item: Candidate) -> str:
    return item.status.reason or (item.status.message if item.status.phase is not CandidatePhase.ARCHIVED else "")


def _code(item: Candidate) -> str:
    implementation = item.status.implementation
    return implementation.digest.removeprefix("sha256:")[:12] if implementation else ""


def _verified(item: Candidate) -> str:
    report = item.status.verification
    if report is None:
        return ""
    return "passed" if report.passed else "failed: " + ", ".join(found.name for found in report.findings[:3])


SEARCH_COLUMNS = (
    Column("NAME", lambda item: item.metadata.name),
    Column("PHASE", lambda item: item.status.phase.value),
    Column("ROUND", lambda item: str(item.status.round), right=True),
    Column("CANDIDATES", lambda item: f"{item.status.counts.total}/{item.spec.budget.candidates}", right=True),
    Column("BEST", _search_best),
    Column("UTILITY", lambda item: number(item.status.best.utility if item.status.best else None), right=True),
    Column("GAIN", _gain, right=True),
    Column("VERDICT", _search_verdict),
    Column("SPENT", _spent, right=True, optional=True),
    Column("TOKENS", _tokens, right=True, optional=True),
    Column("GPU HOURS", _gpu_hours, right=True, optional=True),
    Column("AGE", lambda item: age(item.metadata.creation_timestamp or item.status.start_time), right=True),
    Column("ARCHIVED", lambda item: str(item.status.counts.archived), right=True, wide=True),
    Column("REJECTED", lambda item: str(item.status.counts.rejected), right=True, wide=True),
    Column("FAILED", lambda item: str(item.status.counts.failed), right=True, wide=True),
    Column("STOPPED BY", lambda item: item.status.stop_reason, wide=True),
)
CANDIDATE_COLUMNS = (
    Column("NAME", lambda item: item.metadata.name),
    Column("PHASE", lambda item: item.status.phase.value),
    Column("ROUND", lambda item: str(item.spec.round), right=True),
    Column("PARENT", lambda item: item.spec.parents[0] if item.spec.parents else ""),
    Column("UTILITY", lambda item: number(item.status.utility), right=True),
    Column("TITLE", lambda item: item.spec.proposal.title),
    Column("REASON", _why),
    Column("CODE", _code, wide=True),
    Column("VERIFIED", _verified, wide=True),
    Column(
        "CHOSEN", lambda item: str(len(item.status.selections)) if item.status.selections else "", right=True, wide=True
    ),
    Column("MECHANISMS", lambda item: ", ".join(item.spec.proposal.mechanisms), wide=True),
)
EVALUATION_COLUMNS = (
    Column("NAME", lambda item: item.metadata.name),
    Column("CANDIDATE", lambda item: item.spec.candidate),
    Column("FIDELITY", lambda item: item.spec.fidelity.value),
    Column("SEED", lambda item: str(item.spec.seed), right=True),
    Column("PHASE", lambda item: item.status.phase.value),
    Column("OVERALL", lambda item: number(item.status.metrics.get("overall")), right=True),
    Column("TRAIN", lambda item: _seconds(item.status.train_seconds), right=True),
    Column("REASON", lambda item: item.status.reason),
    Column("SCORE", lambda item: _seconds(item.status.score_seconds), right=True, wide=True),
    Column(
        "METRICS", lambda item: " ".join(f"{key}={value:.1f}" for key, value in item.status.metrics.items()), wide=True
    ),
)


def columns_for(resource: type[Resource]) -> Sequence[Column]:
    """The columns of a kind."""
    return {Search: SEARCH_COLUMNS, Candidate: CANDIDATE_COLUMNS, Evaluation: EVALUATION_COLUMNS}[resource]


def table(resources: Sequence[Resource], columns: Sequence[Column], *, wide: bool = False) -> str:
    """The resources, a line each, below their heads."""
    shown = [
        column
        for column in columns
        if (wide or not column.wide) and not (column.optional and not any(map(column.cell, resources)))
    ]
    cells = [[clean(column.cell(item)) for column in shown] for item in resources]
    if not wide:
        cells = [[fit(cell, _LONGEST) for cell in row] for row in cells]
    return rows([[column.head for column in shown], *cells], [column.right for column in shown])


def rows(lines: Sequence[Sequence[str]], right: Sequence[bool]) -> str:
    """Lines of cells, aligned; the first line is the head."""
    widths = [max(width(line[index]) for line in lines) for index in range(len(right))]
    return "\n".join(
        "   ".join(
            " " * (widths[index] - width(cell)) + cell if right[index] else pad(cell, widths[index])
            for index, cell in enumerate(line)
        ).rstrip()
        for line in lines
    )


def age(timestamp: str | None) -> str:
    """How long ago, or an empty text when it is not known."""
    if not timestamp:
        return ""
    try:
        then = datetime.fromisoformat(timestamp.replace("Z", "+00:00"))
    except ValueError:
        return ""
    if then.tzinfo is None:
        then = then.replace(tzinfo=UTC)
    return duration((datetime.now(UTC) - then).total_seconds())


def _seconds(value: float | None) -> str:
    return "" if value is None else duration(value)
