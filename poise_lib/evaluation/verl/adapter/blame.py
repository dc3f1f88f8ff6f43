"""What a candidate raises becomes an error that names function, step and line: it has to cross processes as one line."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from poise_lib.errors import CandidateError

_FILE: Final = "candidate.py"
"""The name under which :mod:`poise_lib.algorithms.loading` compiles a candidate."""


@contextmanager
def blamed(what: str, step: int) -> Iterator[None]:
    """Run a function of the candidate's.

    Raises:
        CandidateError: it raised, whatever it was.
    """
    try:
        yield
    except CandidateError:
        raise
    except Exception as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == _FILE]
        where = f" (line {lines[-1]})" if lines else ""
        raise CandidateError(f"step {step}: {what} raised {type(error).__name__}: {error}{where}") from error
