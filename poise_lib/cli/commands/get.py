"""``poise get``: lists of objects, like ``kubectl get``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from poise_lib.cli.text import echo_document

if TYPE_CHECKING:
    from poise_lib.cli.state import Snapshot
    from poise_lib.resources.loading import Resource

_KINDS = {
    "search": "searches", "searches": "searches", "psearch": "searches",
    "candidate": "candidates", "candidates": "candidates", "pcand": "candidates",
    "evaluation": "evaluations", "evaluations": "evaluations", "peval": "evaluations",
}  # fmt: skip


@click.command()
@click.argument("kind", type=click.Choice(list(_KINDS)), metavar="searches|candidates|evaluations")
@click.argument("state", type=click.Path(path_type=Path), required=False)
@click.option(
    "-o", "--output", type=click.Choice(["table", "wide", "json", "yaml", "name"]), default="table", show_default=True
)
@click.option("--sort", type=click.Choice(["name", "utility"]), default="name", show_default=True,
              help="Order of candidates; utility puts the best first.")  # fmt: skip
@click.option("--phase", metavar="PHASE", help="Only objects in this phase, such as Archived.")
def get(kind: str, state: Path | None, output: str, sort: str, phase: str | None) -> None:
    """List the searches, candidates or evaluations in STATE.

    `searches` also takes a folder that holds several state directories. STATE defaults to the only *.poise here.

    \b
    poise get searches .
    poise get candidates quickstart.poise --sort utility
    poise get evaluations quickstart.poise -o json | jq '.items[].status.metrics'
    """
    plural = _KINDS[kind]
    resources = [
        item for item in _read(plural, state) if phase is None or item.status.phase.value.lower() == phase.lower()
    ]
    if plural == "candidates" and sort == "utility":
        resources = _by_utility(resources)
    text = render(resources, plural, output)
    if output in ("json", "yaml"):
        echo_document(text)
    else:
        click.echo(text)


def render(resources: Sequence[Resource], plural: str, output: str) -> str:
    """The list in one of the forms that ``--output`` names."""
    documents = [item.to_document() for item in resources]
    if output == "json":
        from poise_lib.names import API_VERSION
        from poise_lib.plain import json_text

        listing = {"apiVersion": API_VERSION, "kind": "List", "items": documents}
        return json_text(listing)
    if output == "yaml":
        from poise_lib.local.state import to_yaml

        return "---\n".join(to_yaml(document) for document in documents).rstrip()
    if output == "name":
        return "\n".join(f"{item.kind.lower()}.poise.dev/{item.metadata.name}" for item in resources)
    if not resources:
        return f"No {plural} found."
    from poise_lib.cli.tables import columns_for, table

    return table(resources, columns_for(type(resources[0])), wide=output == "wide")


def _read(plural: str, state: Path | None) -> list[Resource]:
    from poise_lib.cli.state import read_state

    if plural == "searches":
        return [snapshot.search for snapshot in _snapshots(state)]
    snapshot = read_state(state)
    return list(snapshot.candidates if plural == "candidates" else snapshot.evaluations)


def _snapshots(state: Path | None) -> list[Snapshot]:
    """One state directory, or all that lie in a folder."""
    from poise_lib.cli.state import read_state

    folder = state or Path()
    if not (folder / "search.yaml").is_file() and folder.is_dir():
        found = sorted(path.parent for path in folder.glob("*/search.yaml"))
        if found:
            return [read_state(path) for path in found]
    return [read_state(state)]


def _by_utility(resources: list[Resource]) -> list[Resource]:
    def order(item: Resource) -> tuple[bool, float, str]:
        utility: float | None = getattr(item.status, "utility", None)
        return utility is None, -(utility or 0.0), item.metadata.name

    return sorted(resources, key=order)
