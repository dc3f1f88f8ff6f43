"""``poise describe``: all that is known of one object."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from poise_lib.cli.state import Snapshot, state_option

if TYPE_CHECKING:
    from poise_lib.resources.loading import Resource


@click.command()
@click.argument("name")
@state_option
@click.option("-o", "--output", type=click.Choice(["text", "json", "yaml"]), default="text", show_default=True)
@click.option("--source/--no-source", default=True, help="With the code of a candidate, or without.")
@click.option("--source-only", is_flag=True, help="Print nothing but the code of a candidate.")
def describe(name: str, state: Path | None, output: str, source: bool, source_only: bool) -> None:
    """Show the search, candidate or evaluation NAME; `003-1` means candidate 1 of round 3.

    \b
    poise describe 003-1
    poise describe quickstart-003-1 --state quickstart.poise
    poise describe 003-1 --source-only > mine.py     # then change it and `poise train mine.py`
    """
    from poise_lib.cli.describing import describe_candidate, describe_evaluation, describe_search
    from poise_lib.cli.lineage import build_forest
    from poise_lib.cli.state import read_state
    from poise_lib.cli.text import echo_document
    from poise_lib.errors import InvalidInputError
    from poise_lib.plain import clean, json_text
    from poise_lib.resources import Candidate, Evaluation

    snapshot = read_state(state)
    found = _find(name, snapshot)
    if source_only:
        code = _source(found)
        if code is None:
            raise InvalidInputError(f"{found.metadata.name} is a {found.kind} that has no source")
        echo_document(clean(code, lines=True), nl=False)
    elif output != "text":
        from poise_lib.cli.commands.get import render

        text = render([found], found.kind, output)
        if output == "json":
            text = json_text(found.to_document())
        echo_document(text)
    elif isinstance(found, Candidate):
        roots = build_forest(snapshot.search, snapshot.candidates)
        node = next(node for root in roots for node in root.walk() if node.name == found.metadata.name)
        runs = [run for run in snapshot.evaluations if run.spec.candidate == found.metadata.name]
        click.echo("\n".join(describe_candidate(found, node, runs, source=source)))
    elif isinstance(found, Evaluation):
        click.echo("\n".join(describe_evaluation(found)))
    else:
        click.echo("\n".join(describe_search(found)))


def _find(name: str, snapshot: Snapshot) -> Resource:
    """The object of this name, or of this name after the search's."""
    import difflib

    from poise_lib.errors import InvalidInputError

    search = snapshot.search.metadata.name
    everything: list[Resource] = [snapshot.search, *snapshot.candidates, *snapshot.evaluations]
    known = {item.metadata.name: item for item in everything}
    plain = name.rpartition("/")[2]  # kubectl's candidate.poise.dev/NAME
    for wanted in (plain, f"{search}-{plain}"):
        if wanted in known:
            return known[wanted]
    close = difflib.get_close_matches(plain, [*known, *(each.removeprefix(f"{search}-") for each in known)], n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else "`poise get candidates` lists them"
    raise InvalidInputError(f"there is no {name!r} in {snapshot.path}; {hint}")


def _source(item: object) -> str | None:
    from poise_lib.resources import Candidate

    if not isinstance(item, Candidate):
        return None
    return item.status.implementation.source if item.status.implementation else item.spec.source
