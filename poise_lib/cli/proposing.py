"""What a model is asked for the next proposals of a search, from the search's documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poise_lib.archive.convert import entries
from poise_lib.archive.entry import Entry
from poise_lib.archive.objective import objective_of, told_reading
from poise_lib.cli.money import dollars
from poise_lib.cli.state import Snapshot
from poise_lib.cli.surroundings import LITERATURE_COPY, model_of
from poise_lib.errors import InvalidInputError
from poise_lib.llm.config import ENV_LITERATURE
from poise_lib.prompts.directions import Direction
from poise_lib.prompts.exhibits import exhibit_of
from poise_lib.prompts.literature import Literature
from poise_lib.prompts.rendering import Prompt
from poise_lib.prompts.responses import ProposalDraft
from poise_lib.resources import Search
from poise_lib.resources.llm import LLMSettings, Spend
from poise_lib.resources.objective import Objective
from poise_lib.resources.search import ParentChoice

if TYPE_CHECKING:
    from poise_lib.llm.client import Answer
    from poise_lib.llm.errors import LLMError
    from poise_lib.llm.ledger import Allotment
    from poise_lib.llm.prices import Price

LIBRARY_SETTINGS = LLMSettings(model="no-model")
"""Limits of the prompt for a search that asks no model."""


@dataclass(frozen=True)
class Place:
    """Which proposals come next."""

    round: int
    slot: int
    parent: ParentChoice


@dataclass(frozen=True)
class Asked:
    """One prompt along one direction."""

    number: int
    direction: Direction
    prompt: Prompt


def next_place(snapshot: Snapshot, parent: str | None) -> Place:
    """The first slot that has no candidate yet, of the round under way or of the next one.

    Args:
        snapshot: of the search.
        parent: whom to start from; None takes the one that the selection takes.

    Raises:
        InvalidInputError: there is no such parent, or nothing is archived yet.
    """
    from poise_lib.search.naming import candidate_name

    search, status = snapshot.search, snapshot.search.status
    known = {item.metadata.name for item in snapshot.candidates}
    chosen = status.selection
    free: list[int] = []
    if chosen is not None:
        names = [candidate_name(search.metadata.name, chosen.round, slot) for slot in range(len(chosen.parents))]
        free = [slot for slot, name in enumerate(names) if name not in known]
    if chosen is not None and free and not status.digest:
        place = Place(chosen.round, free[0], chosen.parents[free[0]])
        return place if parent is None else Place(place.round, place.slot, _given(snapshot, place.round, parent))
    # Candidates that were imported or written by hand may be of later rounds than any selection.
    rounds = [item.spec.round for item in snapshot.candidates]
    round_ = max([*rounds, chosen.round if chosen is not None else 0]) + 1
    if parent is not None:
        return Place(round_, 0, _given(snapshot, round_, parent))
    return Place(round_, 0, _selected(snapshot, round_))


def _archive(snapshot: Snapshot, round_: int) -> tuple[Entry, ...]:
    return tuple(entry for entry in entries(snapshot.candidates) if entry.round < round_)


def _objective(snapshot: Snapshot) -> Objective:
    """The one that counts; spec.objective while it waits for the baseline's scores."""
    roots = (item.status.metrics for item in snapshot.candidates if item.spec.round == 0 and not item.spec.parents)
    return objective_of(snapshot.search, next(roots, {})) or snapshot.search.spec.objective


def _selected(snapshot: Snapshot, round_: int) -> ParentChoice:
    """As the select task of a round chooses."""
    from poise_lib.selection.acquisition import select

    spec = snapshot.search.spec
    selection = select(
        _archive(snapshot, round_),
        spec.strategy,
        _objective(snapshot),
        spec.evaluation.measured,
        round=round_,
        seed=spec.seed,
        count=1,
    )
    if not selection.parents:
        raise InvalidInputError(f"{snapshot.path}: no candidate is archived yet, so there is no parent to start from")
    return selection.parents[0]


def _given(snapshot: Snapshot, round_: int, parent: str) -> ParentChoice:
    """A parent by name, with the references that the selection would give it."""
    import numpy as np

    from poise_lib.archive.pareto import frontier, strength
    from poise_lib.resources.candidate import SelectionTerms
    from poise_lib.selection.pool import Pool
    from poise_lib.selection.references import reference_tiers

    spec, name = snapshot.search.spec, snapshot.search.metadata.name
    pool = Pool.of(_archive(snapshot, round_), _objective(snapshot), spec.evaluation.measured)
    rows = {one: row for row, one in enumerate(pool.names())}
    row = rows.get(parent, rows.get(f"{name}-{parent}"))
    if row is None:
        raise InvalidInputError(
            f"{snapshot.path}: {parent!r} is no archived candidate before round {round_}; "
            f"`poise get candidates {snapshot.path} --phase Archived` lists them"
        )
    on_frontier = np.zeros(len(pool), dtype=bool)
    on_frontier[list(frontier(pool.vectors))] = True
    seed = f"{spec.seed}/{round_}/0"
    tiers = reference_tiers(pool, row, strength(pool.vectors), on_frontier, spec.strategy.references, seed)
    terms = SelectionTerms(round=round_, score=0.0, pareto=0.0, performance=0.0, diversity=0.0, bayes=0.0)
    return ParentChoice(
        name=pool.names()[row],
        terms=terms,
        pareto=tiers.pareto,
        complementary=tiers.complementary,
        exploratory=tiers.exploratory,
    )


def prompts_for(snapshot: Snapshot, place: Place) -> tuple[Asked, ...]:
    """One prompt for each direction of a place.

    Raises:
        InvalidInputError: the context is too small for what must be in it, or the kept literature is none.
    """
    from poise_lib.agents.proposer import Brief

    search = snapshot.search
    settings = model_of(search) or LIBRARY_SETTINGS
    archive = _archive(snapshot, place.round)
    candidates = {item.metadata.name: item for item in snapshot.candidates}
    brief = Brief(
        choice=place.parent,
        entries=archive,
        exhibits=tuple(exhibit_of(candidates[entry.name], entry) for entry in archive),
        literature=literature_of(snapshot),
        count=search.spec.strategy.proposals_per_parent,
        seed=search.spec.seed,
        round=place.round,
        slot=place.slot,
        directive=search.spec.directive,
        reading=told_reading(search),
        objective=_objective(snapshot),
        principles=search.status.principles,
    )
    return tuple(
        Asked(number, direction, brief.prompt(direction, budget=settings.context_tokens))
        for number, direction in enumerate(brief.directions, 1)
    )


def literature_of(snapshot: Snapshot) -> Literature:
    """The papers that come with POISE, and the team's own that the search was run with."""
    from poise_lib.agents.papers import literature

    own = snapshot.path / LITERATURE_COPY
    return literature({ENV_LITERATURE: str(own)} if own.is_file() else {})


def price_for(settings: LLMSettings) -> Price | None:
    """What the model's tokens cost."""
    from poise_lib.llm.prices import price_of

    return price_of(settings.model, settings.prices)


def worst_case(asked: Asked, settings: LLMSettings) -> Spend:
    """The most that one call with this prompt can be charged: what the ledger sets aside before it is sent."""
    from poise_lib.llm.schema import schema_text
    from poise_lib.llm.usage import bounds, worst

    texts = [message.content for message in asked.prompt.messages]
    limits = bounds(texts, schema_text(asked.prompt.answer), settings.max_output_tokens)
    return worst(limits, price_for(settings))


def books_of(state: Path) -> Path:
    """Where ``poise propose`` keeps its books: beside the search's, which know nothing of it."""
    return state / "asked" / "ledger"


def asked_so_far(state: Path) -> Spend:
    """What ``poise propose`` has spent on a state; a call that a crash cut counts at its worst.

    Raises:
        StateError: a book is damaged.
    """
    from poise_lib.llm.purse import read_book

    total = Spend()
    for folder in sorted(path for path in books_of(state).glob("*") if path.is_dir()):
        total = total.plus(read_book(folder).charged)
    return total


def allotment_for(search: Search, settings: LLMSettings, asks: int, before: Spend) -> Allotment:
    """What may be spent now: no more than the search's caps have left, after what ``poise propose`` has spent before.

    Raises:
        InvalidInputError: a cap is reached, or cannot be kept without a price.
    """
    from poise_lib.llm.ledger import Caps, Refusal, call_allotment, grant, holding, task_allotment
    from poise_lib.llm.prices import price_problem

    budget, ledger, price = search.spec.budget, search.status.ledger, price_for(settings)
    if (problem := price_problem(settings, budget.llm_cost_usd)) is not None:
        raise InvalidInputError(problem)
    given = grant(
        Caps(budget.llm_tokens, budget.llm_cost_usd),
        before.plus(ledger if ledger is not None else Spend()),
        holding(ledger.open if ledger is not None else ()),
        task_allotment(settings, price, asks),
        call_allotment(settings, price),
    )
    if isinstance(given, Refusal):
        raise InvalidInputError(given.message)
    return given


def prompt_lines(asked: Asked, settings: LLMSettings, count: int) -> list[str]:
    """What a prompt is, above its text."""
    prompt, most = asked.prompt, worst_case(asked, settings)
    price = "" if most.unpriced_calls else f", {dollars(most.cost_usd)}"
    unknown = f" (the price of {settings.model!r} is not known)" if most.unpriced_calls else ""
    lines = [
        f"Direction {asked.number} of {count}: {asked.direction.sentence()}",
        (
            f"Prompt: about {prompt.tokens:,} tokens of at most {settings.context_tokens:,} (estimated from above, three bytes "
            f"a token); version {prompt.version.removeprefix('sha256:')[:12]}"
        ),
        (
            f"Worst case of one call: {most.tokens:,} tokens{price}{unknown}; with all {settings.max_repairs} repairs, that of "
            f"{settings.max_repairs + 1} calls"
        ),
    ]
    lines += [f"Shortened: {item}" for item in prompt.shortened]
    lines += [f"Left out:  {item}" for item in prompt.omitted]
    return lines


def asked_document(asked: Asked, settings: LLMSettings) -> dict[str, Any]:
    """The same for programs, with the messages."""
    prompt = asked.prompt
    return {
        "direction": asked.number,
        "towards": asked.direction.key,
        "version": prompt.version,
        "tokens": prompt.tokens,
        "budget": settings.context_tokens,
        "shortened": list(prompt.shortened),
        "omitted": list(prompt.omitted),
        "worst": worst_case(asked, settings).to_document(),
        "messages": [{"role": message.role, "content": message.content} for message in prompt.messages],
    }


async def ask_all(
    wanted: Sequence[Asked], settings: LLMSettings, allotment: Allotment, state: Path
) -> tuple[list[Answer[ProposalDraft] | LLMError], Spend]:
    """Ask for every prompt, several at the same time; what went wrong stands in the place of an answer.

    Args:
        wanted: the prompts.
        settings: of the model.
        allotment: what all of them may cost.
        state: its folder ``asked`` gets the transcripts and the books, which are no part of the search.

    Returns:
        Answers in the order of the prompts, and what all calls have cost, the failed ones too.
    """
    import asyncio
    import os
    import uuid

    from poise_lib.artifacts.digest import digest_of
    from poise_lib.artifacts.store import write_atomically
    from poise_lib.llm.client import Client
    from poise_lib.llm.config import ClientConfig
    from poise_lib.llm.dialect import Message
    from poise_lib.llm.errors import LLMError
    from poise_lib.llm.purse import Purse
    from poise_lib.llm.transcript import Transcript

    def kept(transcript: Transcript | None) -> None:
        if transcript is not None and transcript.exchanges:
            data = transcript.to_bytes()
            write_atomically(state / "asked" / f"{digest_of(data).removeprefix('sha256:')}.json", data)

    purse = Purse(allotment, books_of(state) / uuid.uuid4().hex)

    async def one(client: Client, asked: Asked) -> Answer[ProposalDraft] | LLMError:
        messages = [Message(message.role, message.content) for message in asked.prompt.messages]
        try:
            answer = await client.ask(messages, ProposalDraft, purse)
        except LLMError as error:
            kept(error.transcript)
            return error
        kept(answer.transcript)
        return answer

    async with Client(ClientConfig.of(settings, os.environ)) as client:
        first = await one(client, wanted[0])
        if isinstance(first, LLMError) and first.lasting:
            return [first], purse.spent  # what would fail again and again is asked once
        rest = await asyncio.gather(*(one(client, asked) for asked in wanted[1:]))
    return [first, *rest], purse.spent
