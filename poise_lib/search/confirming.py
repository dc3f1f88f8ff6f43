"""Confirmation: the best k and the baseline, again, on seeds and problems that the search has not seen."""

from __future__ import annotations

from dataclasses import dataclass

from poise_lib.archive.utility import feasible, utility
from poise_lib.resources import Candidate
from poise_lib.resources.candidate import CandidatePhase
from poise_lib.resources.evaluation import EvaluationPhase, Fidelity
from poise_lib.resources.search import ConfirmedCandidate
from poise_lib.resources.suites import SUITES
from poise_lib.search.actions import Action, StartTask
from poise_lib.search.candidates import ensure_evaluations
from poise_lib.search.naming import candidate_name, confirmation_seeds, evaluation_name
from poise_lib.search.observed import Observed
from poise_lib.search.steps import Done, GivenUp, Waiting, step
from poise_lib.tasks.documents import ConcludeInput, ConcludeOutput
from poise_lib.tasks.protocol import TaskKind


@dataclass(frozen=True, slots=True)
class Conclusion:
    """How far confirmation is."""

    actions: tuple[Action, ...] = ()
    ended: bool = False
    confirmed: tuple[ConfirmedCandidate, ...] = ()
    message: str = ""


def contenders(observed: Observed) -> tuple[Candidate, ...]:
    """Archived candidates that keep the constraints and beat the baseline on the search problems, best first."""
    root = observed.candidates.get(candidate_name(observed.search.metadata.name, 0, 0))
    floor = root.status.utility if root is not None and root.status.utility is not None else float("-inf")
    eligible = [
        candidate
        for candidate in observed.ordered_candidates
        if candidate.status.phase is CandidatePhase.ARCHIVED
        and candidate.status.utility is not None
        and candidate.status.utility > floor
        and feasible(candidate.status.metrics, observed.search.spec.objective)
    ]
    return tuple(sorted(eligible, key=lambda candidate: -(candidate.status.utility or 0.0)))


def plan_confirmation(observed: Observed) -> Conclusion:
    """What confirmation needs next; ``ended`` once nothing is left to do."""
    settings = observed.search.spec.evaluation.confirmation
    arms = contenders(observed)[: settings.top]
    root = observed.candidates.get(candidate_name(observed.search.metadata.name, 0, 0))
    if not arms or root is None:
        return Conclusion(
            ended=True, message="no candidate beat the baseline on the search problems" if not arms else ""
        )
    seeds = confirmation_seeds(observed.search.spec.seed, settings.seeds)
    actions: list[Action] = []
    ended = True
    for candidate in (root, *arms):
        missing, runs = ensure_evaluations(candidate, Fidelity.CONFIRM, seeds, observed)
        actions += missing
        ended = ended and runs is not None
    if not ended:
        return Conclusion(actions=tuple(actions))
    baseline = _utilities(root, seeds, observed)
    scores = {arm.metadata.name: _utilities(arm, seeds, observed) for arm in arms}
    whole = {name: values for name, values in sorted(scores.items()) if baseline.keys() <= values.keys()}
    if not whole or len(baseline) < 2:
        return Conclusion(ended=True, message="no contender finished all of its confirmation runs")
    known = _known(observed, frozenset(whole), len(baseline))
    if known:
        return Conclusion(ended=True, confirmed=known)
    document = ConcludeInput(
        baseline=tuple(baseline.values()),
        arms={name: tuple(values[seed] for seed in baseline) for name, values in whole.items()},
        confidence=settings.confidence,
    )
    match step(observed, TaskKind.CONCLUDE, f"{observed.search.metadata.name}-conclude", document):
        case Done(output):
            return Conclusion(ended=True, confirmed=ConcludeOutput.model_validate(output).confirmed)
        case GivenUp(fault):
            return Conclusion(ended=True, message=fault.message)
        case Waiting(start):
            return Conclusion(actions=(StartTask(start),) if start is not None else ())


def _known(observed: Observed, arms: frozenset[str], pairs: int) -> tuple[ConfirmedCandidate, ...]:
    """What the status says already, if it speaks of these very arms and pairs: a finished search plans nothing."""
    best = observed.search.status.best
    if best is None or best.confirmation is None:
        return ()
    kept = (best.confirmation, *best.others)
    same = frozenset(item.candidate for item in kept) == arms and all(item.seeds == pairs for item in kept)
    return kept if same and best.confidence == observed.search.spec.evaluation.confirmation.confidence else ()


def _utilities(candidate: Candidate, seeds: tuple[int, ...], observed: Observed) -> dict[int, float]:
    spec = observed.search.spec
    values = {}
    for seed in seeds:
        run = observed.evaluations[evaluation_name(candidate.metadata.name, Fidelity.CONFIRM, seed)]
        value = utility(run.status.metrics, spec.objective, SUITES[spec.evaluation.suite])
        if run.status.phase is EvaluationPhase.COMPLETE and value is not None:
            values[seed] = value
    return values
