"""The literature of a task: what POISE ships, and what a team has put into a file or a folder.

In a cluster a ConfigMap is mounted as a folder, one file a key; on one machine it is the manifest's file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from poise_lib.errors import InvalidInputError
from poise_lib.llm.config import ENV_LITERATURE
from poise_lib.prompts.literature import Literature, curated, load_literature


def literature(environment: Mapping[str, str]) -> Literature:
    """The papers that proposals may draw on; where both have one, the team's own words count.

    Args:
        environment: of the process.

    Raises:
        InvalidInputError: a file is not there, cannot be read, or breaks the form; the message names it.
    """
    place = environment.get(ENV_LITERATURE, "")
    found = curated()
    if not place:
        return found
    for path in _files(Path(place)):
        try:
            found = found.with_own(load_literature(path))
        except ValueError as error:  # too many papers together
            raise InvalidInputError(f"{path}: too many papers with those before it: {error}") from error
    return found


def _files(place: Path) -> list[Path]:
    """The file, or the folder's files by name; a mounted ConfigMap has hidden folders beside them."""
    try:
        if not place.is_dir():
            return [place]
        return sorted(path for path in place.iterdir() if not path.name.startswith(".") and path.is_file())
    except OSError as error:
        raise InvalidInputError(f"{place}: cannot be read: {error.strerror}") from error
