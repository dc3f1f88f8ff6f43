"""``poise completion``: the script that teaches a shell to complete ``poise``."""

from __future__ import annotations

import click


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell.

    \b
    bash:  echo 'eval "$(poise completion bash)"' >> ~/.bashrc
    zsh:   echo 'eval "$(poise completion zsh)"' >> ~/.zshrc
    fish:  poise completion fish > ~/.config/fish/completions/poise.fish
    """
    from click.shell_completion import get_completion_class

    from poise_lib.cli.main import cli

    script = get_completion_class(shell)
    assert script is not None
    click.echo(script(cli, {}, "poise", "_POISE_COMPLETE").source())
