"""The static policy: what candidate source may contain, decided without running or importing any of it.

A pure function of the text.  It is one of two walls: the sandbox holds without it, and it holds what a sandbox cannot,
such as a candidate that writes into another sample's tensor.
"""

from __future__ import annotations

import ast
import warnings
from dataclasses import dataclass
from typing import Final

from poise_lib.algorithms.allowed import MAX_CHARACTERS, MAX_DEPTH, MAX_LINE
from poise_lib.verification.syntax import Walker
from poise_lib.verification.violations import Code, Violation

MAX_VIOLATIONS: Final = 50


@dataclass(frozen=True, slots=True)
class PolicyResult:
    """``tree`` is None exactly when ``violations`` is not empty."""

    tree: ast.Module | None
    violations: tuple[Violation, ...]


def check_source(source: str) -> PolicyResult:
    """Parse ``source`` and hold it against the policy; at most :data:`MAX_VIOLATIONS` are listed."""
    if unreadable := _unreadable(source):
        return PolicyResult(None, (unreadable,))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an invalid escape in a candidate is not this process's business
            tree = ast.parse(source)
    except SyntaxError as error:
        message = f"syntax error: {error.msg}"
        found = Violation(error.lineno or 0, error.offset or 0, Code.SYNTAX, message, "correct the syntax")
        return PolicyResult(None, (found,))
    except (RecursionError, MemoryError):
        return PolicyResult(None, (_too_deep(),))
    if _deeper_than(tree, MAX_DEPTH):
        return PolicyResult(None, (_too_deep(),))
    violations = Walker().walk(tree)
    return PolicyResult(None if violations else tree, tuple(violations[:MAX_VIOLATIONS]))


def _unreadable(source: str) -> Violation | None:
    if len(source) > MAX_CHARACTERS:
        message = f"{len(source)} characters; at most {MAX_CHARACTERS} are allowed"
        return Violation(0, 0, Code.TOO_LARGE, message, "say it more briefly")
    # Not splitlines: it takes form feeds and U+2028 for the ends of lines, which Python does not, and so would hide them.
    for number, line in enumerate(source.replace("\r\n", "\n").split("\n"), 1):
        if len(line) > MAX_LINE:
            return Violation(number, 0, Code.TOO_LARGE, f"a line of {len(line)} characters", "break the line")
        strange = next((i for i, letter in enumerate(line) if not (letter.isprintable() or letter == "\t")), None)
        if strange is not None:
            message = f"control or invisible character U+{ord(line[strange]):04X}"
            return Violation(number, strange + 1, Code.NOT_TEXT, message, "use printable text only")
    return None


def _too_deep() -> Violation:
    return Violation(0, 0, Code.TOO_DEEP, f"nested deeper than {MAX_DEPTH} levels", "split the expression into steps")


def _deeper_than(tree: ast.AST, limit: int) -> bool:
    level: list[ast.AST] = [tree]
    for _ in range(limit):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        if not level:
            return False
    return True
