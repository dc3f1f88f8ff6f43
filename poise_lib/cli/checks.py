"""Checks that need more than the manifest itself: algorithms that exist, sources that parse.

The models in :mod:`poise_lib.resources` cannot know the zoo, which lies above them.
"""

from __future__ import annotations

import ast
from importlib.util import find_spec
from pathlib import Path

from poise_lib.errors import EngineError, InvalidInputError
from poise_lib.resources import Candidate, Search
from poise_lib.resources.loading import Resource, load_documents


def require_engine() -> None:
    """See that what tasks run on is installed: a slim installation (the controller's) has none of it.

    Raises:
        EngineError: it is not; the message says what to install.
    """
    missing = [name for name in ("torch", "safetensors", "sklearn") if find_spec(name) is None]
    if missing:
        raise EngineError(
            f"{', '.join(missing)}: not installed; pip install 'poise-operator[local]' brings what tasks run on"
        )


def load_checked(file: Path) -> list[Resource]:
    """The documents of a file, after every check that needs no running.

    Raises:
        InvalidInputError: something is wrong; every complaint names its field.
    """
    resources = load_documents(file)
    problems = [f"{file}: {problem}" for resource in resources for problem in complaints(resource)]
    if problems:
        raise InvalidInputError("\n".join(problems))
    return resources


def load_search(file: Path) -> Search:
    """The one Search of a file, checked.

    Raises:
        InvalidInputError: there is none, more than one, or it is wrong.
    """
    resources = load_checked(file)
    searches = [item for item in resources if isinstance(item, Search)]
    if len(searches) != 1 or len(resources) != 1:
        held = ", ".join(f"{item.kind} {item.metadata.name}" for item in resources)
        raise InvalidInputError(f"{file}: holds {held}; `poise run` takes exactly one Search (see also `poise import`)")
    return searches[0]


def complaints(resource: Resource) -> list[str]:
    """What is wrong beyond the model's own rules, a sentence each that names the field."""
    if isinstance(resource, Search):
        baseline = resource.spec.baseline
        return _implementation("spec.baseline", baseline.algorithm, baseline.source) + _price(resource)
    if isinstance(resource, Candidate):
        return _implementation("spec", resource.spec.algorithm, resource.spec.source)
    return []


def _price(search: Search) -> list[str]:
    """A cap in dollars without a price."""
    settings = search.spec.proposer.llm
    if settings is None:
        return []
    from poise_lib.llm.prices import price_problem

    problem = price_problem(settings, search.spec.budget.llm_cost_usd)
    return [] if problem is None else [f"spec.budget.llmCostUSD: {problem}"]


def _implementation(field: str, algorithm: str | None, source: str | None) -> list[str]:
    from poise_lib.algorithms.registry import NAMES, zoo_source

    if algorithm is not None and algorithm not in NAMES:
        try:
            zoo_source(algorithm)
        except InvalidInputError as error:
            return [f"{field}.algorithm: {error} (list: poise algorithms)"]
    if source is not None:
        try:
            ast.parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            line = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
            said = error.msg if isinstance(error, SyntaxError) else str(error)
            return [f"{field}.source{line} of the module: not Python: {said}"]
    return []
