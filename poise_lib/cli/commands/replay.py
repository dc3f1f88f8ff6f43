"""``poise replay``: a search once more from its transcripts, without a model."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.command()
@click.argument("state", type=click.Path(path_type=Path), required=False)
@click.option("--into", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
              help="State directory of the replay; by default NAME-replay.poise, after the search's name.")  # fmt: skip
@click.option("--workers", type=click.IntRange(min=1), help="Tasks at the same time; by default one a core.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True,
              help="Form of the verdict on stdout; progress goes to stderr.")  # fmt: skip
@click.pass_context
def replay(ctx: click.Context, state: Path | None, into: Path | None, workers: int | None, output: str) -> None:
    """Run the search of STATE again, its model's answers taken from its transcripts, and compare the archives.

    No key and no network are needed; everything but the model's part is done again. Exit code 0: the same archive, by the canonical
    digest; 8: another one.

    \b
    poise replay mine.poise
    poise replay mine.poise --into /tmp/again.poise -o json | jq .same
    """
    from poise_lib.cli.checks import require_engine
    from poise_lib.cli.progress import observer
    from poise_lib.cli.replaying import (
        ReplayDiffers,
        again,
        compare,
        recording_of,
        variables,
        verdict_document,
        verdict_lines,
    )
    from poise_lib.cli.state import default_state, read_state
    from poise_lib.cli.surroundings import environment, require_model_client
    from poise_lib.cli.text import echo_document
    from poise_lib.errors import InvalidInputError
    from poise_lib.local import runner
    from poise_lib.plain import clean, json_text

    before = read_state(state)
    where = into or default_state(f"{before.search.metadata.name}-replay")
    if where.resolve() == before.path.resolve():
        raise InvalidInputError(f"--into {where}: is the search itself; name another directory")
    require_model_client()
    recording = recording_of(before)
    require_engine()
    from poise_lib.llm.replay import ReplayServer

    click.echo(f"Replaying {before.path} into {where}, from {recording.transcripts} transcripts", err=True)
    with ReplayServer(recording) as server, environment(variables(before, server)):
        live = sys.stderr.isatty() and ctx.find_root().color is not False
        with observer(live=live) as shown:
            try:
                runner.run_search(again(before), where, workers=workers, observer=shown)
            except runner.Interrupted:
                click.echo("Stopped; everything finished is kept. The same command goes on.", err=True)
                ctx.exit(130)
    after = read_state(where)
    found = compare(before, after)
    if output == "json":
        echo_document(json_text(verdict_document(found, before, after, server)))
    else:
        click.echo("\n".join(clean(line) for line in verdict_lines(found, before, after, server)))
    if not found.same:
        ended = after.search.status
        raise ReplayDiffers(
            f"the replay did not reach the same archive; it ended {ended.phase.value}: {ended.message or 'no message'}"
        )
