"""``plan(observed) -> actions``: the whole search as one pure function.

It looks at what exists, never at what just happened, and asks for the next step of every object.  A shell applies the
actions, observes again and calls it again until nothing is asked for and no task runs.  Calling it twice on the same
observation gives the same actions; applying an action twice changes nothing.
"""

from __future__ import annotations

from dataclasses import replace

from poise_lib.names import (
    ANNOTATION_RETRY,
    LLM_UNUSABLE,
    REASON_BASELINE_FAILED,
    REASON_RUNNING,
    REASON_SUSPENDED,
    REASON_TASK_FAILED,
)
from poise_lib.resources.candidate import FINAL_CANDIDATE_PHASES, CandidatePhase
from poise_lib.resources.gpu import GPULedger
from poise_lib.resources.search import SearchPhase, SearchStatus
from poise_lib.search.actions import Action, Create, StartTask, Update
from poise_lib.search.candidates import plan_candidate
from poise_lib.search.confirming import plan_confirmation
from poise_lib.search.evaluations import begin, engine_trouble, plan_evaluation
from poise_lib.search.gpus import admitted, begun, gpus_of
from poise_lib.search.model import check_model, distil, told
from poise_lib.search.naming import candidate_name, run_task
from poise_lib.search.observed import Asked, Observed, TaskState
from poise_lib.search.retention import plan_retention
from poise_lib.search.rounds import baseline_candidate, plan_rounds
from poise_lib.search.spending import reserved
from poise_lib.search.status import best, search_status, verdict_sentence
from poise_lib.tasks.protocol import TaskKind

_ONCE_MENDED = (
    "No candidate can be trained or scored like this. Once it is mended, run the search again; in a cluster annotate the "
    f"Search with {ANNOTATION_RETRY}=1, or with another value than it has. Everything finished is kept"
)

_LAST = {TaskKind.TRAIN: 1}
"""Training is started after everything else, because what is short unblocks more.  For the same reason none starts with a
plan that changes anything: what follows from the change, such as scoring what has just been trained, goes first."""


def plan(observed: Observed) -> tuple[Action, ...]:
    """Everything that can be done now.

    Returns:
        Updates and creations first, in an order in which none refers to what comes later; then at most as many
        :class:`StartTask` as ``budget.concurrent`` leaves room for.  The search's own status, which sums up the others,
        comes last: no task waits for it, but one that a ledger has to allow.
    """
    asked = Asked(observed.tasks)
    observed = replace(observed, tasks=asked)
    actions: list[Action] = []
    ordered = sorted(observed.evaluations.values(), key=lambda item: item.metadata.name)
    for evaluation in ordered:
        actions += plan_evaluation(evaluation, observed.candidates.get(evaluation.spec.candidate), observed)
    for candidate in observed.ordered_candidates:
        actions += plan_candidate(candidate, observed)
    more, status = _plan_search(observed)
    actions += more
    changes: list[Action] = [action for action in actions if not isinstance(action, StartTask)]
    trouble = engine_trouble(observed)
    held = {TaskKind.TRAIN} if changes and not observed.blocked else set()  # what is refused stays in every plan
    starts = [
        action
        for action in actions
        if isinstance(action, StartTask) and trouble is None and action.request.kind not in held
    ]
    wanted = {action.request.name for action in starts}
    gpus, affordable = _affordable(starts, observed)
    ledger, going = reserved(observed, status.ledger, asked.names, wanted, affordable)
    status = status.model_copy(update={"ledger": ledger, "gpus": gpus})
    changes += _begin(going, observed)
    if status == observed.search.status:
        return (*changes, *going)
    told_now = Update(observed.search.model_copy(update={"status": status}))
    if ledger != observed.search.status.ledger:
        return (*changes, told_now, *going)  # what a task may spend is written down before it starts
    return (*changes, *going, told_now)


def _begin(going: list[StartTask], observed: Observed) -> list[Action]:
    """Evaluations that use GPUs begin with the plan that starts their training, which their phase tells."""
    trainings = {run_task(name, TaskKind.TRAIN): run for name, run in observed.evaluations.items() if gpus_of(run)}
    found = (trainings.get(start.request.name) for start in going)
    return [action for run in found if run is not None and not begun(run) for action in begin(run)]


def _affordable(starts: list[StartTask], observed: Observed) -> tuple[GPULedger | None, list[StartTask]]:
    """What may start now: nothing while suspended, else as much as concurrency and GPU hours leave room for."""
    running = sum(task.state is TaskState.RUNNING for task in observed.tasks.values())
    room = 0 if observed.search.spec.suspend else max(0, observed.search.spec.budget.concurrent - running)
    ordered = sorted(starts, key=lambda action: _LAST.get(action.request.kind, 0))
    return admitted(observed, ordered, room)


def _plan_search(observed: Observed) -> tuple[list[Action], SearchStatus]:
    """The search's own next step, and the status that it should have."""
    trouble = engine_trouble(observed)
    if trouble is not None:
        return [], search_status(observed, SearchPhase.FAILED, trouble.reason, f"{trouble.message}. {_ONCE_MENDED}")
    gate = check_model(observed)
    if gate.stop is not None:
        return [], search_status(observed, SearchPhase.FAILED, gate.stop.reason, gate.stop.message)
    if not gate.open:
        waiting = search_status(observed, _phase(observed), REASON_RUNNING, "the language model is being checked")
        return list(gate.actions), waiting
    actions, status = _plan_rounds(observed)
    return actions, told(status, gate.news)


def _plan_rounds(observed: Observed) -> tuple[list[Action], SearchStatus]:
    root = observed.candidates.get(candidate_name(observed.search.metadata.name, 0, 0))
    if root is None:
        status = search_status(observed, _phase(observed), REASON_RUNNING, "the baseline comes first")
        return [Create(baseline_candidate(observed))], status
    if root.status.phase in (CandidatePhase.FAILED, CandidatePhase.REJECTED):
        message = f"the baseline {root.spec.proposal.title} could not be evaluated: {root.status.message}"
        return [], search_status(observed, SearchPhase.FAILED, REASON_BASELINE_FAILED, message)
    if root.status.phase not in FINAL_CANDIDATE_PHASES:
        return [], search_status(observed, _phase(observed), REASON_RUNNING, "the baseline is being evaluated")
    rounds = plan_rounds(observed)
    actions = list(rounds.actions)
    active = any(candidate.status.phase not in FINAL_CANDIDATE_PHASES for candidate in observed.candidates.values())
    if not rounds.stop_reason or active:
        status = search_status(
            observed, _phase(observed), REASON_RUNNING, _standing(observed), selection=rounds.selection
        )
        return actions, told(status, rounds.news)
    if rounds.stop_reason == REASON_TASK_FAILED or rounds.stop_reason in LLM_UNUSABLE:
        message = f"{rounds.stop_message}; run it again to try once more"
        return actions, search_status(observed, SearchPhase.FAILED, rounds.stop_reason, message)
    last = distil(observed, observed.search.status.round, observed.entries)
    conclusion = plan_confirmation(observed)
    actions += [*last.actions, *conclusion.actions]
    if not conclusion.ended:
        message = f"{rounds.stop_message}; the best are being confirmed on unseen seeds and problems"
        confirming = _phase(observed, SearchPhase.CONFIRMING)
        status = search_status(observed, confirming, rounds.stop_reason, message, stop_reason=rounds.stop_reason)
        return actions, told(status, last.news)
    result = best(observed, conclusion)
    collection = plan_retention(observed, result)
    verdict = verdict_sentence(result) if result is not None else ""
    parts = [rounds.stop_message, conclusion.message, verdict, collection.message]
    status = search_status(
        observed,
        SearchPhase.COMPLETE if collection.ended and not last.waiting else _phase(observed, SearchPhase.CONFIRMING),
        rounds.stop_reason,
        ". ".join(part for part in parts if part),
        stop_reason=rounds.stop_reason,
        conclusion=conclusion,
        collected=collection.collected,
    )
    return [*actions, *collection.actions], told(status, last.news)


def _phase(observed: Observed, going: SearchPhase = SearchPhase.SEARCHING) -> SearchPhase:
    return SearchPhase.SUSPENDED if observed.search.spec.suspend else going


def _standing(observed: Observed) -> str:
    """One sentence on a running search."""
    if observed.search.spec.suspend:
        return f"{REASON_SUSPENDED}: set spec.suspend to false to go on"
    result = best(observed, None)
    total = observed.search.spec.budget.candidates
    standing = f"{len(observed.entries)} of {total} candidates finished"
    return f"{standing}; best so far: {verdict_sentence(result)}" if result is not None else standing
