"""What a candidate imports, and so what its names stand for."""

from __future__ import annotations

import ast
from collections.abc import Collection
from dataclasses import dataclass, field

from poise_lib.algorithms import allowed
from poise_lib.verification.violations import Code, Violation


@dataclass(slots=True)
class Imports:
    """The imports of one module, filled in order."""

    modules: dict[str, str] = field(default_factory=dict)
    """Name -> the module that it stands for."""
    objects: dict[str, str] = field(default_factory=dict)
    """Name -> "module:name" of what was imported from a module."""

    def add(self, node: ast.Import | ast.ImportFrom, taken: Collection[str]) -> list[Violation]:
        """Take note of an import statement; returns what is wrong with it.

        Args:
            node: the statement.
            taken: names that the module has given a meaning so far.
        """
        if isinstance(node, ast.ImportFrom):
            return [found for alias in node.names for found in self._from(node, alias, taken)]
        problems = []
        for alias in node.names:
            if alias.name not in allowed.modules():
                problems.append(_refused(node, alias.name))
                continue
            top = alias.name.partition(".")[0]
            problems += self._bind(node, alias.asname or top, alias.name if alias.asname else top, taken)
        return problems

    def path(self, node: ast.expr) -> str | None:
        """The module, or the dotted name below one, that an expression stands for; None for a value."""
        if isinstance(node, ast.Name):
            return self.modules.get(node.id)
        if isinstance(node, ast.Attribute):
            base = self.path(node.value)
            return None if base is None else f"{base}.{node.attr}"
        return None

    def _from(self, node: ast.ImportFrom, alias: ast.alias, taken: Collection[str]) -> list[Violation]:
        source, name = node.module or "", alias.asname or alias.name
        submodule = allowed.SUBMODULES.get((source, alias.name))
        if node.level == 0 and submodule:
            return self._bind(node, name, submodule, taken)
        if node.level or source not in allowed.modules():
            return [_refused(node, "." * node.level + source)]
        if alias.name not in allowed.modules()[source]:
            message = f"{source}.{alias.name} is not allowed"
            return [
                Violation.at(node, Code.MODULE_ATTRIBUTE, message, f"only pure functions of {source} may be imported")
            ]
        problems = self._rebound(node, name, f"{source}:{alias.name}", taken)
        self.objects[name] = f"{source}:{alias.name}"
        return problems

    def _bind(
        self, node: ast.Import | ast.ImportFrom, name: str, module: str, taken: Collection[str]
    ) -> list[Violation]:
        problems = self._rebound(node, name, module, taken)
        self.modules[name] = module
        return problems

    def _rebound(
        self, node: ast.Import | ast.ImportFrom, name: str, meaning: str, taken: Collection[str]
    ) -> list[Violation]:
        """A name keeps the meaning that it has; what is checked for one module must not be used for another."""
        before = self.modules.get(name) or self.objects.get(name)
        if before == meaning:
            return []
        if before is None and name not in taken and not name.startswith("__"):
            return []
        hint = "give each import a name of its own"
        return [Violation.at(node, Code.REBINDING, f"{name!r} gets a second meaning", hint)]


def _refused(node: ast.stmt, name: str) -> Violation:
    known = ", ".join(sorted(set(allowed.modules()) - {"__future__"}))
    return Violation.at(node, Code.IMPORT, f"import of {name!r}", f"candidates import only from {known}")
