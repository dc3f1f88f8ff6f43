"""Turn a candidate module into an :class:`~poise_lib.algorithms.contract.Algorithm`.

Only for code that may run in this process: the zoo, or any source inside the sandbox.  Untrusted source must never be
loaded by a parent process; see :mod:`poise_lib.sandbox`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import ModuleType
from typing import Any, Final

from poise_lib.algorithms.contract import AGGREGATIONS, NEEDS_ALLOWED, Algorithm, Hyperparameter, Mechanism
from poise_lib.errors import CandidateError

REQUIRED: Final = ("TITLE", "AGGREGATION", "HYPERPARAMETERS", "MECHANISMS", "advantages", "policy_loss")
FUNCTIONS: Final = ("advantages", "policy_loss", "rewards", "schedule")


def algorithm_from_module(module: ModuleType, name: str) -> Algorithm:
    """Read the declarations of a loaded candidate module.

    Raises:
        CandidateError: something is missing or of the wrong type; the message names it and says what it should be.
    """
    return algorithm_from_namespace(vars(module), name)


def algorithm_from_source(source: str, name: str, filename: str = "candidate.py") -> Algorithm:
    """Execute ``source`` in this process and read its declarations.

    Raises:
        CandidateError: a syntax error, an exception while it is executed, or a broken declaration.
    """
    namespace: dict[str, Any] = {"__name__": "candidate", "__file__": filename}
    try:
        exec(compile(source, filename, "exec"), namespace)  # noqa: S102 - the caller vouches for the sandbox
    except SyntaxError as error:
        raise CandidateError(f"{filename}:{error.lineno}: syntax error: {error.msg}") from error
    except Exception as error:
        raise CandidateError(f"{filename}: raised {type(error).__name__} while it was imported: {error}") from error
    return algorithm_from_namespace(namespace, name)


def algorithm_from_namespace(namespace: Mapping[str, Any], name: str) -> Algorithm:
    """Check and collect a candidate's declarations; see :func:`algorithm_from_module`."""
    missing = [item for item in REQUIRED if item not in namespace]
    if missing:
        raise CandidateError(
            f"candidate {name}: missing {', '.join(missing)}; the contract requires {', '.join(REQUIRED)}"
        )
    for text in ("TITLE", "SOURCE"):
        if not isinstance(namespace.get(text, ""), str):
            raise CandidateError(f"candidate {name}: {text} must be a string")
    if namespace["AGGREGATION"] not in AGGREGATIONS:
        raise CandidateError(f"candidate {name}: AGGREGATION must be one of {', '.join(AGGREGATIONS)}")
    for function in FUNCTIONS:
        value = namespace.get(function)
        if (value is not None or function in REQUIRED) and not callable(value):
            raise CandidateError(f"candidate {name}: {function} must be a function")
    hyperparameters = _hyperparameters(namespace["HYPERPARAMETERS"], name)
    return Algorithm(
        name=name,
        title=namespace["TITLE"],
        source=namespace.get("SOURCE", ""),
        aggregation=namespace["AGGREGATION"],
        needs=_needs(namespace.get("NEEDS", ()), name),
        hyperparameters=hyperparameters,
        mechanisms=_mechanisms(namespace["MECHANISMS"], hyperparameters, name),
        rewards=namespace.get("rewards"),
        advantages=namespace["advantages"],
        policy_loss=namespace["policy_loss"],
        schedule=namespace.get("schedule"),
    )


def _hyperparameters(declared: object, name: str) -> dict[str, Hyperparameter]:
    """HYPERPARAMETERS, each finite and with its default in its range."""
    if not isinstance(declared, dict) or not all(
        isinstance(key, str) and isinstance(value, Hyperparameter) for key, value in declared.items()
    ):
        raise CandidateError(f"candidate {name}: HYPERPARAMETERS must be a dict of str to Hyperparameter")
    for key, value in declared.items():
        where = f"candidate {name}: HYPERPARAMETERS[{key!r}]"
        numbers = (value.default, value.low, value.high)
        if not all(isinstance(number, int | float) and math.isfinite(number) for number in numbers):
            raise CandidateError(f"{where}: default, low and high must be finite numbers, got {numbers}")
        if not value.low <= value.default <= value.high:
            raise CandidateError(f"{where}: default {value.default} is outside [{value.low}, {value.high}]")
    return dict(declared)


def _mechanisms(declared: object, hyperparameters: Mapping[str, Hyperparameter], name: str) -> tuple[Mechanism, ...]:
    """MECHANISMS, each switched by a declared hyperparameter to a value in its range, and with a name of its own."""
    if not isinstance(declared, tuple | list) or not all(isinstance(item, Mechanism) for item in declared):
        raise CandidateError(f"candidate {name}: MECHANISMS must be a tuple of Mechanism objects")
    seen: set[str] = set()
    for mechanism in declared:
        where = f"candidate {name}: mechanism {mechanism.name!r}"
        if mechanism.name in seen:
            raise CandidateError(f"{where} is declared twice in MECHANISMS")
        seen.add(mechanism.name)
        switch = hyperparameters.get(mechanism.hyperparameter)
        if switch is None:
            raise CandidateError(
                f"{where} is switched by {mechanism.hyperparameter!r}, which HYPERPARAMETERS does not declare"
            )
        if not switch.low <= mechanism.off <= switch.high:
            raise CandidateError(
                f"{where}: off = {mechanism.off} is outside the range of {mechanism.hyperparameter!r}, "
                f"[{switch.low}, {switch.high}]"
            )
    return tuple(declared)


def _needs(declared: object, name: str) -> tuple[str, ...]:
    """NEEDS, of the values that an engine knows."""
    if not isinstance(declared, tuple | list):
        raise CandidateError(f"candidate {name}: NEEDS must be a tuple of strings, got {declared!r}")
    if unknown := [item for item in declared if item not in NEEDS_ALLOWED]:
        raise CandidateError(f"candidate {name}: NEEDS {unknown} unknown; allowed: {', '.join(NEEDS_ALLOWED)}")
    return tuple(declared)
