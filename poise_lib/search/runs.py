"""The Evaluations of a candidate: made by the search's protocol, under names that say whose they are and which."""

from __future__ import annotations

from collections.abc import Sequence

from poise_lib.names import ANNOTATION_DIGEST, API_VERSION, LABEL_CANDIDATE, LABEL_FIDELITY, LABEL_SEARCH
from poise_lib.resources import Candidate, Evaluation
from poise_lib.resources.base import ObjectMeta
from poise_lib.resources.engine import Engine
from poise_lib.resources.evaluation import EvaluationPhase, EvaluationSpec, Fidelity
from poise_lib.search.actions import Action, Create, Update
from poise_lib.search.evaluations import of_this_code, stopping
from poise_lib.search.naming import evaluation_name
from poise_lib.search.observed import Observed


def run_name(candidate: Candidate, fidelity: Fidelity, seed: int, observed: Observed) -> str:
    """Name of a candidate's evaluation; each revision has a probe of its own where a probe belongs to verification."""
    code = candidate.status.implementation
    again = fidelity is Fidelity.PROBE and observed.search.spec.evaluation.engine is Engine.VERL and code is not None
    return evaluation_name(candidate.metadata.name, fidelity, seed, code.revision if again and code is not None else 1)


def new_evaluation(candidate: Candidate, fidelity: Fidelity, seed: int, observed: Observed) -> Evaluation:
    """The evaluation of a candidate at a fidelity and seed, by the search's protocol."""
    settings, code = observed.search.spec.evaluation, candidate.status.implementation
    nano = settings.fidelities.probe if fidelity is Fidelity.PROBE else settings.fidelities.full
    return Evaluation(
        metadata=ObjectMeta(
            name=run_name(candidate, fidelity, seed, observed),
            namespace=candidate.metadata.namespace,
            labels={
                LABEL_SEARCH: candidate.spec.search,
                LABEL_CANDIDATE: candidate.metadata.name,
                LABEL_FIDELITY: fidelity.value,
            },
            annotations={ANNOTATION_DIGEST: code.digest} if code is not None else {},
            owner_references=owner(candidate.kind, candidate.metadata),
        ),
        spec=EvaluationSpec(
            search=candidate.spec.search,
            candidate=candidate.metadata.name,
            fidelity=fidelity,
            seed=seed,
            engine=settings.engine,
            suite=settings.suite,
            suite_definition=settings.suite_definition,
            nano=nano,
            verl=settings.verl,
            early_stopping=stopping(candidate, fidelity, settings.early_stopping)
            if settings.engine is Engine.VERL
            else None,
        ),
    )


def owner(kind: str, metadata: ObjectMeta) -> tuple[dict[str, object], ...]:
    """Owner references to an object; none while it has no uid (outside a cluster)."""
    if metadata.uid is None:
        return ()
    return ({"apiVersion": API_VERSION, "kind": kind, "name": metadata.name, "uid": metadata.uid, "controller": True},)


def ensure_evaluations(
    candidate: Candidate, fidelity: Fidelity, seeds: Sequence[int], observed: Observed
) -> tuple[list[Action], list[Evaluation] | None]:
    """Create what is missing, begin anew what was made for other code; the evaluations when all are final, else None."""
    wanted = [run_name(candidate, fidelity, seed, observed) for seed in seeds]
    missing: list[Action] = [
        Create(new_evaluation(candidate, fidelity, seed, observed))
        for name, seed in zip(wanted, seeds, strict=True)
        if name not in observed.evaluations
    ]
    found = [observed.evaluations[name] for name in wanted if name in observed.evaluations]
    for run in found:
        if not of_this_code(run, candidate):
            fresh = new_evaluation(candidate, fidelity, run.spec.seed, observed)
            annotations = {**run.metadata.annotations, **fresh.metadata.annotations}
            metadata = run.metadata.model_copy(update={"annotations": annotations})
            missing.append(Update(run.model_copy(update={"metadata": metadata, "status": fresh.status})))
    final = {EvaluationPhase.COMPLETE, EvaluationPhase.FAILED}
    ended = not missing and all(evaluation.status.phase in final for evaluation in found)
    return missing, found if ended else None
