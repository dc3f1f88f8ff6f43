"""Principles: the archive distilled, each with the candidates that support and contradict it (arXiv:2603.23951)."""

from __future__ import annotations

from collections.abc import Sequence

from poise_lib.agents.proposer import said_before
from poise_lib.agents.voice import Voice
from poise_lib.archive.entry import Entry
from poise_lib.prompts import checked_principles, principles_prompt
from poise_lib.prompts.responses import Principles
from poise_lib.resources.search_status import Principle


async def distill(
    voice: Voice, entries: Sequence[Entry], previous: Sequence[Principle] = (), directive: str = "", reading: str = ""
) -> tuple[Principle, ...]:
    """Principles whose candidates exist, the best supported first.

    Args:
        voice: asks.
        entries: the whole archive.
        previous: the principles so far.
        directive: of the search.
        reading: what the search understands of it.

    Raises:
        LLMError: there are none.
    """
    prompt = principles_prompt(
        entries, previous=said_before(previous), directive=directive, reading=reading, budget=voice.budget
    )
    said = await voice.ask(prompt, Principles)
    return tuple(
        Principle(
            statement=item.statement,
            supports=item.supports,
            contradicts=item.contradicts,
            conditions=item.conditions,
        )
        for item in checked_principles(said.value, entries).principles
    )
