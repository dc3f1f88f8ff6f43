"""``poise crds``: what a cluster needs to know of the kinds, generated from the models."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.option("--output", "folder", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
              help="Write a file for each kind there.")  # fmt: skip
@click.option("--docs", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="Write the API reference as Markdown there.")  # fmt: skip
@click.option("--values", type=click.Path(path_type=Path, dir_okay=False, exists=True), metavar="FILE",
              help="Write the schema of a pod's template into the chart's values.schema.json.")  # fmt: skip
def crds(folder: Path | None, docs: Path | None, values: Path | None) -> None:
    """Print the CustomResourceDefinitions, or write them and what else follows the models to files.

    \b
    poise crds | kubectl apply --server-side -f -
    poise crds --output crds --docs docs/api.md
    """
    from poise_lib.cli.commands.tree import write_output
    from poise_lib.cli.text import echo_document
    from poise_lib.errors import InvalidInputError
    from poise_lib.resources.crd import KINDS, crd_yaml

    if docs is not None:
        from poise_lib.resources.reference import reference

        write_output(reference().rstrip("\n"), docs)
        click.echo(f"wrote {docs}")
    if values is not None:
        from poise_lib.resources.chart_values import with_pod_template

        write_output(with_pod_template(values.read_text(encoding="utf-8")).rstrip("\n"), values)
        click.echo(f"wrote {values}")
    if folder is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidInputError(f"{folder}: cannot be made: {error.strerror}") from None
        for kind in KINDS:
            write_output(crd_yaml(kind).rstrip("\n"), folder / kind.file)
            click.echo(f"wrote {folder / kind.file}")
    if folder is None and docs is None and values is None:
        echo_document("---\n".join(crd_yaml(kind) for kind in KINDS), nl=False)
