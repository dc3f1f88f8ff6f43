"""Tasks that ask a language model: their purse, their voice, and what a failure of the model means for them.

A task's books lie beside the artifacts, under the digest of its input, so that a second attempt knows what the first has
spent; a call that was sent and not settled counts in full.  In an object store nothing can be appended to: there the book
is in memory, a lost attempt leaves none, and the planner has to charge its whole reservation.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pydantic import ValidationError

from poise_lib.artifacts import ArtifactStore, Store
from poise_lib.errors import EngineError, InvalidInputError, StateError
from poise_lib.names import (  # fmt: skip
    REASON_LITERATURE_INVALID,
    REASON_LLM_FAILED,
    REASON_LLM_PROMPT_TOO_LONG,
    REASON_LLM_WRONG_ENDPOINT,
)
from poise_lib.resources.llm import LLMSettings
from poise_lib.tasks import documents as d
from poise_lib.tasks.context import Fault, TaskContext
from poise_lib.tasks.protocol import TaskRequest, asks_of

if TYPE_CHECKING:
    from poise_lib.agents.voice import Voice
    from poise_lib.llm.purse import Purse
    from poise_lib.prompts import Literature
    from poise_lib.prompts.messages import Design, Earlier
    from poise_lib.resources.base import Model
    from poise_lib.resources.candidate import Proposal, Revision

T = TypeVar("T")

_DRAFT_LIMIT: Final = 1 << 20


def purse_of(request: TaskRequest, store: Store) -> Purse:
    """The purse of a task that asks a model: what was reserved for it, or enough where nobody reserves.

    Args:
        request: with ``llm`` in its input.
        store: the artifacts; only a folder keeps the book beyond this attempt.
    """
    from poise_lib.llm.ledger import Allotment, task_allotment
    from poise_lib.llm.prices import price_of
    from poise_lib.llm.purse import Purse, book_folder

    if request.reservation is not None:
        allotment = Allotment(request.reservation.tokens, request.reservation.usd)
    else:
        settings = LLMSettings.model_validate(request.input["llm"])
        proposals = int(request.input.get("strategy", {}).get("proposalsPerParent", 1))
        wanted = task_allotment(settings, price_of(settings.model, settings.prices), asks_of(request.kind, proposals))
        allotment = Allotment(wanted.tokens)
    return Purse(allotment, book_folder(store.root, request.digest) if isinstance(store, ArtifactStore) else None)


def check(task: d.CheckInput, context: TaskContext) -> Model:
    """Whether the model can be used; every failure is the answer."""

    async def run(voice: Voice) -> d.CheckOutput:
        from poise_lib.llm.errors import LLMError

        try:
            found = await voice.client.check(voice.purse)
        except LLMError as error:
            if error.transcript is not None:
                voice.hold(error.transcript)
            raise
        voice.hold(found.transcript)
        return d.CheckOutput(structured_output=found.structure.value)

    return _speak(task.llm, context, run, every_failure=True)


def propose(task: d.ProposeInput, settings: LLMSettings, context: TaskContext) -> Model:
    """Proposals of the model, screened, best first."""
    if task.parent.name not in {entry.name for entry in task.entries}:
        raise InvalidInputError(f"parent {task.parent.name!r} is not in the archive of {len(task.entries)} entries")
    papers = _literature(context)

    async def run(voice: Voice) -> d.ProposeOutput:
        from poise_lib.agents.proposer import Brief, propose

        brief = Brief(
            choice=task.parent,
            entries=task.entries,
            exhibits=task.exhibits or (),
            literature=papers,
            count=task.strategy.proposals_per_parent,
            seed=task.seed,
            round=task.round,
            slot=task.slot,
            directive=task.directive or "",
            reading=task.reading or "",
            objective=task.objective,
            principles=task.principles or (),
        )
        found = await propose(voice, brief)
        return d.ProposeOutput(proposals=found.proposals, left_out=found.left_out or None)

    return _speak(settings, context, run)


def implement(task: d.ImplementInput, settings: LLMSettings, context: TaskContext) -> d.ImplementOutput:
    """A module that the model wrote, its digest and its exchanges; whether it may be trained is for `verify` to say."""
    design = _design(task.proposal, context.store)
    earlier = tuple(_earlier(old, context.store) for old in task.revisions or ())

    async def run(voice: Voice) -> d.ImplementOutput:
        from poise_lib.agents.implementer import implement, mend

        if task.revision > 1 and task.written:
            made = await mend(voice, task.proposal, design, task.written, task.findings, task.revision, earlier)
        else:
            made = await implement(voice, task.proposal, design, task.parent)
        return d.ImplementOutput(
            source=made.source,
            message=made.message,
            transcripts=tuple(voice.transcripts),
            kept=voice.keep(made.source.encode()),
        )

    return _speak(settings, context, run)


def reflect(task: d.ReflectInput, settings: LLMSettings, context: TaskContext) -> Model:
    """The model's reflection; the rule-based one where that is not to be had or not to be believed."""
    from poise_lib.prompts import Exhibit
    from poise_lib.reflection import reflect as by_rules

    shown = {exhibit.entry.name: exhibit for exhibit in task.exhibits or ()}

    async def run(voice: Voice) -> d.ReflectOutput:
        from poise_lib.agents.reflector import reflect

        parent = task.parent
        found = await reflect(
            voice,
            shown.get(task.child.name, Exhibit(entry=task.child)),
            None if parent is None else shown.get(parent.name, Exhibit(entry=parent)),
            task.baseline,
            archive=task.entries or (),
            directive=task.directive or "",
            reading=task.reading or "",
            objective=task.objective,
        )
        return d.ReflectOutput(reflection=found, transcripts=tuple(voice.transcripts))

    try:
        return _speak(settings, context, run)
    except Fault as fault:  # the model could not even be asked
        from poise_lib.agents.reflector import noted

        rules = by_rules(task.child, task.parent, task.baseline, task.objective)
        return d.ReflectOutput(reflection=noted(rules, f"the model cannot be asked: {fault}"))


def distill(task: d.DistillInput, context: TaskContext) -> Model:
    """Principles, the best supported first."""

    async def run(voice: Voice) -> d.DistillOutput:
        from poise_lib.agents.distiller import distill

        found = await distill(voice, task.entries, task.previous, task.directive, task.reading or "")
        return d.DistillOutput(principles=found, transcripts=tuple(voice.transcripts))

    return _speak(task.llm, context, run)


def _literature(context: TaskContext) -> Literature:
    from poise_lib.agents.papers import literature

    try:
        return literature(context.environment)
    except InvalidInputError as error:
        raise Fault(REASON_LITERATURE_INVALID, f"proposer.llm.literature: {error}", keep=False) from error


def _design(proposal: Proposal, store: Store) -> Design:
    """The whole draft with formulas and hyperparameters; the Candidate's words where it is not there any more."""
    from poise_lib.prompts.responses import ProposalDraft

    if proposal.design is None or not store.has(proposal.design):
        return proposal
    try:
        return ProposalDraft.model_validate_json(store.get(proposal.design))
    except ValidationError as error:
        raise StateError(f"{store.place}: {proposal.design} is no proposal of this version") from error


def _earlier(old: Revision, store: Store) -> Earlier:
    """A revision that was repaired, as far as the store still has its code and its report."""
    from poise_lib.prompts.messages import Earlier
    from poise_lib.resources.candidate import CheckResult

    findings: list[CheckResult] = []
    if old.report is not None and store.has(old.report):
        try:
            checks = json.loads(store.get(old.report))["checks"]
            for check in checks:
                if check["status"] in ("failed", "warned"):
                    told = {"evidence": check["evidence"][:600], "hint": check["hint"][:300]}
                    findings.append(CheckResult(name=check["name"][:256], status=check["status"], **told))
        except (ValueError, KeyError, TypeError) as error:
            raise StateError(f"{store.place}: {old.report} is no report of this version") from error
    source = store.get(old.source).decode() if store.has(old.source) else ""
    return Earlier(old.revision, tuple(findings), source)


def _speak(
    settings: LLMSettings,
    context: TaskContext,
    run: Callable[[Voice], Coroutine[Any, Any, T]],
    *,
    every_failure: bool = False,
) -> T:
    """Ask, and turn the model's failures into what they mean.

    Raises:
        Fault: somebody has to mend something; not kept, because then the same input may succeed.
        LLMError: the server failed for longer than the retries last; another attempt may succeed.
    """
    from poise_lib.agents.voice import speaking
    from poise_lib.llm.errors import LLMError, Overloaded, ServerFailed
    from poise_lib.prompts import ContextTooSmallError

    if context.purse is None:
        raise StateError("a task that asks a model needs a purse")
    purse = context.purse

    async def talk() -> T:
        async with speaking(settings, purse, context.environment, context.keep, context.report) as voice:
            return await run(voice)

    try:
        return asyncio.run(talk())
    except LLMError as error:
        if isinstance(error, Overloaded | ServerFailed) and not every_failure:
            raise
        raise Fault(error.reason, str(error), keep=False) from error
    except ContextTooSmallError as error:
        message = f"proposer.llm.contextTokens is too low: {error}"
        raise Fault(REASON_LLM_PROMPT_TOO_LONG, message, keep=False) from error
    except InvalidInputError as error:
        raise Fault(REASON_LLM_WRONG_ENDPOINT, str(error), keep=False) from error
    except EngineError as error:
        raise Fault(REASON_LLM_FAILED, str(error), keep=False) from error
