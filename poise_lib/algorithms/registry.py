"""The zoo by name: what each module declares, its text, and the loaded algorithm.

:func:`zoo` reads the declarations from the syntax trees of the modules.  It imports none of them, and so not torch
either: a listing takes milliseconds.  Only :func:`load` imports a module.
"""

from __future__ import annotations

import ast
import difflib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any, Final

from poise_lib.algorithms.contract import Algorithm, Family, Hyperparameter, Mechanism
from poise_lib.errors import InvalidInputError

_PACKAGE: Final = "poise_lib.algorithms.zoo"

NAMES: Final = (
    "grpo",
    "dapo",
    "dr-grpo",
    "gspo",
    "gmpo",
    "sapo",
    "aspo",
    "rloo",
    "reinforce-pp",
    "rf",
    "bn",
    "av",
    "vm-av",
    "msa",
    "fa",
    "dfr",
    "pr",
    "cda",
    "sa",
    "dace",
    "cag",
    "dcbe",
)
"""The published algorithms, then those of arXiv:2603.23951: by lineage, and the search for short responses last."""

_CONSTRUCTORS: Final[Mapping[str, type]] = {"Hyperparameter": Hyperparameter, "Mechanism": Mechanism}


@dataclass(frozen=True, slots=True)
class ZooEntry:
    """What a module of the zoo declares, known without importing it."""

    name: str
    title: str
    source: str
    """The paper."""
    summary: str
    """First line of the module's docstring."""
    aggregation: str
    needs: tuple[str, ...]
    hyperparameters: Mapping[str, Hyperparameter]
    mechanisms: tuple[Mechanism, ...]


@cache
def zoo() -> Mapping[str, ZooEntry]:
    """Every algorithm of the zoo by name, in the order of :data:`NAMES`."""
    return MappingProxyType({name: _entry(name) for name in NAMES})


def zoo_source(name: str) -> str:
    """The text of a zoo module, which is a candidate module like any other.

    Raises:
        InvalidInputError: there is no such algorithm; the message names the closest.
    """
    return (resources.files(_PACKAGE) / f"{_module(name)}.py").read_text(encoding="utf-8")


def load(name: str) -> Algorithm:
    """Import a zoo module (and torch) and read its declarations.

    Raises:
        InvalidInputError: there is no such algorithm; the message names the closest.
    """
    from poise_lib.algorithms.loading import algorithm_from_module

    return algorithm_from_module(importlib.import_module(f"{_PACKAGE}.{_module(name)}"), name)


def _module(name: str) -> str:
    """The module that holds the algorithm ``name``."""
    if name not in NAMES:
        close = difflib.get_close_matches(name.lower().replace("_", "-"), NAMES, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(NAMES)}"
        raise InvalidInputError(f"there is no algorithm {name!r} in the zoo; {hint}")
    return name.replace("-", "_")


def _entry(name: str) -> ZooEntry:
    """Read a module's declarations from its syntax tree."""
    tree = ast.parse(zoo_source(name))
    declared = {
        node.targets[0].id: _value(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    summary = (ast.get_docstring(tree) or "").partition("\n")[0]
    return ZooEntry(
        name=name,
        title=declared["TITLE"],
        source=declared["SOURCE"],
        summary=summary,
        aggregation=declared["AGGREGATION"],
        needs=declared.get("NEEDS", ()),
        hyperparameters=MappingProxyType(declared["HYPERPARAMETERS"]),
        mechanisms=declared["MECHANISMS"],
    )


def _value(node: ast.expr) -> Any:
    """Evaluate a declaration: literals, families, and calls of the contract's two constructors."""
    match node:
        case ast.Call(func=ast.Name(id=constructor), args=args, keywords=[]) if constructor in _CONSTRUCTORS:
            return _CONSTRUCTORS[constructor](*(_value(argument) for argument in args))
        case ast.Attribute(value=ast.Name(id="Family"), attr=family):
            return Family[family]
        case ast.Tuple(elts=items):
            return tuple(_value(item) for item in items)
        case ast.Dict(keys=keys, values=values):
            return {ast.literal_eval(key): _value(value) for key, value in zip(keys, values, strict=True) if key}
        case _:
            return ast.literal_eval(node)
