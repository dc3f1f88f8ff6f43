"""``poise version``."""

from __future__ import annotations

import platform

import click

from poise_lib import __version__
from poise_lib.names import API_VERSION


@click.command()
def version() -> None:
    """Print the version of poise, of its API and of Python."""
    click.echo(f"poise {__version__} (API {API_VERSION}, Python {platform.python_version()})")
