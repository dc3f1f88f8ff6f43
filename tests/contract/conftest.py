"""The zoo, by name."""

from pathlib import Path

import pytest

import poise_lib.algorithms.zoo

_FOLDER = Path(poise_lib.algorithms.zoo.__file__).parent
_SOURCES = {
    path.stem: path.read_text(encoding="utf-8")
    for path in sorted(_FOLDER.glob("*.py"))
    if not path.stem.startswith("_")
}


@pytest.fixture(scope="session")
def zoo_sources() -> dict[str, str]:
    """The source of every algorithm of the zoo."""
    return _SOURCES


@pytest.fixture(params=sorted(_SOURCES))
def zoo_name(request) -> str:
    """Each name in turn."""
    return request.param
