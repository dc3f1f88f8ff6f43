"""A Search's status, recomputed from its children each time."""

from __future__ import annotations

from poise_lib.archive.digest import archive_digest
from poise_lib.archive.objective import objective_status
from poise_lib.archive.pareto import frontier
from poise_lib.archive.utility import metric_vector, utility
from poise_lib.names import (
    CONDITION_COMPLETE,
    CONDITION_FAILED,
    CONDITION_READY,
    CONDITION_STALLED,
    CONDITION_SUSPENDED,
    REASON_RUNNING,
    REASON_SUSPENDED,
    REASON_TASKS_DO_NOT_START,
)
from poise_lib.resources import Candidate
from poise_lib.resources.base import Condition, ConditionStatus
from poise_lib.resources.candidate import FINAL_CANDIDATE_PHASES, CandidatePhase
from poise_lib.resources.search import Best, ConfirmedCandidate, Counts, SearchPhase, SearchStatus, Selection, Verdict
from poise_lib.resources.search_status import Kept
from poise_lib.search.confirming import Conclusion, contenders, named_metrics
from poise_lib.search.observed import Observed, timestamp
from poise_lib.search.spending import settled

FRONTIER_KEPT = 64
KEPT_WORDS = {Kept.KEPT: " (kept)", Kept.NOT_SHOWN: " (not shown to be kept)", Kept.LOST: " (not kept)"}
FINAL_SEARCH_PHASES = frozenset({SearchPhase.COMPLETE, SearchPhase.FAILED})


def counts(observed: Observed) -> Counts:
    """Candidates by what became of them."""
    phases = [candidate.status.phase for candidate in observed.candidates.values()]
    return Counts(
        total=len(phases),
        active=sum(phase not in FINAL_CANDIDATE_PHASES for phase in phases),
        archived=phases.count(CandidatePhase.ARCHIVED),
        rejected=phases.count(CandidatePhase.REJECTED),
        failed=phases.count(CandidatePhase.FAILED),
    )


def best(observed: Observed, conclusion: Conclusion | None) -> Best | None:
    """The best candidate: by confirmed difference once there is one, by utility on the search problems before.

    What lost on unseen problems that which the directive wants kept comes last.
    """
    root = observed.root
    if root is None or root.status.utility is None:
        return None
    named = named_metrics(observed.objective)
    ranked = contenders(observed)
    confirmed = conclusion.confirmed if conclusion is not None else ()
    order = sorted(confirmed, key=lambda item: (_lost(item), -item.difference, item.candidate))
    winner = observed.candidates[order[0].candidate] if order else ranked[0] if ranked else root
    return Best(
        candidate=winner.metadata.name,
        title=winner.spec.proposal.title,
        utility=winner.status.utility or 0.0,
        baseline_utility=root.status.utility,
        gain=round((winner.status.utility or 0.0) - root.status.utility, 2),
        metrics={name: winner.status.metrics[name] for name in named if name in winner.status.metrics},
        baseline_metrics={name: root.status.metrics[name] for name in named if name in root.status.metrics},
        confirmation=order[0] if order else None,
        confidence=observed.search.spec.evaluation.confirmation.confidence if order else None,
        corrected_for=conclusion.picked if conclusion is not None and order else None,
        others=tuple(order[1:]),
    )


def _lost(found: ConfirmedCandidate) -> bool:
    return any(metric.kept is Kept.LOST for metric in found.metrics)


def pareto_names(observed: Observed) -> tuple[str, ...]:
    """The Pareto frontier over the metric vector, best utility first."""
    suite, objective = observed.search.spec.evaluation.measured, observed.objective
    archived: list[Candidate] = [
        candidate
        for candidate in observed.ordered_candidates
        if candidate.status.phase is CandidatePhase.ARCHIVED
        and utility(candidate.status.metrics, objective, suite) is not None
    ]
    if not archived:
        return ()
    chosen = frontier([metric_vector(candidate.status.metrics, objective, suite) for candidate in archived])
    members = sorted((archived[index] for index in chosen), key=lambda c: (-(c.status.utility or 0.0), c.metadata.name))
    return tuple(member.metadata.name for member in members[:FRONTIER_KEPT])


def verdict_sentence(result: Best) -> str:
    """The plain verdict on the best candidate, in one sentence."""
    if result.confirmation is None:
        scores = f"{result.utility:.1f} against the baseline's {result.baseline_utility:.1f}"
        return f"{result.title}: {scores} on the search problems"
    seen = result.confirmation
    interval = f"{seen.difference:+.1f} points over the baseline, {100 * (result.confidence or 0.0):.0f}% interval "
    interval += (
        f"[{seen.low:+.1f}, {seen.high:+.1f}] over {seen.seeds} unseen seeds, corrected for {result.corrected_for}"
    )
    each = "".join(
        f"; {one.name} {one.difference:+.1f} [{one.low:+.1f}, {one.high:+.1f}]{KEPT_WORDS[one.kept] if one.kept else ''}"
        for one in seen.metrics
    )
    match seen.verdict:
        case Verdict.BETTER:
            return f"{result.title} is better than the baseline: {interval}{each}"
        case Verdict.WORSE:
            return f"{result.title} is worse than the baseline, its lead in the search was luck: {interval}{each}"
        case _:
            return f"{result.title} is not shown to be better than the baseline: {interval}{each}"


def _condition(observed: Observed, kind: str, holds: bool, reason: str, message: str) -> Condition:
    value = ConditionStatus.TRUE if holds else ConditionStatus.FALSE
    previous = next((item for item in observed.search.status.conditions if item.type == kind), None)
    unchanged = previous is not None and previous.status is value
    since = previous.last_transition_time if previous is not None and unchanged else timestamp(observed.now)
    return Condition(
        type=kind,
        status=value,
        reason=reason,
        message=message[:2000],
        observed_generation=observed.search.metadata.generation,
        last_transition_time=since,
    )


def search_status(
    observed: Observed,
    phase: SearchPhase,
    reason: str,
    message: str,
    *,
    stop_reason: str = "",
    selection: Selection | None = None,
    conclusion: Conclusion | None = None,
    collected: str = "",
) -> SearchStatus:
    """The whole status.

    Args:
        observed: the snapshot.
        phase: where the search stands.
        reason: a CamelCase word for the conditions.
        message: a sentence for people.
        stop_reason: why no new candidates are proposed; empty while they are.
        selection: a new selection; None keeps the old one.
        conclusion: what the confirmation showed.
        collected: mark of the weights that retention has removed; empty keeps the old one.
    """
    old = observed.search.status
    ended = phase in FINAL_SEARCH_PHASES
    chosen = selection if selection is not None else old.selection
    suspended = phase is SearchPhase.SUSPENDED
    running = reason if ended or suspended else REASON_RUNNING
    blocked = observed.blocked if not ended else ""
    failed = phase is SearchPhase.FAILED
    # kstatus, which Flux and Argo CD follow, knows no Failed: what does not go on by itself is Stalled there.
    stalled = (True, running, message) if failed else (False, running, "")
    if blocked:
        stalled = (True, REASON_TASKS_DO_NOT_START, blocked)
    number = counts(observed)
    conditions = (
        _condition(observed, CONDITION_READY, not failed, running, message),
        _condition(observed, CONDITION_COMPLETE, phase is SearchPhase.COMPLETE, running, message if ended else ""),
        _condition(observed, CONDITION_FAILED, failed, running, message if ended else ""),
        _condition(observed, CONDITION_SUSPENDED, suspended, REASON_SUSPENDED if suspended else running, ""),
        _condition(observed, CONDITION_STALLED, *stalled),
    )
    digest = ""
    if ended:
        digest = old.digest or archive_digest(
            observed.search, tuple(observed.candidates.values()), tuple(observed.evaluations.values())
        )
    return SearchStatus(
        observed_generation=observed.search.metadata.generation,
        phase=phase,
        message=message[:2000],
        conditions=conditions,
        start_time=old.start_time or timestamp(observed.now),
        completion_time=(old.completion_time or timestamp(observed.now)) if ended else None,
        round=chosen.round if chosen is not None else 0,
        progress=f"{number.total - number.active}/{observed.search.spec.budget.candidates}",
        counts=number,
        stop_reason=stop_reason,
        objective=objective_status(observed.search, observed.root.status.metrics if observed.root is not None else {}),
        best=best(observed, conclusion),
        frontier=pareto_names(observed),
        selection=chosen,
        ledger=settled(observed),
        gpus=old.gpus,
        principles=old.principles,
        distilled=old.distilled,
        digest=digest,
        collected=collected or old.collected,
    )
