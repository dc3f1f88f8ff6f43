"""``poise algorithms``: the zoo."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from poise_lib.algorithms.registry import ZooEntry


@click.command()
@click.argument("name", required=False)
@click.option("--source", is_flag=True, help="Print the module itself: a template for a candidate of your own.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def algorithms(name: str | None, source: bool, output: str) -> None:
    """List the published algorithms that a search can start from, or show one.

    \b
    poise algorithms
    poise algorithms vm-av
    poise algorithms grpo --source > mine.py
    """
    from poise_lib.algorithms.registry import zoo, zoo_source
    from poise_lib.cli.text import echo_document
    from poise_lib.errors import InvalidInputError

    if name is None:
        if source:
            raise InvalidInputError("--source needs a name: poise algorithms grpo --source")
        if output == "json":
            echo_document(_json([*zoo().values()]))
        else:
            click.echo(_list([*zoo().values()]))
        return
    text = zoo_source(name)  # says which names there are
    if source:
        echo_document(text, nl=False)
    elif output == "json":
        echo_document(_json([zoo()[name]]))
    else:
        click.echo("\n".join(_show(zoo()[name])))


def _list(entries: list[ZooEntry]) -> str:
    from poise_lib.cli.tables import rows

    table = [["NAME", "TITLE", "MECHANISMS", "SOURCE"]]
    for entry in entries:
        mechanisms = ", ".join(mechanism.name for mechanism in entry.mechanisms)
        table.append([entry.name, entry.title, mechanisms, entry.source.partition(";")[0]])
    return rows(table, [False] * 4)


def _show(entry: ZooEntry) -> list[str]:
    from poise_lib.cli.tables import rows

    lines = [click.style(f"{entry.name}  {entry.title}", bold=True), *textwrap.wrap(entry.summary, 100)]
    lines += ["", f"  {'Source:':<13} {entry.source}", f"  {'Aggregation:':<13} {entry.aggregation}"]
    lines += [f"  {'Needs:':<13} {', '.join(entry.needs) or 'nothing extra'}", "", click.style("Mechanisms", bold=True)]
    for mechanism in entry.mechanisms:
        lines.append(f"  {mechanism.name} ({mechanism.family.value}): {mechanism.claim}")
        lines.append(f"    off: {mechanism.hyperparameter} = {mechanism.off:g}")
    table = [["NAME", "DEFAULT", "RANGE", "MEANING"]]
    for name, hyper in entry.hyperparameters.items():
        table.append([name, f"{hyper.default:g}", f"{hyper.low:g} to {hyper.high:g}", hyper.description])
    lines += ["", click.style("Hyperparameters", bold=True)]
    lines += ["  " + line for line in rows(table, [False, True, False, False]).splitlines()]
    return [
        *lines,
        "",
        f"poise algorithms {entry.name} --source prints the module, poise train {entry.name} trains it.",
    ]


def _json(entries: list[ZooEntry]) -> str:
    import json

    return json.dumps(
        [
            {
                "name": entry.name, "title": entry.title, "source": entry.source, "summary": entry.summary,
                "aggregation": entry.aggregation, "needs": list(entry.needs),
                "hyperparameters": {
                    name: {"default": hyper.default, "low": hyper.low, "high": hyper.high, "description": hyper.description}
                    for name, hyper in entry.hyperparameters.items()
                },
                "mechanisms": [
                    {"name": item.name, "family": item.family.value, "claim": item.claim,
                     "hyperparameter": item.hyperparameter, "off": item.off}
                    for item in entry.mechanisms
                ],
            }
            for entry in entries
        ],
        indent=2,
        ensure_ascii=False,
    )  # fmt: skip
