"""One step of an Evaluation: train, then score.

``train`` runs candidate code and leaves weights; ``score`` is another task that never sees the code.
"""

from __future__ import annotations

import math
import re
from typing import Literal, TypeVar

from poise_lib.evaluation.trajectory import ACCURACY, CANDIDATE_PREFIX, STEP
from poise_lib.names import (
    ANNOTATION_DIGEST,
    ANNOTATION_RETRY,
    ENGINE_UNUSABLE,
    REASON_EVALUATION_FAILED,
    REASON_TRAINING_FAILED,
)
from poise_lib.resources import Candidate, Evaluation
from poise_lib.resources.early_stop import EarlyStopping
from poise_lib.resources.engine import Engine
from poise_lib.resources.evaluation import FINAL_EVALUATION_PHASES, EvaluationPhase, EvaluationStatus, Fidelity
from poise_lib.search.actions import Action, StartTask, Update
from poise_lib.search.gpus import begun, expected, gpus_of, no_room
from poise_lib.search.naming import evaluation_name, run_task
from poise_lib.search.observed import Observed, TaskState
from poise_lib.search.steps import Done, GivenUp, Waiting, outdated, step
from poise_lib.tasks.documents import Ending, ScoreInput, ScoreOutput, TrainInput, TrainOutput
from poise_lib.tasks.protocol import TaskFault, TaskKind, TaskRequest

SPLIT: dict[Fidelity, Literal["search", "confirm"]] = {
    Fidelity.PROBE: "search",
    Fidelity.FULL: "search",
    Fidelity.CONFIRM: "confirm",
}
"""Confirmation is scored on problems that the search has never used."""

_POINTS = 24
_METRICS_A_POINT = 64
_METRIC_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./@-]{0,63}")

Point = TypeVar("Point")


def thin(points: tuple[Point, ...], most: int = _POINTS) -> tuple[Point, ...]:
    """At most ``most`` of ``points``, evenly spaced, the first and the last among them."""
    if len(points) <= most:
        return points
    return tuple(points[round(index * (len(points) - 1) / (most - 1))] for index in range(most))


def presentable(point: dict[str, float]) -> dict[str, float]:
    """What the object keeps of a step: candidates name metrics of their own, as they like and as many as they like."""
    named = [name for name in point if _METRIC_NAME.fullmatch(name) and math.isfinite(point[name])]
    engine_first = sorted(named, key=lambda name: name.startswith(CANDIDATE_PREFIX))
    return {name: point[name] for name in engine_first[:_METRICS_A_POINT]}


def of_this_code(evaluation: Evaluation, candidate: Candidate) -> bool:
    """Whether the run was made for the code that the candidate has now.

    People write candidates over finished ones by hand; a run says in an annotation which code it was made for.
    """
    code = candidate.status.implementation
    made_for = evaluation.metadata.annotations.get(ANNOTATION_DIGEST)
    return made_for is None or (code is not None and made_for == code.digest)


def plan_evaluation(evaluation: Evaluation, candidate: Candidate | None, observed: Observed) -> list[Action]:
    """Actions for one evaluation; none when it is final or its candidate has no verified code (any more)."""
    if evaluation.status.phase in FINAL_EVALUATION_PHASES or candidate is None:
        return []
    source = _source(evaluation, candidate)
    if source is None:
        return []
    if evaluation.status.policy is None:
        return _train(evaluation, candidate, source, observed)
    return _score(evaluation, evaluation.status.policy, observed)


def _source(evaluation: Evaluation, candidate: Candidate) -> str | None:
    """The verified code that the evaluation is for; None when the candidate has none (any more)."""
    code, checked = candidate.status.implementation, candidate.status.verification
    if code is None or checked is None or not checked.passed or checked.revision != code.revision:
        return None
    return code.source if of_this_code(evaluation, candidate) else None


def _update(evaluation: Evaluation, **changes: object) -> list[Action]:
    status = evaluation.status.model_copy(update={"observed_generation": evaluation.metadata.generation, **changes})
    if status == evaluation.status:
        return []
    return [Update(evaluation.model_copy(update={"status": EvaluationStatus.model_validate(status.to_document())}))]


def _fail(evaluation: Evaluation, fault: TaskFault, **changes: object) -> list[Action]:
    reason = fault.reason or REASON_EVALUATION_FAILED
    return _update(evaluation, phase=EvaluationPhase.FAILED, reason=reason, message=fault.message, **changes)


def _lost(evaluation: Evaluation, kind: TaskKind, observed: Observed) -> dict[str, object]:
    """What the status has to say of attempts that left no result, where their time is counted.

    One that ran for nobody knows how long counts as the longest of the search.  When the shell starts anew, it counts
    attempts from none, and so does ``lost_attempts``.
    """
    gpus = gpus_of(evaluation)
    if not gpus:
        return {}
    status, task = evaluation.status, observed.peek(run_task(evaluation.metadata.name, kind))
    if task is None:
        return {"lost_attempts": None}
    before = status.lost_attempts or 0
    if task.state is not TaskState.LOST or task.lost_attempts == before:
        return {}
    fresh = task.lost_attempts - before if task.lost_attempts > before else task.lost_attempts
    training, scoring = expected(observed, evaluation.spec.fidelity)
    usual = (training if kind is TaskKind.TRAIN else scoring) / gpus
    each = task.lost_seconds if task.lost_seconds is not None else usual
    total = (status.lost_seconds or 0.0) + fresh * each
    return {"lost_seconds": round(total, 3), "lost_attempts": task.lost_attempts}


def _fault_seconds(evaluation: Evaluation, kind: TaskKind, observed: Observed) -> dict[str, object]:
    """How long a task ran that ended in a fault, where its time is counted."""
    task = observed.peek(run_task(evaluation.metadata.name, kind))
    seconds = task.result.seconds if task is not None and task.result is not None else None
    name = "train_seconds" if kind is TaskKind.TRAIN else "score_seconds"
    return {name: seconds} if seconds is not None and gpus_of(evaluation) else {}


def stopping(candidate: Candidate, fidelity: Fidelity, settings: EarlyStopping) -> EarlyStopping | None:
    """The rules that may end a run early; None: none.

    A confirmation is evidence, and one that was cut short is none; the baseline has no parent; a probe is over before
    two runs could be told apart.
    """
    if not settings.enabled:
        return None
    if fidelity is Fidelity.CONFIRM:
        return settings.only_non_finite()
    if fidelity is Fidelity.PROBE or not candidate.spec.parents:
        return settings.without_comparison()
    return settings


def reference_curve(
    evaluation: Evaluation, candidate: Candidate, observed: Observed
) -> tuple[dict[str, float], ...] | None:
    """Accuracy by step of the parent's run of the same fidelity and seed, as far as its status has it; else None.

    A parent is archived before its children are proposed, so this does not depend on what ends first.
    """
    rules = evaluation.spec.early_stopping
    if rules is None or not rules.enabled or not rules.hopeless.enabled or not candidate.spec.parents:
        return None
    name = evaluation_name(candidate.spec.parents[0], evaluation.spec.fidelity, evaluation.spec.seed)
    run, parent = observed.evaluations.get(name), observed.candidates.get(candidate.spec.parents[0])
    if run is None or parent is None or not of_this_code(run, parent):
        return None
    if run.status.phase is not EvaluationPhase.COMPLETE:
        return None
    curve = tuple(
        {STEP: point[STEP], ACCURACY: point[ACCURACY]}
        for point in run.status.trajectory
        if STEP in point and ACCURACY in point
    )
    return curve or None


def _train_input(evaluation: Evaluation, candidate: Candidate, source: str, observed: Observed) -> TrainInput:
    spec = evaluation.spec
    document = TrainInput(source=source, engine=spec.engine, suite=spec.suite, nano=spec.nano, seed=spec.seed)
    if spec.engine is Engine.NANO:
        return document
    return document.model_copy(
        update={
            "retry": _retry(evaluation),
            "verl": spec.verl,
            "fidelity": spec.fidelity,
            "stopping": spec.early_stopping,
            "reference": reference_curve(evaluation, candidate, observed),
        }
    )


def _train(evaluation: Evaluation, candidate: Candidate, source: str, observed: Observed) -> list[Action]:
    document = _train_input(evaluation, candidate, source, observed)
    lost = _lost(evaluation, TaskKind.TRAIN, observed)
    match step(observed, TaskKind.TRAIN, run_task(evaluation.metadata.name, TaskKind.TRAIN), document, TrainOutput):
        case Done(result):
            return _trained(evaluation, result, observed)
        case GivenUp(fault) if fault.reason in ENGINE_UNUSABLE:
            return _unusable(evaluation, fault, observed)
        case GivenUp(fault):
            seconds = _fault_seconds(evaluation, TaskKind.TRAIN, observed)
            return _fail(evaluation, fault, **lost, **seconds)
        case Waiting(None):
            return begin(evaluation)
        case Waiting(start):
            refusal = _refused(evaluation, observed)
            if refusal is not None and evaluation.spec.fidelity is Fidelity.CONFIRM:
                return _update(evaluation, phase=EvaluationPhase.PENDING, **lost)  # until the budget is raised
            if refusal is not None:
                return _fail(evaluation, refusal, **lost)
            # One that uses GPUs begins when there is room for it.
            actions = _update(evaluation, **lost) if gpus_of(evaluation) else begin(evaluation)
            return [*actions, StartTask(start)] if start is not None else actions


def begin(evaluation: Evaluation) -> list[Action]:
    """Training is running, or starts now."""
    return _update(evaluation, phase=EvaluationPhase.TRAINING, reason="", message="")


def _retry(evaluation: Evaluation) -> str | None:
    """Part of the input of its tasks: another value is another task."""
    return evaluation.metadata.annotations.get(ANNOTATION_RETRY) or None


def _unusable(evaluation: Evaluation, fault: TaskFault, observed: Observed) -> list[Action]:
    """Say why the engine can be used for nobody; or begin anew, once a user says that it can.

    A value that the Search has had before, for its language model, brings one attempt more.
    """
    asked = observed.search.metadata.annotations.get(ANNOTATION_RETRY, "")
    if asked in ("", _retry(evaluation)):
        return _update(evaluation, reason=fault.reason, message=fault.message)
    annotations = {**evaluation.metadata.annotations, ANNOTATION_RETRY: asked}
    metadata = evaluation.metadata.model_copy(update={"annotations": annotations})
    # Attempts at what is another task now are counted from none.
    status = evaluation.status.model_copy(update={"lost_attempts": None})
    return [Update(evaluation.model_copy(update={"metadata": metadata, "status": status}))]


def engine_trouble(observed: Observed) -> TaskFault | None:
    """Why the engine can be used for no candidate, as a task has found: nothing is to start until that is mended.

    The fault is not kept, and neither the Evaluation nor its candidate has failed: the task is started again once the shell
    no longer has its result, or once the user asks for it by an annotation of the Search.
    """
    if observed.search.spec.evaluation.engine is not Engine.VERL:
        return None
    for name, run in sorted(observed.evaluations.items()):
        if run.status.phase in FINAL_EVALUATION_PHASES:
            continue
        kind = TaskKind.TRAIN if run.status.policy is None else TaskKind.SCORE
        task = observed.peek(run_task(name, kind))
        fault = task.result.fault if task is not None and task.result is not None else None
        if task is None or fault is None or fault.reason not in ENGINE_UNUSABLE:
            continue
        document = _input(run, observed)
        request = TaskRequest(kind=kind, name=task.name, input=document.to_document()) if document is not None else None
        if request is None or not outdated(task, request):
            return fault.model_copy(update={"message": f"{name}: {fault.message}"})
    return None


def _input(run: Evaluation, observed: Observed) -> TrainInput | ScoreInput | None:
    """Of the task that the evaluation needs now; None without verified code."""
    candidate = observed.candidates.get(run.spec.candidate)
    source = _source(run, candidate) if candidate is not None else None
    if run.status.policy is not None:
        return _score_input(run, run.status.policy)
    return _train_input(run, candidate, source, observed) if candidate is not None and source is not None else None


def _refused(evaluation: Evaluation, observed: Observed) -> TaskFault | None:
    """Why a training may not start, or not be tried again; one that has begun may have left its result in the store."""
    task = observed.peek(run_task(evaluation.metadata.name, TaskKind.TRAIN))
    if begun(evaluation) and (task is None or task.state is not TaskState.LOST):
        return None
    return no_room(observed, evaluation.spec.fidelity)


def _trained(evaluation: Evaluation, result: TrainOutput, observed: Observed) -> list[Action]:
    """What training left; a run that ended early keeps it all, and is not scored.

    Scoring a language model takes far longer than the few steps of a probe, so that of verification is not scored.
    """
    ending = result.ended
    if ending is None and result.policy is None:
        ending = Ending(reason=REASON_TRAINING_FAILED, message="training left no weights")
    outcome: dict[str, object] = {"phase": EvaluationPhase.SCORING, "reason": "", "message": ""}
    probe = evaluation.spec.engine is Engine.VERL and evaluation.spec.fidelity is Fidelity.PROBE
    if probe and not observed.search.spec.evaluation.probe:
        outcome |= {"phase": EvaluationPhase.COMPLETE, "message": "trained; a probe of verification is not scored"}
    if ending is not None:
        message = f"{ending.reason}: {ending.message}"  # Events show nothing but the message
        outcome = {"phase": EvaluationPhase.FAILED, "reason": ending.reason, "message": message[:2000]}
    return _update(
        evaluation,
        **outcome,
        policy=result.policy,
        trajectory=tuple(map(presentable, thin(result.trajectory))),
        trajectory_artifact=result.trajectory_artifact,
        summary=result.summary,
        train_seconds=result.seconds,
        lost_attempts=None,
    )


def _score_input(evaluation: Evaluation, policy: str) -> ScoreInput:
    spec = evaluation.spec
    return ScoreInput(
        policy=policy,
        engine=spec.engine,
        suite=spec.suite,
        suite_definition=spec.suite_definition,
        split=SPLIT[spec.fidelity],
        seed=spec.seed,
        verl=spec.verl,
        retry=_retry(evaluation),
    )


def _score(evaluation: Evaluation, policy: str, observed: Observed) -> list[Action]:
    document = _score_input(evaluation, policy)
    lost = _lost(evaluation, TaskKind.SCORE, observed)
    match step(observed, TaskKind.SCORE, run_task(evaluation.metadata.name, TaskKind.SCORE), document, ScoreOutput):
        case Done(result):
            return _update(
                evaluation,
                phase=EvaluationPhase.COMPLETE,
                reason="",
                message="",
                metrics=result.metrics,
                records=result.records,
                score_seconds=result.seconds,
            )
        case GivenUp(fault) if fault.reason in ENGINE_UNUSABLE:
            return _unusable(evaluation, fault, observed)
        case GivenUp(fault):
            seconds = _fault_seconds(evaluation, TaskKind.SCORE, observed)
            return _fail(evaluation, fault, **lost, **seconds)
        case Waiting(start):
            actions = _update(evaluation, **lost)
            return [*actions, StartTask(start)] if start is not None else actions
