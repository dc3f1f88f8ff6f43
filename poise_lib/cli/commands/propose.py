"""``poise propose``: what a language model is asked for the next proposal, and what it answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from poise_lib.cli.proposing import Asked
    from poise_lib.llm.ledger import Allotment
    from poise_lib.resources.llm import LLMSettings, Spend


@click.command()
@click.argument("state", type=click.Path(path_type=Path), required=False)
@click.option(
    "--parent", metavar="NAME", help="Start from this archived candidate; by default from the next selected one."
)
@click.option("--direction", type=click.IntRange(min=1), metavar="N",
              help="Only the Nth direction of spec.strategy.proposalsPerParent; by default all.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Print the prompt and what it would cost; ask nobody, need no key.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def propose(state: Path | None, parent: str | None, direction: int | None, dry_run: bool, output: str) -> None:
    """Ask for the next proposals of STATE, or with --dry-run show the very prompt, its tokens and its cost.

    Nothing is added to the search, and its ledger does not count what this costs: it is told, kept in STATE/asked beside the
    transcripts, and together with the ledger never goes beyond the search's caps.

    \b
    poise propose quickstart.poise --dry-run                     # works for a search without a model, too
    poise propose mine.poise --parent 003-1 --direction 2
    """
    from poise_lib.cli import proposing
    from poise_lib.cli.state import read_state
    from poise_lib.cli.surroundings import model_of, require_model_client
    from poise_lib.errors import InvalidInputError

    snapshot = read_state(state)
    settings = model_of(snapshot.search)
    if settings is None and not dry_run:
        raise InvalidInputError(
            f"{snapshot.path}: this search asks no language model (spec.proposer.type is Library); --dry-run shows what one "
            "would be asked"
        )
    require_model_client()
    if settings is None:
        click.echo("This search itself asks no model; this is what one would be asked.", err=True)
    place = proposing.next_place(snapshot, parent)
    everything = proposing.prompts_for(snapshot, place)
    if direction is not None and direction > len(everything):
        raise InvalidInputError(f"--direction {direction}: there are {len(everything)} (strategy.proposalsPerParent)")
    wanted = everything if direction is None else everything[direction - 1 : direction]
    limits = settings or proposing.LIBRARY_SETTINGS
    told = f"Round {place.round}, slot {place.slot}, from {place.parent.name}."
    if dry_run:
        _show(told, wanted, len(everything), limits, output)
    else:
        before = proposing.asked_so_far(snapshot.path)
        allotment = proposing.allotment_for(snapshot.search, limits, len(wanted), before)
        _ask(snapshot.path, told, wanted, allotment, limits, output)


def _show(told: str, wanted: Sequence[Asked], count: int, limits: LLMSettings, output: str) -> None:
    """The first prompt as a whole, and what the others are."""
    from poise_lib.cli import proposing
    from poise_lib.cli.text import echo_document
    from poise_lib.plain import clean, json_text

    if output == "json":
        echo_document(json_text([proposing.asked_document(asked, limits) for asked in wanted]))
        return
    first, *others = wanted
    click.echo(clean(told))
    click.echo("\n".join(clean(line) for line in proposing.prompt_lines(first, limits, count)))
    for message in first.prompt.messages:
        click.echo(click.style(f"\n--- {message.role} ---", bold=True))
        click.echo(clean(message.content.rstrip("\n"), lines=True))
    if others:
        click.echo(click.style("\n--- the other directions (--direction N shows one) ---", bold=True))
        for asked in others:
            line = f"{asked.number}: {asked.direction.sentence()} (about {asked.prompt.tokens:,} tokens)"
            click.echo(clean(line))


def _ask(
    state: Path, told: str, wanted: Sequence[Asked], allotment: Allotment, limits: LLMSettings, output: str
) -> None:
    """Ask, print the proposals and what they have cost; the first error ends it when there is no answer at all."""
    import asyncio

    from poise_lib.cli.proposing import ask_all, asked_so_far
    from poise_lib.cli.text import echo_document, plural
    from poise_lib.plain import clean, json_text
    from poise_lib.prompts.messages import design_text

    click.echo(f"{told} Asking {limits.model} for {plural(len(wanted), 'proposal')}.", err=True)
    answers, spend = asyncio.run(ask_all(wanted, limits, allotment, state))
    _tell_cost(state, spend)
    proposals = []
    for asked, answer in zip(wanted, answers, strict=False):
        if isinstance(answer, Exception):
            click.echo(clean(f"Direction {asked.number}: {answer}"), err=True)
            continue
        proposals.append((asked, answer.value))
    errors = [answer for answer in answers if isinstance(answer, Exception)]
    if errors and not proposals:
        raise errors[0]
    if output == "json":
        listing = [{"direction": asked.number, "proposal": draft.model_dump(mode="json")} for asked, draft in proposals]
        total = asked_so_far(state).to_document()
        document = {"proposals": listing, "spend": spend.to_document(), "spentByPropose": total, "inLedger": False}
        echo_document(json_text(document))
        return
    for asked, draft in proposals:
        click.echo(click.style(f"Direction {asked.number}: {clean(asked.direction.sentence())}", bold=True))
        click.echo(clean(design_text(draft), lines=True) + "\n")


def _tell_cost(state: Path, spend: Spend) -> None:
    """What was spent, also when nothing came of it, and that the search's ledger does not know it."""
    from poise_lib.cli.money import cost, tokens
    from poise_lib.cli.proposing import asked_so_far
    from poise_lib.cli.text import plural
    from poise_lib.plain import clean

    total = asked_so_far(state)
    so_far = (
        ""
        if total == spend
        else f" All that poise propose has asked here: {tokens(total.tokens)} tokens, {cost(total)}."
    )
    click.echo(
        clean(
            f"Spent: {plural(spend.calls, 'call')}, {tokens(spend.tokens)} tokens, {cost(spend)}. The search's ledger does not count "
            f"this.{so_far} Transcripts and books are in {state}/asked."
        ),
        err=True,
    )
