"""From one round to the next: baseline, selection of parents, proposals, new candidates, and when to stop.

A round is over when every slot of its selection has a final candidate, or was given up for want of a proposal.  In
Continuous mode a round is one slot, and it is over as soon as its candidate exists and there is room for another.
"""

from __future__ import annotations

from dataclasses import dataclass

from poise_lib.archive.entry import Entry
from poise_lib.archive.objective import told_reading
from poise_lib.archive.utility import feasible
from poise_lib.names import (
    ANNOTATION_DEPTH,
    ANNOTATION_PARENTS,
    ANNOTATION_ROOT,
    ANNOTATION_TITLE,
    LABEL_ROUND,
    LABEL_SEARCH,
    LLM_UNUSABLE,
    REASON_CANDIDATES_SPENT,
    REASON_DEADLINE_REACHED,
    REASON_LLM_BUDGET_SPENT,
    REASON_NO_PROPOSALS,
    REASON_PATIENCE_SPENT,
    REASON_TASK_FAILED,
)
from poise_lib.resources import Candidate
from poise_lib.resources.base import ObjectMeta
from poise_lib.resources.candidate import (
    FINAL_CANDIDATE_PHASES,
    CandidatePhase,
    CandidateSpec,
    Proposal,
    SelectionTerms,
)
from poise_lib.resources.evaluation import Fidelity
from poise_lib.resources.search import DeletionPolicy, Mode, Selection
from poise_lib.search.actions import Action, Create, StartTask, Update
from poise_lib.search.gpus import no_room
from poise_lib.search.model import Distillation, ModelNews, distil, exhibits, takes_over
from poise_lib.search.naming import candidate_name, propose_task, select_task
from poise_lib.search.observed import Observed
from poise_lib.search.runs import owner
from poise_lib.search.spending import ask, model_of
from poise_lib.search.steps import Done, GivenUp, Waiting, step
from poise_lib.tasks.documents import ProposeInput, ProposeOutput, SelectInput, SelectOutput
from poise_lib.tasks.protocol import TaskFault, TaskKind

SELECTIONS_KEPT = 8


@dataclass(frozen=True, slots=True)
class RoundPlan:
    """What the rounds need next, and what they say of the search."""

    actions: tuple[Action, ...] = ()
    selection: Selection | None = None
    """The selection that the status must carry; None leaves it as it is."""
    stop_reason: str = ""
    stop_message: str = ""
    news: ModelNews | None = None


def baseline_candidate(observed: Observed) -> Candidate:
    """The root of the lineage, as the search's baseline says."""
    spec = observed.search.spec
    title = spec.baseline.algorithm or "baseline"
    proposal = Proposal(title=title, hypothesis="The algorithm that the search starts from and must beat.")
    return _candidate(observed, 0, 0, (), proposal, 0, algorithm=spec.baseline.algorithm, source=spec.baseline.source)


def _candidate(
    observed: Observed,
    round_: int,
    slot: int,
    parents: tuple[str, ...],
    proposal: Proposal,
    depth: int,
    algorithm: str | None = None,
    source: str | None = None,
) -> Candidate:
    search = observed.search.metadata
    owned = observed.search.spec.deletion_policy is DeletionPolicy.DELETE
    return Candidate(
        metadata=ObjectMeta(
            name=candidate_name(search.name, round_, slot),
            namespace=search.namespace,
            labels={LABEL_SEARCH: search.name, LABEL_ROUND: str(round_)},
            annotations={
                ANNOTATION_PARENTS: ",".join(parents),
                ANNOTATION_DEPTH: str(depth),
                ANNOTATION_ROOT: candidate_name(search.name, 0, 0),
                ANNOTATION_TITLE: proposal.title,
            },
            owner_references=owner("Search", search) if owned else (),
        ),
        spec=CandidateSpec(
            search=search.name,
            parents=parents,
            round=round_,
            slot=slot,
            proposal=proposal,
            algorithm=algorithm,
            source=source,
        ),
    )


def plan_rounds(observed: Observed) -> RoundPlan:
    """What comes next, given that the baseline is archived."""
    if observed.search.status.stop_reason:
        reason, message = _stop(observed)
        if reason:
            return RoundPlan(stop_reason=reason, stop_message=message)
    selection = observed.search.status.selection
    if selection is not None:
        actions, given_up = _fill(selection, observed)
        for fault in given_up.values():
            if (news := takes_over(observed, fault)) is not None:
                return RoundPlan(news=news)
            if fault.reason in LLM_UNUSABLE:
                return RoundPlan(stop_reason=fault.reason, stop_message=fault.message)
        if actions or not _over(selection, given_up, observed):
            return RoundPlan(actions=actions)
    else:
        given_up = {}
    reason, message = _stop(observed)
    if not reason and selection is not None and _nothing_new(selection, given_up, observed):
        spent = all(fault.reason == REASON_LLM_BUDGET_SPENT for fault in given_up.values())
        reason = REASON_LLM_BUDGET_SPENT if spent else REASON_NO_PROPOSALS
        message = "; ".join(dict.fromkeys(fault.message for fault in given_up.values()))[:2000]
    if reason:
        return RoundPlan(stop_reason=reason, stop_message=message)
    round_ = selection.round + 1 if selection is not None else 1
    principles = _principles(round_ - 1, observed)
    if principles.waiting or principles.news is not None:
        return RoundPlan(actions=principles.actions, news=principles.news)
    if observed.search.spec.strategy.mode is Mode.ROUNDS and _unfinished_before(round_, observed):
        return RoundPlan()
    return _select(round_, observed)


def _principles(round_: int, observed: Observed) -> Distillation:
    """Every so many rounds the archive is distilled before the next one begins, which draws on it."""
    settings = model_of(observed)
    every = settings.principles_every if settings is not None else 0
    if not every or round_ < 1 or round_ % every:
        return Distillation()
    return distil(observed, round_, _archive_before(round_ + 1, observed))


def _unfinished_before(round_: int, observed: Observed) -> bool:
    """Whether a candidate that the round may know, such as one written by hand, has yet to end; no race decides it."""
    return any(
        candidate.spec.round < round_ and candidate.status.phase not in FINAL_CANDIDATE_PHASES
        for candidate in observed.candidates.values()
    )


def _nothing_new(selection: Selection, given_up: dict[int, TaskFault], observed: Observed) -> bool:
    """Whether a whole round brought no proposal; in Continuous mode as many slots in a row as a round has parents.

    A round whose parents were deleted by hand says nothing: other parents are selected.
    """
    if len(given_up) < len(selection.parents) or _gone(selection, observed):
        return False
    if observed.search.spec.strategy.mode is Mode.ROUNDS:
        return True
    search, idle = observed.search.metadata.name, 0
    while idle < selection.round and candidate_name(search, selection.round - idle, 0) not in observed.candidates:
        idle += 1
    return idle >= min(observed.search.spec.strategy.parents_per_round, selection.round)


def _gone(selection: Selection, observed: Observed) -> set[str]:
    """Selected parents that the archive does not hold any more."""
    known = {entry.name for entry in _archive_before(selection.round, observed)}
    return {choice.name for choice in selection.parents} - known


def _archive_before(round_: int, observed: Observed) -> tuple[Entry, ...]:
    """What a round may know: a child finished early must not change what its siblings were proposed from."""
    return tuple(entry for entry in observed.entries if entry.round < round_)


def _select(round_: int, observed: Observed) -> RoundPlan:
    spec = observed.search.spec
    width = 1 if spec.strategy.mode is Mode.CONTINUOUS else spec.strategy.parents_per_round
    document = SelectInput(
        entries=_archive_before(round_, observed),
        strategy=spec.strategy,
        objective=observed.objective,
        suite=spec.evaluation.suite,
        suite_definition=spec.evaluation.suite_definition,
        round=round_,
        count=min(width, spec.budget.candidates - len(observed.candidates)),
        seed=spec.seed,
    )
    match step(observed, TaskKind.SELECT, select_task(observed.search.metadata.name, round_), document, SelectOutput):
        case Done(output):
            return RoundPlan(actions=_keep_terms(output.selection, observed), selection=output.selection)
        case GivenUp(fault):
            return RoundPlan(stop_reason=REASON_TASK_FAILED, stop_message=fault.message)
        case Waiting(start):
            return RoundPlan(actions=(StartTask(start),) if start is not None else ())


def _keep_terms(selection: Selection, observed: Observed) -> tuple[Action, ...]:
    """Each selected parent keeps the terms that chose it."""
    terms: dict[str, SelectionTerms] = {}
    for choice in selection.parents:
        terms.setdefault(choice.name, choice.terms)
    actions = []
    for name, chosen in sorted(terms.items()):
        parent = observed.candidates.get(name)
        if parent is None or any(old.round == chosen.round for old in parent.status.selections):
            continue
        kept = (*parent.status.selections, chosen)[-SELECTIONS_KEPT:]
        status = parent.status.model_copy(update={"selections": kept})
        actions.append(Update(parent.model_copy(update={"status": status})))
    return tuple(actions)


def _fill(selection: Selection, observed: Observed) -> tuple[tuple[Action, ...], dict[int, TaskFault]]:
    """Propose for the slots without a candidate; create their candidates once all proposals of the round are there.

    Returns:
        The actions, and the slots that were given up with the reason.
    """
    spec, search = observed.search.spec, observed.search.metadata.name
    empty = [
        slot
        for slot in range(len(selection.parents))
        if candidate_name(search, selection.round, slot) not in observed.candidates
    ]
    proposals: dict[int, tuple[Proposal, ...]] = {}
    given_up: dict[int, TaskFault] = {}
    starts: list[Action] = []
    waiting = False
    gone = _gone(selection, observed)
    for slot in empty:
        parent = selection.parents[slot].name
        if parent in gone and parent in observed.candidates and _unfinished_before(selection.round, observed):
            waiting = True
            continue
        if parent in gone:
            given_up[slot] = _no_proposal(selection, slot, f"its parent {parent} is gone")
            continue
        document = _propose_input(selection, slot, observed)
        name = propose_task(search, selection.round, slot, asks=document.llm is not None)
        match ask(observed, TaskKind.PROPOSE, name, document, ProposeOutput):
            case Done(output):
                proposals[slot] = output.proposals
            case GivenUp(fault):
                given_up[slot] = fault
            case Waiting(start):
                waiting = True
                if start is not None:
                    starts.append(StartTask(start))
    if waiting:
        return tuple(starts), {}
    room = spec.budget.candidates - len(observed.candidates)
    used = [candidate.spec.proposal.composition for candidate in observed.ordered_candidates]
    actions: list[Action] = []
    for slot, ranked in sorted(proposals.items()):
        fresh = next((item for item in ranked if not item.composition or item.composition not in used), None)
        if fresh is None:
            given_up[slot] = _no_proposal(selection, slot, "nothing new was proposed")
        elif room <= 0:
            given_up[slot] = _no_proposal(selection, slot, "the budget of candidates is spent")
        else:
            room -= 1
            used.append(fresh.composition)
            actions.append(Create(_child(selection, slot, fresh, observed)))
    return tuple(actions), given_up


def _no_proposal(selection: Selection, slot: int, why: str) -> TaskFault:
    return TaskFault(reason=REASON_NO_PROPOSALS, message=f"round {selection.round}, slot {slot}: {why}")


def _propose_input(selection: Selection, slot: int, observed: Observed) -> ProposeInput:
    spec, choice, settings = observed.search.spec, selection.parents[slot], model_of(observed)
    document = ProposeInput(
        parent=choice,
        entries=_archive_before(selection.round, observed),
        strategy=spec.strategy,
        round=selection.round,
        slot=slot,
        seed=spec.seed,
        objective=observed.named_objective,
    )
    if settings is None:
        return document
    names = (choice.name, *choice.pareto, *choice.complementary, *choice.exploratory)
    return document.model_copy(
        update={
            "llm": settings,
            "exhibits": exhibits(observed, names),
            "directive": spec.directive,
            "reading": told_reading(observed.search) or None,
            "principles": observed.search.status.principles,
        }
    )


def _child(selection: Selection, slot: int, proposal: Proposal, observed: Observed) -> Candidate:
    parent = selection.parents[slot].name
    depth = next((entry.depth for entry in observed.entries if entry.name == parent), 0) + 1
    return _candidate(observed, selection.round, slot, (parent,), proposal, depth)


def _over(selection: Selection, given_up: dict[int, TaskFault], observed: Observed) -> bool:
    search = observed.search.metadata.name
    names = [
        candidate_name(search, selection.round, slot) for slot in range(len(selection.parents)) if slot not in given_up
    ]
    children = [observed.candidates.get(name) for name in names]
    if any(child is None for child in children):
        return False
    if observed.search.spec.strategy.mode is Mode.CONTINUOUS:
        active = sum(candidate.status.phase not in FINAL_CANDIDATE_PHASES for candidate in observed.candidates.values())
        return active < observed.search.spec.budget.concurrent
    return all(child is not None and child.status.phase in FINAL_CANDIDATE_PHASES for child in children)


def _stop(observed: Observed) -> tuple[str, str]:
    """Whether the budget is spent, as (reason, sentence); empty strings when it is not."""
    budget = observed.search.spec.budget
    if len(observed.candidates) >= budget.candidates:
        return REASON_CANDIDATES_SPENT, f"all {budget.candidates} candidates of the budget were tried"
    if observed.deadline_passed:
        return REASON_DEADLINE_REACHED, f"the deadline of {budget.deadline} has passed"
    if (spent := no_room(observed, Fidelity.FULL)) is not None:
        return spent.reason, spent.message
    selection = observed.search.status.selection
    if budget.patience is not None and selection is not None:
        idle = selection.round - _round_of_best(observed)
        if idle >= budget.patience:
            return REASON_PATIENCE_SPENT, f"{idle} rounds brought no new best; budget.patience is {budget.patience}"
    return "", ""


def _round_of_best(observed: Observed) -> int:
    """The round in which the best utility so far was first reached, by a candidate that keeps the constraints."""
    best, round_ = float("-inf"), 0
    for entry in observed.entries:
        sound = entry.phase is CandidatePhase.ARCHIVED and feasible(entry.metrics, observed.objective)
        if sound and entry.utility is not None and entry.utility > best:
            best, round_ = entry.utility, entry.round
    return round_
