"""The lineage as text: one candidate a line, the tree at the left, utility, gain and what became of it in columns.

::

    000-0  GRPO                                     66.4
    ├─ 001-0  GRPO + batch-scale                    68.1   +1.7
    │  └─ 004-1  GRPO + batch-scale + failure-floor 71.0   +2.9  ★ best, confirmed better
    └─ 001-1  GRPO + entropy-bonus                     -         rejected: VerificationFailed

Indentation shrinks when the tree is deep, and beyond half of the width only the innermost levels are drawn, so that
titles stay legible.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import click

from poise_lib.cli.lineage import TreeNode
from poise_lib.cli.text import fit, number, signed, width
from poise_lib.resources.candidate import CandidatePhase
from poise_lib.resources.search import Verdict

_VERDICTS = {
    Verdict.BETTER: "confirmed better",
    Verdict.NOT_SHOWN: "not shown to be better",
    Verdict.WORSE: "confirmed worse",
}
_COLOURS = {Verdict.BETTER: "green", Verdict.NOT_SHOWN: "yellow", Verdict.WORSE: "red"}


@dataclass(frozen=True)
class Glyphs:
    """The signs of a drawing."""

    branch: str
    corner: str
    line: str
    best: str
    more: str


UNICODE = Glyphs("├─ ", "└─ ", "│  ", "★", "…")
ASCII = Glyphs("|- ", "`- ", "|  ", "*", "...")


@dataclass(frozen=True)
class _Row:
    prefix: str
    node: TreeNode
    hidden: int = 0
    """Descendants that are not drawn."""


def tree_lines(
    roots: Sequence[TreeNode], *, columns: int = 100, glyphs: Glyphs = UNICODE, max_depth: int | None = None
) -> list[str]:
    """The drawing, a line an element, styled by ANSI codes that ``click.echo`` drops where they do not belong.

    Args:
        roots: see :func:`~poise_lib.cli.lineage.build_forest`.
        columns: width of the terminal.
        glyphs: UNICODE or ASCII.
        max_depth: generations to draw; what is below is counted.
    """
    rows = [row for root in roots for row in _rows(root, glyphs, max_depth)]
    if not rows:
        return ["no candidates yet"]
    left = max(width(f"{row.prefix}{row.node.label}  {row.node.title}") for row in rows)
    left = max(24, min(left, columns - 50))
    return [_line(row, left, columns, glyphs) for row in rows]


def _rows(root: TreeNode, glyphs: Glyphs, max_depth: int | None) -> Iterator[_Row]:
    deepest = max(node.depth for node in root.walk())
    step = 3 if deepest <= 12 else 2
    stack: list[tuple[TreeNode, str, str]] = [(root, "", "")]
    while stack:
        node, prefix, inner = stack.pop()
        cut = max_depth is not None and node.depth >= max_depth
        yield _Row(prefix, node, len(node.walk()) - 1 if cut else 0)
        if cut:
            continue
        for index, child in enumerate(reversed(node.children)):
            last = index == 0
            sign = (glyphs.corner if last else glyphs.branch)[:step]
            stack.append((child, inner + sign, inner + (" " * step if last else glyphs.line[:step])))


def _line(row: _Row, left: int, columns: int, glyphs: Glyphs) -> str:
    node, prefix = row.node, row.prefix
    if width(prefix) > left // 2:
        prefix = glyphs.more + prefix[len(prefix) - left // 2 + len(glyphs.more) :]
    title = fit(node.title, max(8, left - width(f"{prefix}{node.label}  ")))
    name = click.style(node.label, bold=node.on_best_path, fg="cyan" if node.on_best_path else None)
    shown = f"{click.style(prefix, dim=True)}{name}  {click.style(title, bold=node.best)}"
    shown += " " * max(0, left - width(f"{prefix}{node.label}  {title}"))
    room = columns - left - 18
    gain = signed(node.gain)
    coloured = click.style(
        f"{gain:>6}", fg="green" if (node.gain or 0) > 0 else "red" if (node.gain or 0) < 0 else None
    )
    return f"{shown}  {number(node.utility):>6}  {coloured}  {_remark(row, glyphs, max(12, room))}".rstrip()


def _remark(row: _Row, glyphs: Glyphs, room: int) -> str:
    node = row.node
    remarks: list[tuple[str, str | None]] = []
    if node.best:
        remarks.append((f"{glyphs.best} best", "green" if node.verdict is Verdict.BETTER else None))
    elif node.on_best_path:
        remarks.append((glyphs.best, None))
    if node.verdict is not None:
        remarks.append((_VERDICTS[node.verdict], _COLOURS[node.verdict]))
    if node.phase in (CandidatePhase.REJECTED, CandidatePhase.FAILED):
        why = f": {node.reason}" if node.reason else ""
        remarks.append((f"{node.phase.value.lower()}{why}", "red"))
    elif not node.final:
        remarks.append((node.phase.value.lower(), "yellow"))
    if len(node.parents) > 1:
        also = ", ".join(parent.rsplit("-", 2)[-2] + "-" + parent.rsplit("-", 1)[-1] for parent in node.parents[1:])
        remarks.append((f"also from {also}", None))
    if row.hidden:
        remarks.append((f"{row.hidden} more below", None))
    shown, used = [], 0
    for text, colour in remarks:
        text = fit(text, room - used) if used < room else ""
        if text:
            shown.append(click.style(text, fg=colour, dim=colour is None and not node.best))
            used += width(text) + 2
    return ", ".join(shown)


def legend(glyphs: Glyphs = UNICODE, columns: int = 110) -> list[str]:
    """What the columns are, in one line where it fits."""
    text = f"name, title, utility, gain over its parent; {glyphs.best} marks the path to the best"
    return [click.style(line, dim=True) for line in textwrap.wrap(text, columns)]
