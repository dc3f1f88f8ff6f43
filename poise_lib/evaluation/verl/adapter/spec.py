"""What every process of a VeRL run must know of the candidate.

The trainer's process reads it from a file, whose path an environment variable carries; the workers get it by value
with their loss function, so that no file has to be on their machines.  It holds text and numbers: the module is
executed where it is used, by :mod:`poise_lib.algorithms.loading`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from poise_lib.algorithms.contract import Algorithm
from poise_lib.algorithms.loading import algorithm_from_source
from poise_lib.errors import CandidateError, EngineError

SPEC_VARIABLE: Final = "POISE_VERL_CANDIDATE"
"""Names the file in the processes that need it."""


class CandidateSpec(BaseModel):
    """A candidate as it travels."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = "candidate"
    source: str
    hyper: dict[str, float] = {}
    """Overrides of the candidate's hyperparameters."""

    def write(self, path: Path) -> None:
        """Write the file that :data:`SPEC_VARIABLE` names."""
        path.write_text(self.model_dump_json(), encoding="utf-8")


def read_spec(environment: Mapping[str, str] | None = None) -> CandidateSpec:
    """The spec of this run.

    Raises:
        EngineError: the variable is not set, or what it names is not a spec.
    """
    where = (os.environ if environment is None else environment).get(SPEC_VARIABLE)
    if not where:
        raise EngineError(f"{SPEC_VARIABLE} is not set; it names the file with the candidate of this run")
    try:
        return CandidateSpec.model_validate_json(Path(where).read_text(encoding="utf-8"))
    except (OSError, ValidationError, UnicodeDecodeError) as error:
        raise EngineError(f"{SPEC_VARIABLE}={where}: no candidate can be read from it: {error}") from error


@lru_cache(maxsize=4)
def _loaded(name: str, source: str) -> Algorithm:
    return algorithm_from_source(source, name)


def load(spec: CandidateSpec) -> tuple[Algorithm, dict[str, float]]:
    """The algorithm and a value for each of its hyperparameters; executed once a process.

    Raises:
        CandidateError: the source does not load, or an override names no hyperparameter.
    """
    algorithm = _loaded(spec.name, spec.source)
    try:
        return algorithm, algorithm.hyper(spec.hyper)
    except KeyError as error:
        raise CandidateError(str(error.args[0])) from error
