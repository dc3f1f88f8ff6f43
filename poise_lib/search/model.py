"""The language model of a search: usable before anything is trained, and asked to distil what the archive teaches."""

from __future__ import annotations

from dataclasses import dataclass

from poise_lib.archive.entry import Entry
from poise_lib.archive.objective import told_reading
from poise_lib.llm.prices import price_problem
from poise_lib.names import LLM_UNUSABLE, REASON_LLM_PRICE_UNKNOWN
from poise_lib.prompts.exhibits import Exhibit, exhibit_of
from poise_lib.resources.llm import LLMSettings, OnFailure
from poise_lib.resources.search import SearchStatus
from poise_lib.resources.search_status import Principle
from poise_lib.search.actions import Action, StartTask
from poise_lib.search.observed import Observed
from poise_lib.search.spending import ask, check_input, checked, model_of
from poise_lib.search.steps import Done, GivenUp, Waiting, mark
from poise_lib.tasks.documents import CheckOutput, DistillInput, DistillOutput
from poise_lib.tasks.protocol import TaskFault, TaskKind


@dataclass(frozen=True, slots=True)
class ModelNews:
    """What a plan has learnt of, or from, the language model; what is missing stays as it is."""

    checked: str = ""
    """Mark of the settings with which it is usable."""
    fallback: str = ""
    """Why the operators of the library take over."""
    principles: tuple[Principle, ...] | None = None
    distilled: int | None = None
    """Round whose archive the principles are drawn from."""


def told(status: SearchStatus, news: ModelNews | None) -> SearchStatus:
    """A status with what has been learnt of the language model."""
    if news is None:
        return status
    ledger = status.ledger
    if ledger is not None:
        ledger = ledger.model_copy(
            update={"checked": news.checked or ledger.checked, "fallback": news.fallback[:256] or ledger.fallback}
        )
    changes: dict[str, object] = {"ledger": ledger}
    if news.principles is not None:
        changes["principles"] = news.principles
    if news.distilled is not None:
        changes["distilled"] = news.distilled
    return status.model_copy(update=changes)


@dataclass(frozen=True, slots=True)
class Gate:
    """Whether the search may go on as far as its model is concerned."""

    open: bool
    actions: tuple[Action, ...] = ()
    stop: TaskFault | None = None
    """Why it may not, for good."""
    news: ModelNews | None = None


def check_model(observed: Observed) -> Gate:
    """Before anything is trained: can the model be used?  Asked once for the settings as they are."""
    settings = model_of(observed)
    if settings is None or checked(observed, settings):
        return Gate(open=True)
    problem = price_problem(settings, observed.search.spec.budget.llm_cost_usd)
    if problem is not None:
        return _unusable(settings, TaskFault(reason=REASON_LLM_PRICE_UNKNOWN, message=problem))
    document = check_input(observed, settings)
    this = mark(document)
    match ask(observed, TaskKind.CHECK, f"{observed.search.metadata.name}-check-{this}", document, CheckOutput):
        case Done():
            return Gate(open=True, news=ModelNews(checked=this))
        case GivenUp(fault):
            return _unusable(settings, fault)
        case Waiting(start):
            return Gate(open=False, actions=(StartTask(start),) if start is not None else ())


def _unusable(settings: LLMSettings, fault: TaskFault) -> Gate:
    if settings.on_failure is OnFailure.LIBRARY:
        return Gate(open=True, news=ModelNews(fallback=f"{fault.reason}: {fault.message}"))
    return Gate(open=False, stop=fault)


def takes_over(observed: Observed, fault: TaskFault) -> ModelNews | None:
    """Whether the operators of the library take over after a fault of a task that asked the model."""
    settings = model_of(observed)
    if settings is None or fault.reason not in LLM_UNUSABLE or settings.on_failure is not OnFailure.LIBRARY:
        return None
    return ModelNews(fallback=f"{fault.reason}: {fault.message}")


def exhibits(observed: Observed, names: tuple[str, ...]) -> tuple[Exhibit, ...]:
    """What a prompt may show of these candidates, as far as they are in the archive."""
    known: dict[str, Entry] = {entry.name: entry for entry in observed.entries}
    return tuple(exhibit_of(observed.candidates[name], known[name]) for name in dict.fromkeys(names) if name in known)


@dataclass(frozen=True, slots=True)
class Distillation:
    """How far the principles are."""

    actions: tuple[Action, ...] = ()
    waiting: bool = False
    news: ModelNews | None = None


def distil(observed: Observed, round_: int, entries: tuple[Entry, ...]) -> Distillation:
    """Principles from the archive of the rounds up to one, if they are due; without a model there are none."""
    settings, status = model_of(observed), observed.search.status
    if settings is None or status.distilled >= round_ or len(entries) < 2:
        return Distillation()
    document = DistillInput(
        llm=settings,
        entries=entries,
        previous=status.principles,
        directive=observed.search.spec.directive,
        reading=told_reading(observed.search) or None,
    )
    name = f"{observed.search.metadata.name}-{round_:03d}-distill"
    match ask(observed, TaskKind.DISTILL, name, document, DistillOutput):
        case Done(output):
            return Distillation(news=ModelNews(principles=output.principles, distilled=round_))
        case GivenUp():
            return Distillation(news=ModelNews(distilled=round_))  # the old ones stay
        case Waiting(start):
            return Distillation(actions=(StartTask(start),) if start is not None else (), waiting=True)
