"""``poise validate``: everything that can be said of manifests without running them."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("files", type=click.Path(path_type=Path), nargs=-1, required=True)
def validate(files: tuple[Path, ...]) -> None:
    """Check manifests: fields, types, ranges, cross-field rules, and that what they name exists.

    \b
    poise validate examples/search.yaml
    poise validate *.yaml && echo all good
    """
    from poise_lib.cli.checks import load_checked
    from poise_lib.errors import InvalidInputError

    problems: list[str] = []
    for file in files:
        try:
            for resource in load_checked(file):
                click.echo(f"{file}: {resource.kind} {resource.metadata.name} is valid")
        except InvalidInputError as error:
            problems.append(str(error))
    if problems:
        raise InvalidInputError("\n".join(problems))
