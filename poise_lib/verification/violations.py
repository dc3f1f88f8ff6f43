"""What the static policy says when it refuses something."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from enum import StrEnum


class Code(StrEnum):
    """Kinds of violation; stable names for programs and tests."""

    TOO_LARGE = "too-large"
    NOT_TEXT = "not-text"
    SYNTAX = "syntax"
    TOO_DEEP = "too-deep"
    IMPORT = "import"
    MODULE_ATTRIBUTE = "module-attribute"
    MODULE_AS_VALUE = "module-as-value"
    ATTRIBUTE = "attribute"
    UNDERSCORE = "underscore"
    IN_PLACE = "in-place"
    FOREIGN_ASSIGNMENT = "foreign-assignment"
    NAME = "name"
    REBINDING = "rebinding"
    STATEMENT = "statement"
    EXPRESSION = "expression"
    MODULE_LEVEL = "module-level"
    KEYWORD = "keyword"
    DECLARATION = "declaration"


@dataclass(frozen=True, slots=True, order=True)
class Violation:
    """One thing that the policy refuses, and where it stands."""

    line: int
    """From 1; 0 for the source as a whole."""
    column: int
    """From 1; 0 for the line as a whole."""
    code: Code
    message: str
    hint: str

    def __str__(self) -> str:
        return f"{self.line}:{self.column} {self.code}: {self.message}"

    @staticmethod
    def at(node: ast.AST, code: Code, message: str, hint: str) -> Violation:
        """A violation at the position of ``node``."""
        return Violation(getattr(node, "lineno", 0), getattr(node, "col_offset", -1) + 1, code, message, hint)
