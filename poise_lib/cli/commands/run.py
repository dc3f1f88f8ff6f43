"""``poise run``: a search on this machine, from the start or from where it stands."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--state", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
              help="State directory; by default NAME.poise, after the search's name.")  # fmt: skip
@click.option("--workers", type=click.IntRange(min=1), help="Tasks at the same time; by default one a core.")
@click.option("--seed", type=click.IntRange(min=0, max=2**31 - 1), help="Use this seed instead of spec.seed.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True,
              help="Form of the result on stdout; progress goes to stderr.")  # fmt: skip
@click.pass_context
def run(ctx: click.Context, file: Path, state: Path | None, workers: int | None, seed: int | None, output: str) -> None:
    """Run the search in FILE; run it again to go on after an interruption.

    Ctrl-C stops cleanly and keeps everything that was finished; a second one stops at once.

    \b
    poise run examples/quickstart.yaml
    poise run examples/search.yaml --workers 2 --state /data/search.poise
    poise run examples/quickstart.yaml --output json | jq .best.confirmation.verdict

    A search with a language model (spec.proposer.type LLM) takes its key from OPENAI_API_KEY and the address from
    spec.proposer.llm.baseURL or OPENAI_BASE_URL. A model that cannot be used ends with exit code 7 and says why.
    """
    from poise_lib.cli.checks import load_search, require_engine
    from poise_lib.cli.commands.tree import draw
    from poise_lib.cli.lineage import build_forest
    from poise_lib.cli.progress import observer
    from poise_lib.cli.report import manifest_name, model_trouble, report_document, report_lines
    from poise_lib.cli.state import default_state, read_state
    from poise_lib.cli.surroundings import (
        environment,
        keep_literature,
        model_of,
        require_model_client,
        warnings,
    )
    from poise_lib.cli.text import echo_document
    from poise_lib.errors import EngineError
    from poise_lib.llm.config import ENV_LITERATURE
    from poise_lib.local.runner import Interrupted, run_search
    from poise_lib.plain import clean
    from poise_lib.resources.search import SearchPhase

    search = load_search(file)
    require_engine()
    if model_of(search) is not None:
        require_model_client()
    if seed is not None:
        search = search.model_copy(update={"spec": search.spec.model_copy(update={"seed": seed})})
    where = state or default_state(search.metadata.name)
    click.echo(f"Search {search.metadata.name}, state in {where}", err=True)
    literature = keep_literature(search, file, where)
    for warning in warnings(search, file):
        click.echo(clean(f"Warning: {warning}"), err=True)
    given = {ENV_LITERATURE: str(literature)} if literature is not None else {}
    with environment(given), observer(live=_is_terminal(ctx)) as shown:
        try:
            run_search(search, where, workers=workers, observer=shown)
        except Interrupted:
            interrupted = True
        else:
            interrupted = False
    if interrupted:
        click.echo("Stopped; everything finished is kept. The same command goes on.", err=True)
        ctx.exit(130)
    snapshot = read_state(where)
    if output == "json":
        from poise_lib.plain import json_text

        echo_document(json_text(report_document(snapshot)))
    elif (trouble := model_trouble(snapshot.search)) is not None and not snapshot.candidates:
        raise trouble  # nothing was begun: there is nothing to report but this
    else:
        click.echo(draw(build_forest(snapshot.search, snapshot.candidates)))
        click.echo()
        click.echo("\n".join(report_lines(snapshot, manifest_name(file))))
    if (trouble := model_trouble(snapshot.search)) is not None:
        raise trouble
    if snapshot.search.status.phase is SearchPhase.FAILED:
        raise EngineError(f"search {search.metadata.name} failed: {snapshot.search.status.message}")


def _is_terminal(ctx: click.Context) -> bool:
    return sys.stderr.isatty() and ctx.find_root().color is not False
