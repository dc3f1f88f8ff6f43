"""``poise verl-base``: a tiny model and its problems, so that a search with VeRL can be seen on a laptop."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("verl-base")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the weights.")
def verl_base(folder: Path, seed: int) -> None:
    """Make a tiny language model, its training problems and those of the suite sums-v1 in FOLDER.

    \b
    poise verl-base verl-tiny
    poise run examples/search-verl-tiny.yaml
    """
    from poise_lib.cli.checks import require_engine
    from poise_lib.errors import InvalidInputError
    from poise_lib.evaluation.verl.adapter.tiny import make_base

    require_engine()
    if folder.exists() and any(folder.iterdir()):
        raise InvalidInputError(f"{folder}: is there and not empty; give another folder, or remove it")
    try:
        made = make_base(folder, seed)
    except OSError as error:
        raise InvalidInputError(f"{folder}: cannot be written: {error.strerror}") from None
    click.echo(f"model: {made.model}\ntraining problems: {made.train}\nproblems of sums-v1: {made.problems}")
