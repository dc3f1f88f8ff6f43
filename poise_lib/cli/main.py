"""Entry point of ``poise``: a table of commands, errors turned into messages and exit codes.

The table names module, function and summary of each command, so that ``poise --help`` and shell completion import none.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import io
import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import click

from poise_lib.errors import PoiseError

EXIT_INTERRUPTED: Final = 130
EXIT_UNEXPECTED: Final = 70
_ENVIRONMENT: Final = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM, errno.EMFILE}
)
"""Errors of the machine or its user's rights, not of poise."""

EPILOG: Final = """\b
Start here:
  poise run examples/quickstart.yaml      a whole search in a few minutes
  poise tree quickstart.poise             what descended from what, and what it gained
  poise describe 003-1                    one candidate: idea, code, scores, reflection
  poise algorithms grpo --source          what a candidate looks like

\b
Exit codes:
  0 done   1 other error   2 bad manifest, option or file   3 state directory damaged, busy or not writable
  4 candidate breaks the contract   5 isolation failed   6 training, scoring or search failed
  7 the language model cannot be used   8 a replay reached another archive
  70 fault in poise itself   130 interrupted (the same command goes on)

\b
NO_COLOR=1 turns colour off.  POISE_STATE names the state directory where none is given.
"""


@dataclass(frozen=True)
class _Entry:
    module: str
    function: str
    summary: str
    section: str


_RUN, _LOOK, _ONE, _ELSE = "Run a search", "Look at a search", "Work on one algorithm", "Everything else"

COMMANDS: Final[dict[str, _Entry]] = {
    "run": _Entry("run", "run", "Run a search, or go on with one.", _RUN),
    "validate": _Entry("validate", "validate", "Check manifests without running anything.", _RUN),
    "replay": _Entry("replay", "replay", "Run a search again from its transcripts.", _RUN),
    "propose": _Entry("propose", "propose", "Show or ask for the next proposals of a search.", _RUN),
    "tree": _Entry("tree", "tree", "Draw the lineage of a search.", _LOOK),
    "get": _Entry("get", "get", "List searches, candidates or evaluations.", _LOOK),
    "describe": _Entry("describe", "describe", "Show all that is known of one object.", _LOOK),
    "plot": _Entry("plot", "plot", "Plot the best so far, by evaluation and by depth.", _LOOK),
    "algorithms": _Entry("algorithms", "algorithms", "List the published algorithms, or show one.", _ONE),
    "verify": _Entry("verify", "verify", "Check a candidate module against the contract.", _ONE),
    "train": _Entry("train", "train", "Train and score one algorithm.", _ONE),
    "score": _Entry("score", "score", "Score a language model's checkpoint.", _ONE),
    "verl-base": _Entry("verl_base", "verl_base", "Make a tiny language model to try VeRL with.", _ONE),
    "export": _Entry("transfer", "export", "Write a search as one file of manifests.", _ELSE),
    "import": _Entry("transfer", "import_", "Make a search from such a file.", _ELSE),
    "artifacts": _Entry("artifacts", "artifacts", "Remove artifacts that no search needs.", _ELSE),
    "crds": _Entry("crds", "crds", "Write the Kubernetes CRDs or the reference.", _ELSE),
    "completion": _Entry("completion", "completion", "Print the completion script of a shell.", _ELSE),
    "version": _Entry("version", "version", "Print the version.", _ELSE),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called; lists them by section."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's module."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module = importlib.import_module(f"poise_lib.cli.commands.{entry.module}")
        command: click.Command = getattr(module, entry.function)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with the closest command in the complaint."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib

            close = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            ctx.fail(f"No such command {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table by section, without importing a command."""
        for section in dict.fromkeys(entry.section for entry in COMMANDS.values()):
            with formatter.section(section):
                formatter.write_dl(
                    [(name, entry.summary) for name, entry in COMMANDS.items() if entry.section == section]
                )

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        """Commands and their summaries, from the table."""
        from click.shell_completion import CompletionItem

        items = [
            CompletionItem(name, help=entry.summary) for name, entry in COMMANDS.items() if name.startswith(incomplete)
        ]
        return items if not incomplete.startswith("-") else click.Command.shell_complete(self, ctx, incomplete)


@click.group(
    cls=LazyGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.option("--debug", is_flag=True, help="Print the traceback of an unexpected error instead of saving it.")
@click.pass_context
def cli(ctx: click.Context, debug: bool) -> None:
    """Discover policy-optimisation algorithms for language models: propose, verify, train, score, reflect, repeat."""
    ctx.obj = {"debug": debug}
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        ctx.color = False


def main(arguments: Sequence[str] | None = None) -> None:
    """Run ``poise`` and leave the process with its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a locale without the letter: a question mark, no failure
    sys.exit(invoke(given))


def invoke(arguments: list[str]) -> int:
    """Run one command; returns the exit code."""
    try:
        result = cli.main(args=arguments, prog_name="poise", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        return EXIT_INTERRUPTED
    except PoiseError as error:
        _complain(str(error))
        return error.exit_code
    except BrokenPipeError:
        # The reader (head, less) has gone; say nothing, and keep Python from complaining at exit.
        _drop_output()
        return 0
    except OSError as error:
        if error.errno not in _ENVIRONMENT or "--debug" in arguments:
            return _unexpected(error, "--debug" in arguments)
        if error.filename is None:  # standard output; Python would fail again on what is left in its buffer
            _drop_output()
        where = error.filename if error.filename is not None else "the output"
        _complain(f"{where}: cannot be read or written: {error.strerror}")
        return PoiseError.exit_code
    except Exception as error:
        return _unexpected(error, "--debug" in arguments)


def _drop_output() -> None:
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _complain(message: str) -> None:
    from poise_lib.plain import clean

    for line in clean(message, lines=True).splitlines():
        click.echo(f"{click.style('Error:', fg='red', bold=True)} {line}", err=True)


def _unexpected(error: Exception, debug: bool) -> int:
    from poise_lib.plain import clean

    report = traceback.format_exc()
    if debug:
        click.echo(clean(report, lines=True), err=True)
        return EXIT_UNEXPECTED
    _complain(f"{type(error).__name__}: {error}")
    try:
        with tempfile.NamedTemporaryFile("w", prefix="poise-", suffix=".log", delete=False, encoding="utf-8") as file:
            file.write(report)
        click.echo(f"This is a fault in poise; its traceback is in {file.name}. Please report it.", err=True)
    except OSError:
        click.echo("This is a fault in poise; run it again with --debug for the traceback.", err=True)
    return EXIT_UNEXPECTED


if __name__ == "__main__":
    main()
