"""``python -m tests.kube up|down|demo|images``: a cluster for hand use, kept until it is taken down."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import click

from tests.kube.assets import MissingError
from tests.kube.cluster import GUARD, ControlPlane, stop
from tests.kube.processes import Processes, StartError

STATE = Path(tempfile.gettempdir()) / "poise-kube"


def _state(function: click.decorators.FC) -> click.decorators.FC:
    option = click.option(
        "--state",
        type=click.Path(path_type=Path, file_okay=False),
        default=STATE,
        show_default=True,
        help="Folder that the cluster lives in.",
    )
    return option(function)


@click.group()
def main() -> None:
    """A Kubernetes of processes, from the binaries in KUBEBUILDER_ASSETS."""


@main.command()
@_state
@click.option("--node", is_flag=True, help="Also a node on which pods run (needs root).")
def up(state: Path, node: bool) -> None:
    """Start a cluster; prints how to use it."""
    if state.exists() and any(map(Processes(state).alive, Processes(state).names())):
        raise click.ClickException(f"there is a cluster in {state}; first: python -m tests.kube down --state {state}")
    try:
        plane = ControlPlane(state, controllers=True, reachable=node, guarded=False)
        plane.start()
        if node:
            from tests.kube.node import Node

            Node(plane).start()
    except (MissingError, StartError, OSError) as error:
        stop(state)
        raise click.ClickException(str(error)) from None
    click.echo(f"export KUBECONFIG={plane.kubeconfig}")


@main.command()
@_state
def down(state: Path) -> None:
    """Stop the cluster; its logs stay."""
    stop(state)


@main.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
def images(folder: Path) -> None:
    """Build the project's images as docker archives in a folder."""
    from tests.kube.images import BuildError
    from tests.kube.project_images import build_images

    folder.mkdir(parents=True, exist_ok=True)
    try:
        for archive in build_images(folder):
            click.echo(archive)
    except (MissingError, BuildError) as error:
        raise click.ClickException(str(error)) from None


@main.command()
@_state
def demo(state: Path) -> None:
    """Start a cluster, install the operator, run the quickstart search there, and leave it to you."""
    from tests.kube.demo import demo as show

    try:
        show(state)
    except (MissingError, StartError, OSError) as error:
        raise click.ClickException(str(error)) from None


@main.command(GUARD, hidden=True)
@click.argument("state", type=click.Path(path_type=Path))
@click.option("--remove", is_flag=True, help="Remove the folder, logs and all.")
def guard(state: Path, remove: bool) -> None:
    """Wait until the process at the other end of standard input is gone, then stop what it left."""
    sys.stdin.buffer.read()
    if any((state / "run").glob("*.json")):  # otherwise it has cleaned up by itself
        stop(state, remove=remove)


if __name__ == "__main__":
    main(prog_name="python -m tests.kube")
