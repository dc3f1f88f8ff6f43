"""Find a state directory and read what it holds."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from poise_lib.errors import InvalidInputError, StateError

if TYPE_CHECKING:
    from poise_lib.local.state import StateDir
    from poise_lib.resources import Candidate, Evaluation, Search

SUFFIX = ".poise"


@dataclass(frozen=True)
class Snapshot:
    """All objects of a state directory, read once."""

    path: Path
    search: Search
    candidates: tuple[Candidate, ...]
    """In order of round and slot."""
    evaluations: tuple[Evaluation, ...]
    """By name."""


def default_state(search_name: str) -> Path:
    """Where ``poise run`` keeps a search when it is not told: NAME.poise in the working directory."""
    return Path(f"{search_name}{SUFFIX}")


def state_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """The ``--state DIR`` option of commands that read a search."""
    return click.option(
        "--state", "state", type=click.Path(path_type=Path), envvar="POISE_STATE", metavar="DIR",
        help="State directory; by default the only *.poise here.",
    )(function)  # fmt: skip


def find_state(given: Path | None) -> Path:
    """The state directory that is meant.

    Raises:
        InvalidInputError: it does not exist, is no state directory, or none was given and the folder does not decide.
        StateError: it cannot be read.
    """
    if given is None and "POISE_STATE" in os.environ:
        given = Path(os.environ["POISE_STATE"])
    if given is not None:
        try:
            there, search = given.exists(), (given / "search.yaml").is_file()
        except OSError as error:
            raise StateError(f"{given}: cannot be read: {error.strerror}; check its owner and mode") from None
        if not there:
            raise InvalidInputError(f"{given}: there is no such state directory; `poise run FILE` makes one")
        if not search:
            raise InvalidInputError(
                f"{given}: is no state directory (it has no search.yaml); `poise run FILE` makes one"
            )
        return given
    here = sorted(path.parent for path in Path().glob(f"*{SUFFIX}/search.yaml"))
    if len(here) == 1:
        return here[0]
    if not here:
        raise InvalidInputError(
            f"no state directory given, and no *{SUFFIX} here; name one, or start with `poise run FILE`"
        )
    raise InvalidInputError(f"several state directories here ({', '.join(map(str, here))}); name the one that you mean")


def read_state(given: Path | None) -> Snapshot:
    """Everything that a state directory holds.

    Raises:
        InvalidInputError: see :func:`find_state`.
        StateError: a manifest in it is damaged.
    """
    path = find_state(given)
    state = open_state(path)
    search = state.search()
    assert search is not None  # find_state saw its file
    candidates = sorted(state.candidates(), key=lambda item: (item.spec.round, item.spec.slot, item.metadata.name))
    return Snapshot(path, search, tuple(candidates), tuple(state.evaluations()))


def open_state(path: Path) -> StateDir:
    """The directory's reader and writer."""
    from poise_lib.local.state import StateDir

    return StateDir(path)
