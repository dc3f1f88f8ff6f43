"""What each kind of task does: thin adapters from documents to the operators.

Imports are local, because a task that renders a text must not wait for torch.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from poise_lib.artifacts.digest import canonical_json
from poise_lib.errors import CandidateError, EngineError, InvalidInputError
from poise_lib.names import (
    REASON_SCORING_FAILED,
    REASON_SOURCE_TOO_LARGE,
    REASON_TRAINING_FAILED,
    REASON_UNKNOWN_ALGORITHM,
)
from poise_lib.resources.base import Model
from poise_lib.resources.candidate import Component
from poise_lib.resources.engine import Engine
from poise_lib.resources.suites import suite_of
from poise_lib.tasks import documents as d
from poise_lib.tasks.context import Fault, TaskContext
from poise_lib.tasks.protocol import TaskKind, TaskRequest

MAX_SOURCE_CHARACTERS = 24_000
"""The bound of a Candidate's source in the API."""


def handle(request: TaskRequest, context: TaskContext) -> dict[str, Any]:
    """Run a request; returns the output document.

    Raises:
        Fault: the task cannot succeed with this input.
        PoiseError: this attempt failed for a reason that another attempt may not meet.
    """
    return _HANDLERS[request.kind](request.input, context).to_document()


def _select(document: dict[str, Any], _: TaskContext) -> Model:
    from poise_lib.selection.acquisition import select

    task = d.SelectInput.model_validate(document)
    selection = select(
        task.entries,
        task.strategy,
        task.objective,
        suite_of(task.suite, task.suite_definition),
        round=task.round,
        seed=task.seed,
        count=task.count,
    )
    return d.SelectOutput(selection=selection)


def _propose(document: dict[str, Any], context: TaskContext) -> Model:
    task = d.ProposeInput.model_validate(document)
    if task.llm is not None:
        from poise_lib.tasks import asking

        return asking.propose(task, task.llm, context)
    from poise_lib.proposal import propose

    proposals = propose(
        task.parent,
        task.entries,
        task.strategy,
        round=task.round,
        slot=task.slot,
        seed=task.seed,
        objective=task.objective,
    )
    return d.ProposeOutput(proposals=proposals)


def _implement(document: dict[str, Any], context: TaskContext) -> Model:
    task = d.ImplementInput.model_validate(document)
    if task.source is not None:
        return _implemented(task.source)
    if task.algorithm is not None:
        from poise_lib.algorithms.registry import zoo_source

        try:
            return _implemented(zoo_source(task.algorithm))
        except InvalidInputError as error:
            raise Fault(REASON_UNKNOWN_ALGORITHM, str(error)) from error
    if task.llm is not None:
        from poise_lib.tasks import asking

        written = asking.implement(task, task.llm, context)
        _check_size(written.source or "")
        return written
    from poise_lib.proposal import implement

    made = implement(task.proposal, revision=task.revision, findings=task.findings, previous=task.previous)
    if made is None:
        return d.ImplementOutput(source=None, message=f"nothing is left to repair after revision {task.revision - 1}")
    return _implemented(made.source, made.composition)


def _implemented(source: str, composition: tuple[Component, ...] = ()) -> d.ImplementOutput:
    _check_size(source)
    return d.ImplementOutput(source=source, composition=composition)


def _check_size(source: str) -> None:
    if len(source) > MAX_SOURCE_CHARACTERS:
        message = f"the source has {len(source)} characters; at most {MAX_SOURCE_CHARACTERS}"
        raise Fault(REASON_SOURCE_TOO_LARGE, message)


def _verify(document: dict[str, Any], context: TaskContext) -> Model:
    from poise_lib.resources.candidate import CheckResult, Verification
    from poise_lib.verification import Status, verify

    task = d.VerifyInput.model_validate(document)
    report = verify(
        task.source,
        parent_digests=task.parent_digests,
        workdir=context.workdir,
        training_probe=task.training_probe,
        run=context.sandbox,
    )
    digest = context.keep(canonical_json(report.to_dict()))
    bad = sorted(report.findings, key=lambda check: check.status is not Status.FAILED)
    findings = tuple(
        CheckResult(
            name=check.name[:256], status=check.status.value, evidence=check.evidence[:600], hint=check.hint[:300]
        )
        for check in bad[:16]
    )
    verification = Verification(
        passed=report.passed,
        revision=task.revision,
        checks=len(report.checks),
        findings=findings,
        behaviour_digest=report.behaviour_digest,
        isolation=report.isolation,
        report=digest,
    )
    return d.VerifyOutput(verification=verification)


def _train(document: dict[str, Any], context: TaskContext) -> Model:
    task = d.TrainInput.model_validate(document)
    if task.engine is Engine.VERL:
        from poise_lib.tasks import verl

        return verl.train(task, context)
    from poise_lib.evaluation.nano.config import NanoConfig
    from poise_lib.evaluation.run import train_candidate
    from poise_lib.evaluation.trajectory import STEP, TIMES
    from poise_lib.tasks.outputs import trained

    config = NanoConfig.of(task.nano)

    def on_progress(record: dict[str, float]) -> None:
        context.report({"step": int(record.get(STEP, 0.0)) + 1, "steps": config.steps})

    started = time.monotonic()
    try:
        report = train_candidate(
            task.source, config, task.seed, context.workdir / "train", on_progress, run=context.sandbox
        )
    except CandidateError as error:
        raise Fault(REASON_TRAINING_FAILED, str(error)) from error
    trajectory = [{k: v for k, v in record.items() if k not in TIMES} for record in report.trajectory]
    return trained(context, report.policy_path, trajectory, started)


def _score(document: dict[str, Any], context: TaskContext) -> Model:
    task = d.ScoreInput.model_validate(document)
    if task.engine is Engine.VERL:
        from poise_lib.tasks import verl

        return verl.score(task, context)
    from poise_lib.evaluation.run import score_checkpoint
    from poise_lib.tasks.outputs import scored

    started = time.monotonic()
    checkpoint = context.workdir / "policy.safetensors"
    checkpoint.write_bytes(context.store.get(task.policy))
    try:
        report = score_checkpoint(checkpoint, task.split, task.seed)
    except EngineError as error:
        raise Fault(REASON_SCORING_FAILED, str(error)) from error
    records = canonical_json([asdict(record) for record in report.records])
    return scored(context, report.metrics, records, started)


def _check(document: dict[str, Any], context: TaskContext) -> Model:
    from poise_lib.tasks import asking

    return asking.check(d.CheckInput.model_validate(document), context)


def _distill(document: dict[str, Any], context: TaskContext) -> Model:
    from poise_lib.tasks import asking

    return asking.distill(d.DistillInput.model_validate(document), context)


def _reflect(document: dict[str, Any], context: TaskContext) -> Model:
    task = d.ReflectInput.model_validate(document)
    if task.llm is not None:
        from poise_lib.tasks import asking

        return asking.reflect(task, task.llm, context)
    from poise_lib.reflection import reflect

    return d.ReflectOutput(reflection=reflect(task.child, task.parent, task.baseline, task.objective))


def _conclude(document: dict[str, Any], _: TaskContext) -> Model:
    from poise_lib.archive.confirmation import conclude

    task = d.ConcludeInput.model_validate(document)
    confirmed = conclude(
        task.baseline,
        task.arms,
        task.confidence,
        picked=task.picked,
        baseline_metrics=task.baseline_metrics or {},
        arm_metrics=task.arm_metrics or {},
        guards=task.guards or (),
    )
    return d.ConcludeOutput(confirmed=confirmed)


def _collect(document: dict[str, Any], context: TaskContext) -> Model:
    task = d.CollectInput.model_validate(document)
    there = [digest for digest in task.remove if context.store.has(digest)]
    for digest in there:
        context.store.remove(digest)
    return d.CollectOutput(removed=len(there))


_HANDLERS: dict[TaskKind, Callable[[dict[str, Any], TaskContext], Model]] = {
    TaskKind.SELECT: _select,
    TaskKind.PROPOSE: _propose,
    TaskKind.IMPLEMENT: _implement,
    TaskKind.VERIFY: _verify,
    TaskKind.TRAIN: _train,
    TaskKind.SCORE: _score,
    TaskKind.REFLECT: _reflect,
    TaskKind.CONCLUDE: _conclude,
    TaskKind.COLLECT: _collect,
    TaskKind.CHECK: _check,
    TaskKind.DISTILL: _distill,
}
