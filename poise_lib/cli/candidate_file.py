"""The algorithm that a command works on: a file, or a name of the zoo."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from poise_lib.errors import InvalidInputError

MAX_CHARACTERS = 24_000
"""The bound of a Candidate's source in the API."""


@dataclass(frozen=True)
class Chosen:
    """A candidate's source and what to call it."""

    name: str
    source: str


def choose(argument: str) -> Chosen:
    """The module in the file ``argument``, else the zoo algorithm of that name.

    Raises:
        InvalidInputError: there is neither, or the file cannot be a candidate.
    """
    from poise_lib.algorithms.registry import NAMES, zoo_source
    from poise_lib.resources.loading import read_text

    path = Path(argument)
    if argument.endswith(".py") or path.is_file():
        source = read_text(path)
        if len(source) > MAX_CHARACTERS:
            raise InvalidInputError(
                f"{path}: has {len(source):,} characters; a candidate has at most {MAX_CHARACTERS:,}"
            )
        return Chosen(path.stem, source)
    if argument in NAMES:
        return Chosen(argument, zoo_source(argument))
    try:
        zoo_source(argument)
    except InvalidInputError as error:
        raise InvalidInputError(f"{argument!r} is no file, and {error}") from None
    raise AssertionError(argument)
