"""``poise tree``: the lineage as text, SVG, Mermaid or JSON."""

from __future__ import annotations

from pathlib import Path

import click

from poise_lib.cli.text import columns, echo_document, speaks_unicode


@click.command()
@click.argument("state", type=click.Path(path_type=Path), required=False)
@click.option(
    "-o", "--output", type=click.Choice(["text", "svg", "mermaid", "json"]), default="text", show_default=True
)
@click.option(
    "--file", "target", type=click.Path(path_type=Path, dir_okay=False), help="Write there instead of printing."
)
@click.option("--depth", type=click.IntRange(min=0), help="Draw this many generations.")
@click.option("--ascii", "plain", is_flag=True, help="Draw with ASCII signs only.")
def tree(state: Path | None, output: str, target: Path | None, depth: int | None, plain: bool) -> None:
    """Draw the lineage of the search in STATE.

    Each candidate hangs under the parent that it varies; the columns are its utility and what it gained over that
    parent. STATE defaults to the only *.poise directory here.

    \b
    poise tree quickstart.poise
    poise tree quickstart.poise -o svg --file lineage.svg
    poise tree quickstart.poise -o json | jq '.. | objects | select(.best?)'
    """
    from poise_lib.cli.lineage import build_forest
    from poise_lib.cli.state import read_state

    snapshot = read_state(state)
    roots = build_forest(snapshot.search, snapshot.candidates)
    if output == "json":
        from poise_lib.plain import json_text

        text = json_text([root.to_dict() for root in roots])
    elif output == "svg":
        from poise_lib.cli.tree_svg import tree_svg

        text = tree_svg(roots, snapshot.search.metadata.name)
    elif output == "mermaid":
        from poise_lib.cli.tree_mermaid import tree_mermaid

        text = tree_mermaid(roots)
    else:
        text = draw(roots, depth, plain)
        if target is None:
            click.echo(text)
            return
    write_output(text, target)


def draw(roots: object, depth: int | None = None, plain: bool = False) -> str:
    """The tree for this terminal, with its legend."""
    from poise_lib.cli.tree_text import ASCII, UNICODE, legend, tree_lines

    room = min(columns(110), 160)
    glyphs = ASCII if plain or not speaks_unicode() else UNICODE
    lines = tree_lines(roots, columns=room, glyphs=glyphs, max_depth=depth)  # type: ignore[arg-type]
    return "\n".join([*lines, *legend(glyphs, room)])


def write_output(text: str, target: Path | None) -> None:
    """Print a document, or write it to a file.

    Raises:
        InvalidInputError: the file cannot be written.
    """
    if target is None:
        echo_document(text)
        return
    from poise_lib.errors import InvalidInputError

    try:
        target.write_text(click.unstyle(text) + "\n", encoding="utf-8")
    except OSError as error:
        raise InvalidInputError(f"{target}: cannot be written: {error.strerror}") from None
