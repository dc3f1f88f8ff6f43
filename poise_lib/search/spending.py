"""What tasks may spend on a language model: set aside before they start, accounted for when they have ended.  Pure.

Level-triggered as everything here: ``status.ledger`` holds the sum of what has been accounted for, and what is set aside
(``open``) for tasks that have not been.  The plan that starts a task writes its reservation first; a task whose
result is there is accounted for in the plan that takes the result, and is kept until that is written.  Whatever gets lost
in between counts in full, so the ledger is never too small.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import TypeVar

from pydantic import BaseModel

from poise_lib.llm.ledger import Allotment, Caps, Refusal, call_allotment, grant, holding, task_allotment
from poise_lib.llm.ledger import ledger as ledger_of
from poise_lib.llm.prices import Price, price_of
from poise_lib.names import ANNOTATION_RETRY, REASON_LLM_BUDGET_SPENT
from poise_lib.resources.base import Model
from poise_lib.resources.llm import Ledger, LLMSettings, Reservation, Spend
from poise_lib.resources.proposer import ProposerType
from poise_lib.search.actions import StartTask
from poise_lib.search.observed import Observed, TaskState
from poise_lib.search.steps import Done, GivenUp, Waiting, mark, step
from poise_lib.tasks.documents import CheckInput
from poise_lib.tasks.protocol import TaskFault, TaskKind, TaskRequest, asks_of

T = TypeVar("T", bound=BaseModel)


def model_of(observed: Observed) -> LLMSettings | None:
    """The language model that is asked now; None for the operators of the library, also when they have taken over."""
    proposer, ledger = observed.search.spec.proposer, observed.search.status.ledger
    if proposer.type is not ProposerType.LLM or (ledger is not None and ledger.fallback):
        return None
    return proposer.llm


def check_input(observed: Observed, settings: LLMSettings) -> CheckInput:
    """What the check of a model depends on."""
    return CheckInput(llm=settings, retry=observed.search.metadata.annotations.get(ANNOTATION_RETRY, ""))


def checked(observed: Observed, settings: LLMSettings) -> bool:
    """Whether the model was found usable with these settings."""
    ledger = observed.search.status.ledger
    return ledger is not None and ledger.checked == mark(check_input(observed, settings))


def ask(observed: Observed, kind: TaskKind, name: str, document: Model, output: type[T]) -> Waiting | Done[T] | GivenUp:
    """As :func:`~poise_lib.search.steps.step`, for a task that may ask a model: given up when a cap leaves no room for it."""
    outcome = step(observed, kind, name, document, output)
    if isinstance(outcome, Waiting) and outcome.start is not None and outcome.start.asks_a_model:
        refusal = _refused_for_good(observed, outcome.start)
        if refusal is not None:
            return GivenUp(TaskFault(reason=REASON_LLM_BUDGET_SPENT, message=refusal.message[:2000]))
    return outcome


def settled(observed: Observed) -> Ledger | None:
    """The ledger with every task accounted for whose result is there; None for a search that asks no model."""
    ledger = _ledger(observed)
    if ledger is None:
        return None
    spent, still = _sum(ledger), []
    for reservation in ledger.open:
        task = observed.peek(reservation.task)
        if not reservation.counted and task is not None and task.result is not None:
            spent = spent.plus(task.result.spend if task.result.spend is not None else _whole(reservation))
            reservation = reservation.model_copy(update={"counted": True})
        still.append(reservation)
    return _with(ledger, spent, still)


def reserved(
    observed: Observed,
    ledger: Ledger | None,
    asked: Collection[str],
    wanted: Collection[str],
    starts: Sequence[StartTask],
) -> tuple[Ledger | None, list[StartTask]]:
    """Set aside what the tasks that start now may spend.

    Args:
        observed: the snapshot.
        ledger: as :func:`settled` left it.
        asked: names of all tasks that the plan has asked about: it needs them, or their results.
        wanted: names of those that it wants started, now or later.
        starts: those that may start now.

    Returns:
        The ledger with their reservations, and the starts with theirs; what has to wait for others to end is left out.
    """
    if ledger is None:
        return None, list(starts)
    spent, still = _sum(ledger), []
    for reservation in ledger.open:
        task = observed.peek(reservation.task)
        running = task is not None and task.state is TaskState.RUNNING
        given_up = task is not None and task.state is TaskState.LOST and reservation.task not in wanted
        if running or (reservation.task in asked and not given_up):
            still.append(reservation)  # a result that is counted may be asked for again, and is not counted again
        elif not reservation.counted:  # given up, or gone without a trace
            spent = spent.plus(_whole(reservation))
    going, exhausted = [], ""
    for start in starts:
        request = start.request
        if not request.asks_a_model:
            going.append(start)
            continue
        mine = next((item for item in still if item.task == request.name), None)
        if mine is None:
            granted = _grant(observed, request, spent, still)
            if isinstance(granted, Refusal):
                exhausted = granted.cap
                continue
            mine = Reservation(task=request.name, tokens=granted.tokens, usd=granted.usd)
            still.append(mine)
        going.append(StartTask(request.model_copy(update={"reservation": mine})))
    return _with(ledger, spent, still, exhausted), going


def _ledger(observed: Observed) -> Ledger | None:
    if observed.search.status.ledger is not None:
        return observed.search.status.ledger
    return Ledger() if observed.search.spec.proposer.type is ProposerType.LLM else None


def _sum(ledger: Ledger) -> Spend:
    return Spend(**{name: getattr(ledger, name) for name in Spend.model_fields})


def _with(old: Ledger, spent: Spend, still: Sequence[Reservation], exhausted: str | None = None) -> Ledger:
    new = ledger_of(spent, holding(still), old.exhausted if exhausted is None else exhausted)
    return new.model_copy(update={"open": tuple(still), "checked": old.checked, "fallback": old.fallback})


def _whole(reservation: Reservation) -> Spend:
    """Of a task that ended without telling: all that it may have spent."""
    return Spend(
        calls=1,
        prompt_tokens=reservation.tokens,
        cost_usd=reservation.usd or 0.0,
        estimated_calls=1,
        unpriced_calls=int(reservation.usd is None),
    )


def _refused_for_good(observed: Observed, request: TaskRequest) -> Refusal | None:
    """Whether not even an end of everything that runs would leave room."""
    ledger = settled(observed)
    if ledger is None or any(item.task == request.name for item in ledger.open):
        return None
    granted = _grant(observed, request, _sum(ledger), ())
    return granted if isinstance(granted, Refusal) else None


def _grant(observed: Observed, request: TaskRequest, spent: Spend, held: Iterable[Reservation]) -> Allotment | Refusal:
    budget = observed.search.spec.budget
    settings = LLMSettings.model_validate(request.input["llm"])
    price = price_of(settings.model, settings.prices)
    wanted = task_allotment(settings, price, asks_of(request.kind, observed.search.spec.strategy.proposals_per_parent))
    caps = Caps(budget.llm_tokens, budget.llm_cost_usd)
    granted = grant(caps, spent, holding(held), wanted, call_allotment(settings, price))
    if isinstance(granted, Refusal):
        return granted
    return Allotment(granted.tokens, granted.usd if granted.usd is not None else _worth(granted.tokens, price))


def _worth(tokens: int, price: Price | None) -> float | None:
    """The most that so many tokens can cost."""
    return None if price is None else max(price.cost(tokens, 0, 0), price.cost(0, 0, tokens))
