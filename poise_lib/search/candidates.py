"""One step of a Candidate: implement, verify (and repair), evaluate, reflect, archive.

Pending -> Implementing -> Verifying -> Evaluating -> Reflecting -> Archived
                ^______________|   |         |
                     repairs       v         v
                                Rejected   Failed
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from poise_lib.archive.convert import entry_from_candidate
from poise_lib.archive.entry import Entry
from poise_lib.archive.objective import objective_of, told_reading
from poise_lib.archive.utility import utility
from poise_lib.artifacts.digest import digest_of
from poise_lib.names import (
    ANNOTATION_DIGEST,
    ANNOTATION_UTILITY,
    REASON_COLLAPSED,
    REASON_DUPLICATE,
    REASON_EVALUATION_FAILED,
    REASON_VERIFICATION_FAILED,
)
from poise_lib.prompts.exhibits import exhibit_of
from poise_lib.resources import Candidate, Evaluation
from poise_lib.resources.base import MAX_NAME
from poise_lib.resources.candidate import (
    FINAL_CANDIDATE_PHASES,
    CandidatePhase,
    CheckResult,
    Implementation,
    Revision,
    Verification,
)
from poise_lib.resources.engine import Engine
from poise_lib.resources.evaluation import EvaluationPhase, Fidelity
from poise_lib.search.actions import Action, StartTask, Update
from poise_lib.search.model import exhibits
from poise_lib.search.naming import candidate_name, confirmation_seeds, evaluation_name, search_seeds
from poise_lib.search.observed import Observed
from poise_lib.search.probing import FINDINGS_KEPT, collapse, finding, probes_training
from poise_lib.search.runs import ensure_evaluations
from poise_lib.search.spending import ask, model_of
from poise_lib.search.steps import Done, GivenUp, Waiting, step
from poise_lib.tasks.documents import (
    ImplementInput,
    ImplementOutput,
    ReflectInput,
    ReflectOutput,
    VerifyInput,
    VerifyOutput,
)
from poise_lib.tasks.protocol import TaskKind

TRANSCRIPTS_KEPT = 32


def plan_candidate(candidate: Candidate, observed: Observed) -> list[Action]:
    """Actions for one candidate; none when it is final."""
    status = candidate.status
    if status.phase in FINAL_CANDIDATE_PHASES:
        return []
    if status.implementation is None:
        if problem := _unusable_name(candidate, observed):
            return _end(candidate, CandidatePhase.FAILED, REASON_EVALUATION_FAILED, problem)
        return _implement(candidate, 1, observed)
    checked = status.verification
    if checked is None or checked.revision < status.implementation.revision:
        return _verify(candidate, status.implementation, observed)
    if not checked.passed:
        return _implement(candidate, status.implementation.revision + 1, observed)
    if status.phase is CandidatePhase.VERIFYING and probes_training(observed):
        return _probe(candidate, checked, observed)
    if status.phase is CandidatePhase.REFLECTING:
        return _reflect(candidate, observed)
    return _evaluate(candidate, observed)


def _unusable_name(candidate: Candidate, observed: Observed) -> str | None:
    """Why the name, chosen by hand, leaves no room for the names of its runs."""
    spec, name = observed.search.spec, candidate.metadata.name
    last = confirmation_seeds(spec.seed, spec.evaluation.confirmation.seeds)[-1]
    runs = [evaluation_name(name, Fidelity.CONFIRM, last)]
    if spec.evaluation.engine is Engine.VERL:
        first = search_seeds(spec.seed, 1)[0]
        runs.append(evaluation_name(name, Fidelity.PROBE, first, spec.verification.max_revisions))
    most = MAX_NAME - (max(map(len, runs)) - len(name))
    if len(name) <= most:
        return None
    return f"its name has {len(name)} characters; at most {most} fit, because its runs are named after it: rename it"


def _update(candidate: Candidate, **changes: object) -> list[Action]:
    status = candidate.status.model_copy(update={"observed_generation": candidate.metadata.generation, **changes})
    annotations = dict(candidate.metadata.annotations)
    if status.implementation is not None:
        annotations[ANNOTATION_DIGEST] = status.implementation.digest
    if status.utility is not None:
        annotations[ANNOTATION_UTILITY] = f"{status.utility:.4f}"
    metadata = candidate.metadata.model_copy(update={"annotations": annotations})
    changed = candidate.model_copy(update={"status": status, "metadata": metadata})
    return [] if changed == candidate else [Update(changed)]


def _end(candidate: Candidate, phase: CandidatePhase, reason: str, message: str) -> list[Action]:
    return _update(candidate, phase=phase, reason=reason, message=message[:2000])


def _implement(candidate: Candidate, revision: int, observed: Observed) -> list[Action]:
    status, spec = candidate.status, candidate.spec
    findings = status.verification.findings if status.verification is not None else ()
    refusal = ""
    if revision > 1:
        failed = [finding for finding in findings if finding.status == "failed"]
        refusal = "; ".join(f"{finding.name}: {finding.evidence}" for finding in failed)
        by_hand = spec.source is not None or spec.algorithm is not None
        if by_hand or revision > observed.search.spec.verification.max_revisions:
            return _end(candidate, CandidatePhase.REJECTED, REASON_VERIFICATION_FAILED, refusal)
    document = _implement_input(candidate, revision, findings if revision > 1 else (), observed)
    match ask(
        observed, TaskKind.IMPLEMENT, f"{candidate.metadata.name}-implement-{revision}", document, ImplementOutput
    ):
        case Done(result):
            if result.source is None:
                message = "; ".join(part for part in (result.message, refusal) if part)
                return _end(candidate, CandidatePhase.REJECTED, REASON_VERIFICATION_FAILED, message)
            transcripts = (*status.transcripts, *result.transcripts)[-TRANSCRIPTS_KEPT:]
            code = Implementation(
                source=result.source,
                digest=digest_of(result.source.encode()),
                revision=revision,
                composition=result.composition,
            )
            return _update(
                candidate,
                phase=CandidatePhase.VERIFYING,
                implementation=code,
                transcripts=transcripts,
                revisions=_revisions(candidate, result),
            )
        case GivenUp(fault):
            return _end(candidate, CandidatePhase.FAILED, fault.reason, fault.message)
        case Waiting(start):
            actions = _update(candidate, phase=CandidatePhase.IMPLEMENTING)
            return [*actions, StartTask(start)] if start is not None else actions


def _implement_input(
    candidate: Candidate, revision: int, findings: tuple[CheckResult, ...], observed: Observed
) -> ImplementInput:
    status, spec, settings = candidate.status, candidate.spec, model_of(observed)
    document = ImplementInput(
        proposal=spec.proposal,
        algorithm=spec.algorithm,
        source=spec.source,
        revision=revision,
        findings=findings,
        previous=status.implementation.composition if status.implementation is not None else (),
    )
    given = spec.algorithm is not None or spec.source is not None or spec.proposal.composition
    if settings is None or given:
        return document
    shown = exhibits(observed, spec.parents[:1] or (candidate_name(spec.search, 0, 0),))
    return document.model_copy(
        update={
            "llm": settings,
            "parent": shown[0] if shown else None,
            "written": status.implementation.source if status.implementation is not None else None,
            "revisions": status.revisions or None,
        }
    )


def _revisions(candidate: Candidate, result: ImplementOutput) -> tuple[Revision, ...]:
    """The implementations that were replaced, where a model wrote them: those of the library can be rendered again."""
    old, checked = candidate.status.implementation, candidate.status.verification
    if old is None or result.kept is None:
        return candidate.status.revisions
    report = checked.report if checked is not None and checked.revision == old.revision else None
    replaced = Revision(revision=old.revision, source=old.digest, report=report)
    return (*(item for item in candidate.status.revisions if item.revision != old.revision), replaced)[-10:]


def _verify(candidate: Candidate, code: Implementation, observed: Observed) -> list[Action]:
    document = VerifyInput(
        source=code.source,
        revision=code.revision,
        parent_digests=_behaviour_digests(candidate.spec.parents, observed),
        training_probe=observed.search.spec.verification.training_probe,
    )
    match step(observed, TaskKind.VERIFY, f"{candidate.metadata.name}-verify-{code.revision}", document, VerifyOutput):
        case Done(output):
            verification = output.verification
            twin = _twin(candidate, verification.behaviour_digest, observed) if verification.passed else None
            if twin is not None:
                message = f"behaves exactly like {twin} on the probe batches"
                return _update(
                    candidate,
                    phase=CandidatePhase.REJECTED,
                    reason=REASON_DUPLICATE,
                    message=message,
                    verification=verification,
                )
            passed = CandidatePhase.VERIFYING if probes_training(observed) else CandidatePhase.EVALUATING
            phase = passed if verification.passed else CandidatePhase.IMPLEMENTING
            return _update(candidate, phase=phase, verification=verification)
        case GivenUp(fault):
            return _end(candidate, CandidatePhase.FAILED, fault.reason, fault.message)
        case Waiting(start):
            return [StartTask(start)] if start is not None else []


def _probe(candidate: Candidate, checked: Verification, observed: Observed) -> list[Action]:
    """The last check of verification on engine verl: a few steps of real training, anew for each revision."""
    spec = observed.search.spec
    actions, runs = ensure_evaluations(candidate, Fidelity.PROBE, search_seeds(spec.seed, 1), observed)
    if runs is None:
        return actions
    seen = {"checks": checked.checks + 1}
    if runs[0].status.phase is not EvaluationPhase.FAILED:
        return _update(candidate, phase=CandidatePhase.EVALUATING, verification=checked.model_copy(update=seen))
    found = finding(runs[0])
    if found is None:
        return _end_with(candidate, runs[0])
    findings = (found, *checked.findings)[:FINDINGS_KEPT]
    refused = checked.model_copy(update={**seen, "passed": False, "findings": findings})
    return _update(candidate, phase=CandidatePhase.IMPLEMENTING, verification=refused)


def _behaviour_digests(names: Sequence[str], observed: Observed) -> dict[str, str]:
    digests = {}
    for name in names:
        parent = observed.candidates.get(name)
        if (
            parent is not None
            and parent.status.verification is not None
            and parent.status.verification.behaviour_digest
        ):
            digests[name] = parent.status.verification.behaviour_digest
    return digests


def _twin(candidate: Candidate, digest: str | None, observed: Observed) -> str | None:
    """A candidate of an earlier round with the same behaviour; its own round is left out, to stay reproducible."""
    if digest is None:
        return None
    for other in observed.ordered_candidates:
        earlier = other.spec.round < candidate.spec.round
        if earlier and other.status.verification is not None and other.status.verification.behaviour_digest == digest:
            return other.metadata.name
    return None


def _evaluate(candidate: Candidate, observed: Observed) -> list[Action]:
    spec = observed.search.spec
    seeds = search_seeds(spec.seed, spec.evaluation.seeds)
    if spec.evaluation.probe:
        actions, probes = ensure_evaluations(candidate, Fidelity.PROBE, seeds[:1], observed)
        if probes is None:
            return actions
        if probes[0].status.phase is EvaluationPhase.FAILED:
            return _end_with(candidate, probes[0])
        if problem := collapse(candidate, probes[0], observed):
            return _end(candidate, CandidatePhase.FAILED, REASON_COLLAPSED, problem)
    actions, runs = ensure_evaluations(candidate, Fidelity.FULL, seeds, observed)
    if runs is None:
        return actions
    for run in runs:
        if run.status.phase is EvaluationPhase.FAILED:
            return _end_with(candidate, run)
    metrics = mean_of([run.status.metrics for run in runs])
    root = candidate.metadata.name == candidate_name(observed.search.metadata.name, 0, 0)
    objective = objective_of(observed.search, metrics) if root else observed.settled_objective
    if objective is None and not root:
        return []  # the objective is made of the baseline's scores, which are not there yet
    value = utility(metrics, objective, spec.evaluation.measured) if objective is not None else None
    if value is None:
        message = "a metric of the objective is missing or not finite"
        return _end(candidate, CandidatePhase.FAILED, REASON_EVALUATION_FAILED, message)
    return _update(
        candidate,
        phase=CandidatePhase.REFLECTING,
        metrics=metrics,
        utility=round(value, 6),
        trajectory=mean_of([run.status.summary for run in runs]),
    )


def _end_with(candidate: Candidate, run: Evaluation) -> list[Action]:
    """A failed evaluation fails its candidate, for the same reason."""
    reason, message = run.status.reason or REASON_EVALUATION_FAILED, f"{run.metadata.name}: {run.status.message}"
    return _update(
        candidate,
        phase=CandidatePhase.FAILED,
        reason=reason,
        message=message[:2000],
        trajectory=mean_of([run.status.summary]),
    )


def mean_of(documents: Sequence[dict[str, float]]) -> dict[str, float]:
    """Key-wise mean over the documents that have the key, rounded to 6 decimals: the same in YAML and JSON."""
    keys = sorted({key for document in documents for key in document})
    return {key: round(fmean(document[key] for document in documents if key in document), 6) for key in keys}


def _reflect(candidate: Candidate, observed: Observed) -> list[Action]:
    by_name = {entry.name: entry for entry in observed.entries}
    parent: Entry | None = next((by_name[name] for name in candidate.spec.parents if name in by_name), None)
    depth = parent.depth + 1 if parent is not None else 0
    finished = candidate.status.model_copy(update={"phase": CandidatePhase.ARCHIVED})
    child = entry_from_candidate(candidate.model_copy(update={"status": finished}), depth)
    baseline = by_name.get(candidate_name(observed.search.metadata.name, 0, 0))
    document = ReflectInput(child=child, parent=parent, baseline=baseline, objective=observed.named_objective)
    name, settings = f"{candidate.metadata.name}-reflect", model_of(observed)
    if settings is not None:
        shown = (exhibit_of(candidate, child), *(exhibits(observed, (parent.name,)) if parent is not None else ()))
        known = tuple(entry for entry in observed.entries if entry.round < candidate.spec.round)
        asked = document.model_copy(
            update={
                "llm": settings,
                "exhibits": shown,
                "entries": known,
                "directive": observed.search.spec.directive,
                "reading": told_reading(observed.search) or None,
            }
        )
        outcome = ask(observed, TaskKind.REFLECT, f"{name}-llm", asked, ReflectOutput)
        if not isinstance(outcome, GivenUp):
            return _reflected(candidate, outcome)
    return _reflected(candidate, step(observed, TaskKind.REFLECT, name, document, ReflectOutput))


def _reflected(candidate: Candidate, outcome: Waiting | Done[ReflectOutput] | GivenUp) -> list[Action]:
    match outcome:
        case Done(output):
            transcripts = (*candidate.status.transcripts, *output.transcripts)[-TRANSCRIPTS_KEPT:]
            return _update(
                candidate, phase=CandidatePhase.ARCHIVED, reflection=output.reflection, transcripts=transcripts
            )
        case GivenUp(fault):
            message = f"archived without a reflection: {fault.message}"
            return _update(candidate, phase=CandidatePhase.ARCHIVED, message=message[:2000])
        case Waiting(start):
            return [StartTask(start)] if start is not None else []
