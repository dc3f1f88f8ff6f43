"""The candidate contract as a prompt states it, read from the code that enforces it, so that the two cannot drift.

Declarations, fields and their explanations are those of :mod:`poise_lib.algorithms.contract`; helpers those of
:mod:`poise_lib.algorithms.ops`; names, refused syntax and sizes those of :mod:`poise_lib.algorithms.allowed`, which the
static policy enforces.  All are read as syntax trees: nothing is imported that needs torch.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from functools import cache
from importlib import resources
from typing import Final

from poise_lib.algorithms import allowed

_LOADER_ONLY: Final = frozenset({"Algorithm"})
"""Of the engines: a candidate never sees it."""
_ROLE: Final = re.compile(r":[a-z]+:`~?(?:[\w.]*\.)?(\w+)`")
_NODE_NAMES: Final = {
    "While": "while", "Try": "try", "ClassDef": "class", "Global": "global", "Nonlocal": "nonlocal", "Delete": "del",
    "Match": "match", "AsyncFunctionDef": "async def", "List": "a list at the top of the module", "Set": "a set",
    "SetComp": "a set comprehension",
}  # fmt: skip


@cache
def contract_text() -> str:
    """The contract: what the module defines, the types that it gets, and what each field means."""
    tree, source = _module("contract")
    blocks = [_plain(ast.get_docstring(tree) or "")]
    listing = "\n\n".join(_blocks(tree, source))
    return "\n\n".join([*blocks, f"```python\n{listing}\n```"])


@cache
def operations_text() -> str:
    """The helpers of ``ops``: every signature with its first paragraph."""
    tree, _ = _module("ops")
    lines = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
            summary = " ".join((ast.get_docstring(node) or "").partition("\n\n")[0].split())
            lines.append(f"- `ops.{node.name}({ast.unparse(node.args)}){returns}`: {_plain(summary)}")
    return "\n".join(lines)


@cache
def policy_text() -> str:
    """What the static policy lets through: imports, names, syntax, sizes."""
    names = allowed.modules()
    lines = [
        "Imports, and nothing else: " + "; ".join(_import(module) for module in sorted(names) if module != "__future__") + ".",
        f"Of `torch`: {_listed(allowed.TORCH)}.",
        f"Of `torch.nn.functional`: {_listed(allowed.FUNCTIONAL)}.",
        f"Of `math`: {_listed(allowed.MATH)}.",
        f"Attributes and methods of tensors besides: {_listed(allowed.TENSOR_MEMBERS - allowed.TORCH)}.",
        f"Attributes of other values: {_listed(allowed.value_members() - allowed.TENSOR_MEMBERS)}.",
        f"Builtins: {_listed(allowed.BUILTINS)}.",
        f"Members of Family: {_listed(allowed.family_members())}.",
        "Refused keyword arguments: "
        + "; ".join(f"`{name}` ({why})" for name, why in allowed.KEYWORDS_REFUSED.items())
        + ".",
        "Refused syntax: "
        + "; ".join(
            f"{_NODE_NAMES.get(node.__name__, node.__name__)} ({instead})"
            for node, instead in {**allowed.INSTEAD, **allowed.INSTEAD_OF}.items()
        )
        + ".",
        _sizes(),
    ]  # fmt: skip
    return "\n".join(f"- {line}" for line in lines)


def _sizes() -> str:
    return (
        f"At most {allowed.MAX_CHARACTERS:,} characters, {allowed.MAX_LINE:,} in a line, {allowed.MAX_DEPTH} levels of "
        f"nesting, {allowed.MAX_HYPERPARAMETERS} hyperparameters, 1 to {allowed.MAX_MECHANISMS} mechanisms, "
        f"{allowed.MAX_TEXT} characters in a string of a declaration."
    )


def _module(name: str) -> tuple[ast.Module, str]:
    source = (resources.files("poise_lib.algorithms") / f"{name}.py").read_text(encoding="utf-8")
    return ast.parse(source), source


def _blocks(tree: ast.Module, source: str) -> Iterator[str]:
    """The public statements of the contract as they stand, each constant with the text below it."""
    body = tree.body
    for index, node in enumerate(body):
        after = body[index + 1] if index + 1 < len(body) else None
        if isinstance(node, ast.ClassDef) and node.name not in _LOADER_ONLY:
            decorators = [f"@{ast.unparse(item)}" for item in node.decorator_list]
            yield "\n".join([*decorators, _plain(ast.get_source_segment(source, node) or "")])
        elif isinstance(node, (ast.Assign, ast.AnnAssign)) and not _private(node):
            text = _plain(ast.get_source_segment(source, node) or "")
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                text += "\n" + _plain(ast.get_source_segment(source, after) or "")
            yield text


def _private(node: ast.Assign | ast.AnnAssign) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return any(isinstance(target, ast.Name) and target.id.startswith("_") for target in targets)


def _plain(text: str) -> str:
    """Without the marks of Sphinx."""
    return _ROLE.sub(r"`\1`", text).replace("``", "`")


def _import(module: str) -> str:
    if module in ("torch", "math"):
        return f"`import {module}`"
    if module == "torch.nn.functional":
        return "`import torch.nn.functional as F`"
    return f"`from {module} import {', '.join(sorted(allowed.modules()[module]))}`"


def _listed(names: Iterable[str]) -> str:
    return " ".join(sorted(names))
