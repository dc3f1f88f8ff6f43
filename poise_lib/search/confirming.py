"""Confirmation: the best k and the baseline, again, on seeds and problems that the search has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from poise_lib.archive.objective import guards_of
from poise_lib.archive.utility import feasible, utility
from poise_lib.resources import Candidate, Evaluation
from poise_lib.resources.candidate import CandidatePhase
from poise_lib.resources.evaluation import FINAL_EVALUATION_PHASES, EvaluationPhase, Fidelity
from poise_lib.resources.objective import Objective
from poise_lib.resources.search import ConfirmedCandidate
from poise_lib.search.actions import Action, StartTask
from poise_lib.search.gpus import CAP, begun, no_room
from poise_lib.search.naming import confirmation_seeds, evaluation_name
from poise_lib.search.observed import Observed
from poise_lib.search.runs import ensure_evaluations
from poise_lib.search.steps import Done, GivenUp, Waiting, mark, step
from poise_lib.tasks.documents import ConcludeInput, ConcludeOutput
from poise_lib.tasks.protocol import TaskKind


@dataclass(frozen=True, slots=True)
class Conclusion:
    """How far confirmation is."""

    actions: tuple[Action, ...] = ()
    ended: bool = False
    confirmed: tuple[ConfirmedCandidate, ...] = ()
    picked: int = 0
    """How many were picked for confirmation: what the intervals are corrected for, whether or not all finished."""
    message: str = ""


def contenders(observed: Observed) -> tuple[Candidate, ...]:
    """Archived candidates that keep the constraints and beat the baseline on the search problems, best first."""
    root = observed.root
    floor = root.status.utility if root is not None and root.status.utility is not None else float("-inf")
    eligible = [
        candidate
        for candidate in observed.ordered_candidates
        if candidate.status.phase is CandidatePhase.ARCHIVED
        and candidate.status.utility is not None
        and candidate.status.utility > floor
        and feasible(candidate.status.metrics, observed.objective)
    ]
    return tuple(sorted(eligible, key=lambda candidate: -(candidate.status.utility or 0.0)))


def plan_confirmation(observed: Observed) -> Conclusion:
    """What confirmation needs next; ``ended`` once nothing is left to do."""
    settings = observed.search.spec.evaluation.confirmation
    arms = contenders(observed)[: settings.top]
    root = observed.root
    if settings.top == 0 or root is None:
        return Conclusion(ended=True)
    if not arms:
        return Conclusion(ended=True, message="no candidate beat the baseline on the search problems")
    seeds = confirmation_seeds(observed.search.spec.seed, settings.seeds)
    actions: list[Action] = []
    ended = True
    for candidate in (root, *arms):
        missing, runs = ensure_evaluations(candidate, Fidelity.CONFIRM, seeds, observed)
        actions += missing
        ended = ended and runs is not None
    if not ended:
        held_up = no_room(observed, Fidelity.CONFIRM) if not actions else None
        waiting = _not_final((root, *arms), seeds, observed)
        if held_up is not None and not any(begun(run) for run in waiting):
            total = (1 + len(arms)) * len(seeds)
            finished = f"{total - len(waiting)} of {total} confirmation runs finished"
            return Conclusion(ended=True, message=f"{finished}: raise {CAP} to have the best confirmed")
        return Conclusion(actions=tuple(actions))
    baseline = _utilities(root, seeds, observed)
    scores = {arm.metadata.name: _utilities(arm, seeds, observed) for arm in arms}
    whole = {name: values for name, values in sorted(scores.items()) if baseline.keys() <= values.keys()}
    if len(baseline) < 2:
        return Conclusion(ended=True, message=_nothing_to_compare_with(root, seeds, observed))
    if not whole:
        return Conclusion(ended=True, message=_no_contender_left(arms, observed))
    known = _known(observed, frozenset(whole), len(baseline), len(arms))
    if known:
        return Conclusion(ended=True, confirmed=known, picked=len(arms))
    document = ConcludeInput(
        baseline=tuple(baseline.values()),
        arms={name: tuple(values[seed] for seed in baseline) for name, values in whole.items()},
        confidence=settings.confidence,
        picked=len(arms),
    )
    if named := named_metrics(observed.objective):
        document = document.model_copy(
            update={
                "baseline_metrics": _metrics(root.metadata.name, tuple(baseline), named, observed),
                "arm_metrics": {name: _metrics(name, tuple(baseline), named, observed) for name in whole},
                "guards": guards_of(observed.search) or None,
            }
        )
    name = f"{observed.search.metadata.name}-conclude-{mark(document)}"
    match step(observed, TaskKind.CONCLUDE, name, document, ConcludeOutput):
        case Done(output):
            return Conclusion(ended=True, confirmed=output.confirmed, picked=len(arms))
        case GivenUp(fault):
            return Conclusion(ended=True, message=fault.message)
        case Waiting(start):
            return Conclusion(actions=(StartTask(start),) if start is not None else ())


def _not_final(arms: Sequence[Candidate], seeds: tuple[int, ...], observed: Observed) -> list[Evaluation]:
    names = [evaluation_name(arm.metadata.name, Fidelity.CONFIRM, seed) for arm in arms for seed in seeds]
    runs = [observed.evaluations[name] for name in names if name in observed.evaluations]
    return [run for run in runs if run.status.phase not in FINAL_EVALUATION_PHASES]


def _no_contender_left(arms: Sequence[Candidate], observed: Observed) -> str:
    """Why there is no verdict when each contender lacks a run."""
    names = {arm.metadata.name for arm in arms}
    failed = [
        run
        for _, run in sorted(observed.evaluations.items())
        if run.spec.candidate in names and run.spec.fidelity is Fidelity.CONFIRM and run.status.reason
    ]
    why = f"; {failed[0].metadata.name}: {failed[0].status.reason}: {failed[0].status.message}" if failed else ""
    return f"no contender finished all of its confirmation runs{why}"


def _nothing_to_compare_with(root: Candidate, seeds: tuple[int, ...], observed: Observed) -> str:
    """Why there is no verdict when the baseline itself was not confirmed."""
    left = _utilities(root, seeds, observed)
    failed = [evaluation_name(root.metadata.name, Fidelity.CONFIRM, seed) for seed in seeds if seed not in left]
    text = f"the baseline's confirmation runs failed ({len(left)} of {len(seeds)} finished, a comparison takes two)"
    why = observed.evaluations[failed[0]].status.message or "its metrics are not those of the objective"
    return f"{text}, so that nothing could be compared; {failed[0]}: {why}"


def _known(observed: Observed, arms: frozenset[str], pairs: int, picked: int) -> tuple[ConfirmedCandidate, ...]:
    """What the status says already, if it speaks of these very arms and pairs: a finished search plans nothing."""
    best = observed.search.status.best
    if best is None or best.confirmation is None or best.corrected_for != picked:
        return ()
    kept = (best.confirmation, *best.others)
    same = frozenset(item.candidate for item in kept) == arms and all(item.seeds == pairs for item in kept)
    return kept if same and best.confidence == observed.search.spec.evaluation.confirmation.confidence else ()


def named_metrics(objective: Objective) -> tuple[str, ...]:
    """Metrics that an objective names, weighted or bounded; none when it is the suite's own."""
    names = (*(metric.name for metric in objective.metrics), *(bound.metric for bound in objective.constraints))
    return tuple(dict.fromkeys(names))


def _metrics(
    candidate: str, seeds: tuple[int, ...], names: tuple[str, ...], observed: Observed
) -> dict[str, tuple[float, ...]]:
    """Metrics by seed, those that every run has."""
    runs = [observed.evaluations[evaluation_name(candidate, Fidelity.CONFIRM, seed)].status.metrics for seed in seeds]
    return {name: tuple(run[name] for run in runs) for name in names if all(name in run for run in runs)}


def _utilities(candidate: Candidate, seeds: tuple[int, ...], observed: Observed) -> dict[int, float]:
    suite = observed.search.spec.evaluation.measured
    values = {}
    for seed in seeds:
        run = observed.evaluations[evaluation_name(candidate.metadata.name, Fidelity.CONFIRM, seed)]
        value = utility(run.status.metrics, observed.objective, suite)
        if run.status.phase is EvaluationPhase.COMPLETE and value is not None:
            values[seed] = value
    return values
