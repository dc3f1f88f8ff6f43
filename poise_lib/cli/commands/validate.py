"""``poise validate``: everything that can be said of manifests without running them."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("files", type=click.Path(path_type=Path), nargs=-1, required=True)
def validate(files: tuple[Path, ...]) -> None:
    """Check manifests: fields, types, ranges, cross-field rules, and that what they name exists.

    On stderr: how a search's directive is read, what a suite of its own measures, and what this machine lacks for a language
    model; none of it changes the exit code.

    \b
    poise validate examples/search.yaml
    poise validate *.yaml && echo all good
    """
    from poise_lib.archive.objective import sentences
    from poise_lib.cli import own_suite
    from poise_lib.cli.checks import load_checked
    from poise_lib.cli.surroundings import warnings
    from poise_lib.errors import InvalidInputError
    from poise_lib.plain import clean
    from poise_lib.resources import Search

    problems: list[str] = []
    for file in files:
        try:
            for resource in load_checked(file):
                click.echo(f"{file}: {resource.kind} {resource.metadata.name} is valid")
                for sentence in sentences(resource, {}) if isinstance(resource, Search) else ():
                    click.echo(clean(f"{file}: {sentence}"), err=True)
                if isinstance(resource, Search) and (suite := own_suite.told(resource)):
                    notes = (f"Contamination: {note}" for note in own_suite.contamination(resource))
                    for line in (f"Suite {suite}", *notes):
                        click.echo(clean(f"{file}: {line}"), err=True)
                for warning in warnings(resource, file) if isinstance(resource, Search) else ():
                    click.echo(clean(f"{file}: warning: {warning}"), err=True)
        except InvalidInputError as error:
            problems.append(str(error))
    if problems:
        raise InvalidInputError("\n".join(problems))
