"""Which names a function binds, and which of them hold something that the function itself made.

Changing a value in place is allowed only where it is plainly the function's own: a list or a dict that it wrote down,
a tensor that it created.  "Plainly" means that every binding of the name is such an expression; a name that also
stands for a parameter, a loop variable or somebody else's attribute is not.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

_CONTAINERS: Final = (ast.List, ast.ListComp, ast.Dict, ast.DictComp)
_MAKERS: Final = frozenset({
    "arange", "cat", "clone", "eye", "full", "full_like", "linspace", "new_full", "new_ones", "new_zeros", "ones",
    "ones_like", "stack", "tensor", "where", "zeros", "zeros_like",
})  # fmt: skip
"""Functions and methods that return a tensor of their own, whatever they are given."""
_NUMBERS: Final = frozenset({"float", "int", "len", "round", "bool"})
_NESTED: Final = (ast.FunctionDef, ast.Lambda)


@dataclass(slots=True)
class Scope:
    """The names of one function."""

    names: set[str] = field(default_factory=set)
    containers: set[str] = field(default_factory=set)
    """Names that always hold a list or dict that the function wrote down."""
    values: set[str] = field(default_factory=set)
    """Names that always hold a number or tensor that the function made."""


def scope_of(function: ast.FunctionDef | ast.Lambda) -> Scope:
    """Collect the bindings of a function, those of nested functions left out."""
    arguments = function.args
    names = {argument.arg for argument in _all_arguments(arguments)}
    bindings: dict[str, list[ast.expr | None]] = {name: [None] for name in names}
    body: list[ast.AST] = [function.body] if isinstance(function, ast.Lambda) else list(function.body)
    for node in _walk(body):
        for name, value in _bound_by(node):
            bindings.setdefault(name, []).append(value)
    return Scope(
        names=set(bindings),
        containers={
            name for name, values in bindings.items() if all(isinstance(value, _CONTAINERS) for value in values)
        },
        values={
            name for name, values in bindings.items() if all(value is not None and _made(value) for value in values)
        },
    )


def _all_arguments(arguments: ast.arguments) -> list[ast.arg]:
    extra = [argument for argument in (arguments.vararg, arguments.kwarg) if argument is not None]
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *extra]


def _walk(nodes: list[ast.AST]) -> Iterator[ast.AST]:
    """Every node below, but not into nested functions."""
    pending = list(nodes)
    while pending:
        node = pending.pop()
        yield node
        if not isinstance(node, _NESTED):
            pending.extend(ast.iter_child_nodes(node))


def _bound_by(node: ast.AST) -> Iterator[tuple[str, ast.expr | None]]:
    """(name, the expression that it is bound to, None where that is not plain)."""
    if isinstance(node, ast.FunctionDef):
        yield node.name, None
    elif isinstance(node, ast.Assign):
        for target in node.targets:
            yield from _targets(target, node.value)
    elif isinstance(node, ast.AnnAssign) and node.value is not None:
        yield from _targets(node.target, node.value)
    elif isinstance(node, ast.NamedExpr):
        yield node.target.id, node.value
    elif isinstance(node, (ast.For, ast.comprehension)):
        yield from _targets(node.target, None)


def _targets(target: ast.expr, value: ast.expr | None) -> Iterator[tuple[str, ast.expr | None]]:
    if isinstance(target, ast.Name):
        yield target.id, value
    elif isinstance(target, ast.Starred):
        yield from _targets(target.value, None)
    elif isinstance(target, (ast.Tuple, ast.List)):
        for part in target.elts:
            yield from _targets(part, None)


def _made(value: ast.expr) -> bool:
    """The expression always gives a new number or tensor."""
    if isinstance(value, (ast.Constant, ast.BinOp, ast.Compare)):
        return True
    if isinstance(value, ast.UnaryOp):
        return not isinstance(value.op, ast.UAdd)  # +x may be x itself
    if isinstance(value, ast.IfExp):
        return _made(value.body) and _made(value.orelse)
    if isinstance(value, ast.Call):
        function = value.func
        if isinstance(function, ast.Attribute):
            return function.attr in _MAKERS
        return isinstance(function, ast.Name) and function.id in _NUMBERS
    return False
