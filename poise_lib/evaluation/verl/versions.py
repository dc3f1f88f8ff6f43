"""Which VeRL is installed, and whether this one is among those that were tested."""

from __future__ import annotations

import re
from importlib import metadata
from typing import Final

from poise_lib.errors import EngineError

OLDEST: Final = (0, 9, 1)
BELOW: Final = (0, 10)
"""Releases that were tested; pyproject.toml says the same."""


def installed_version() -> str | None:
    """VeRL's version; None where it is not installed."""
    try:
        return metadata.version("verl")
    except metadata.PackageNotFoundError:
        return None


def version_problem(version: str | None) -> str | None:
    """Why a version of VeRL cannot be used, with the fix; None when it can."""
    tested = f"{'.'.join(map(str, OLDEST))} or newer, below {'.'.join(map(str, BELOW))}"
    fix = "pip install 'poise-operator[local,verl]', best into an environment of its own"
    if version is None:
        return f"VeRL is not installed: {fix} (tested: {tested})"
    numbers = tuple(int(part) for part in re.match(r"(\d+(?:\.\d+)*)?", version)[0].split(".") if part)  # type: ignore[index]
    if not numbers or not (OLDEST <= numbers < BELOW):
        return f"VeRL {version} is outside the tested range ({tested}): {fix}"
    return None


def require_verl() -> str:
    """VeRL's version.

    Raises:
        EngineError: it is not installed, or outside the tested range.
    """
    version = installed_version()
    if problem := version_problem(version):
        raise EngineError(problem)
    assert version is not None
    return version
