"""The lineage as a picture: the tree at the left, a row a candidate; at the right its utility against parent and baseline.

The text of the SVG is all that it needs: no fonts, scripts or images.  Colours follow the reader's light or dark scheme
by a media query, and both read on a transparent ground.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from poise_lib.cli.lineage import TreeNode
from poise_lib.cli.text import fit, number, plural, signed
from poise_lib.plain import markup
from poise_lib.resources.candidate import CandidatePhase
from poise_lib.resources.search import Verdict

_WIDTH = 980
_ROW = 19
_TOP = 92
_LEFT = 18
_SCORE = 590
"""Right end of the column of utilities, pixels; titles end before it."""
_AXIS = (612, 952)
"""Left and right end of the utility axis, pixels."""
_LETTER = 6.2
"""Mean width of a letter at 11.5 px, pixels."""
_NEAR, _FAR = 0.5, 3.0
"""Points over or under the baseline at which colours change; whether a difference is real is confirmation's to say."""
_STYLE = """
  text { font: 11.5px ui-sans-serif, system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #1f2328; }
  .head { font-size: 15px; font-weight: 600; } .dim { fill: #656d76; } .bold { font-weight: 600; }
  .end { text-anchor: end; } .mid { text-anchor: middle; }
  .edge, .move, .tick { fill: none; stroke: #c5ccd3; stroke-width: 1.2; } .tick { stroke-width: .6; }
  .base { stroke: #656d76; stroke-width: 1; stroke-dasharray: 3 3; } .move { stroke-width: 1.6; }
  .way { fill: none; stroke: #bf8700; stroke-width: 2.2; } .band { fill: #bf8700; fill-opacity: .13; }
  .b2 { fill: #1a7f37; } .b1 { fill: #64b678; } .b0 { fill: #8c959f; } .w1 { fill: #eb9a63; } .w2 { fill: #bc4c00; }
  .lost { fill: none; stroke: #8c959f; stroke-dasharray: 2 1.5; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; } .dim { fill: #8d96a0; } .edge, .move, .tick { stroke: #444c56; } .base { stroke: #8d96a0; }
    .way { stroke: #d29922; } .band { fill: #d29922; }
    .b2 { fill: #3fb950; } .b1 { fill: #2b8a41; } .b0 { fill: #768390; } .w1 { fill: #b4622d; } .w2 { fill: #f0883e; }
  }
"""
_LEGEND = (
    ("b2", f"+{_FAR:g} or more over the baseline"),
    ("b1", "over"),
    ("b0", "about equal"),
    ("w1", "under"),
    ("w2", f"−{_FAR:g} or less"),
    ("lost", "no score"),
)
_VERDICTS = {
    Verdict.BETTER: "confirmed better",
    Verdict.NOT_SHOWN: "not shown to be better",
    Verdict.WORSE: "confirmed worse",
}


@dataclass(frozen=True)
class _Row:
    node: TreeNode
    x: float
    y: float


@dataclass(frozen=True)
class _Scale:
    """Utilities to pixels; what lies below the axis is drawn at its left end."""

    low: float
    high: float

    def x(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return _AXIS[0] + (_AXIS[1] - _AXIS[0]) * min(1.0, max(0.0, share))


def tree_svg(roots: Sequence[TreeNode], title: str) -> str:
    """The picture as the text of an SVG file."""
    nodes = [node for root in roots for node in root.walk()]
    deepest = max((node.depth for node in nodes), default=0)
    indent = min(16.0, 260.0 / max(1, deepest))
    rows = {
        node.name: _Row(node, _LEFT + 6 + node.depth * indent, float(_TOP + index * _ROW))
        for index, node in enumerate(nodes)
    }
    height = _TOP + len(nodes) * _ROW + 8
    scale = _scale(nodes)
    body = [*_head(nodes, title), *_axis(scale, nodes, height), *_edges(rows)]
    body += [line for row in rows.values() for line in _row(row, rows, scale)]
    label = markup(f"Lineage of the search {title}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
        f'role="img" aria-label="{label}">\n<style>{_STYLE}</style>\n' + "\n".join(body) + "\n</svg>"
    )


def _scale(nodes: Sequence[TreeNode]) -> _Scale:
    """From the worst to the best; what lies far below all others must not squeeze them together, and is cut."""
    values = sorted(node.utility for node in nodes if node.utility is not None)
    if not values:
        return _Scale(0.0, 1.0)
    low, high = values[len(values) // 10], values[-1]
    if low - values[0] <= high - low:
        low = values[0]
    margin = max(0.5, (high - low) * 0.06)
    return _Scale(low - margin, high + margin)


def _head(nodes: Sequence[TreeNode], title: str) -> list[str]:
    scored = sum(node.utility is not None for node in nodes)
    best = next((node for node in nodes if node.best), None)
    facts = f"{plural(len(nodes), 'candidate')}, {scored} scored"
    if best is not None and best.over_baseline is not None:
        facts += (
            f"; best {number(best.utility)}, {signed(best.over_baseline)} over the baseline on the search's problems"
        )
        facts += f", {_VERDICTS[best.verdict]} on unseen ones" if best.verdict else ""
    lines = [f'<text class="head" x="{_LEFT}" y="26">Lineage of {markup(title)}</text>']
    lines.append(f'<text class="dim" x="{_LEFT}" y="45">{markup(facts)}</text>')
    x = float(_LEFT)
    for style, label in _LEGEND:
        lines.append(f'<circle class="{style}" cx="{x + 5:.0f}" cy="61" r="4"/>')
        lines.append(f'<text class="dim" x="{x + 14:.0f}" y="65">{markup(label)}</text>')
        x += len(label) * _LETTER + 30
    return lines


def _axis(scale: _Scale, nodes: Sequence[TreeNode], height: float) -> list[str]:
    """Ticks of the utility axis, and the baseline."""
    lines = []
    step = next((size for size in (1, 2, 5, 10, 20, 50) if (scale.high - scale.low) / size <= 7), 100)
    tick = int(scale.low // step + 1) * step
    while tick < scale.high:
        x = scale.x(tick)
        lines.append(f'<path class="tick" d="M{x:.1f} {_TOP - 8}V{height - 8}"/>')
        lines.append(f'<text class="dim mid" x="{x:.1f}" y="{_TOP - 13}">{tick}</text>')
        tick += step
    baseline = next((node.utility for node in nodes if node.depth == 0 and node.utility is not None), None)
    if baseline is not None:
        lines.append(f'<path class="base" d="M{scale.x(baseline):.1f} {_TOP - 8}V{height - 8}"/>')
    return lines


def _edges(rows: dict[str, _Row]) -> list[str]:
    """Elbows from first parents to children; the way to the best comes last, on top."""
    plain, way = [], []
    for row in rows.values():
        if not row.node.parents:
            continue
        parent = rows[row.node.parents[0]]
        bend = min(6.0, row.x - parent.x)
        path = f"M{parent.x:.1f} {parent.y:.1f}V{row.y - bend:.1f}q0 {bend:.1f} {bend:.1f} {bend:.1f}H{row.x:.1f}"
        if row.node.on_best_path and parent.node.on_best_path:
            way.append(f'<path class="way" d="{path}"/>')
        else:
            plain.append(f'<path class="edge" d="{path}"/>')
    return plain + way


def _row(row: _Row, rows: dict[str, _Row], scale: _Scale) -> list[str]:
    """One candidate: its dot, title and utility, and the move from its parent's utility to its own."""
    node, style = row.node, _class(row.node)
    tip = f"{node.name} {node.title}: {_score(node)}"
    if node.gain is not None:
        tip += f", {signed(node.gain)} over its parent"
    lines = [f"<g><title>{markup(tip)}</title>"]
    if node.best:
        lines.append(
            f'<rect class="band" x="{_LEFT - 8}" y="{row.y - 9.5}" width="{_WIDTH - 2 * _LEFT + 16}" height="19"/>'
        )
    lines.append(f'<circle class="{style}" cx="{row.x:.1f}" cy="{row.y:.1f}" r="4"/>')
    room = _SCORE - 46 - (row.x + 10)
    weight = " bold" if node.best else "" if node.utility is not None else " dim"
    words = markup(fit(node.title, int(room / _LETTER)))
    lines.append(f'<text class="title{weight}" x="{row.x + 10:.1f}" y="{row.y + 4:.1f}">{words}</text>')
    lines.append(f'<text class="end{weight}" x="{_SCORE}" y="{row.y + 4:.1f}">{markup(_score(node))}</text>')
    if node.utility is not None:
        x = scale.x(node.utility)
        parent = rows[node.parents[0]].node.utility if node.parents else None
        if parent is not None:
            kind = "way" if node.on_best_path else "move"
            lines.append(f'<path class="{kind}" d="M{scale.x(parent):.1f} {row.y:.1f}H{x:.1f}"/>')
        if node.utility < scale.low:
            lines.append(f'<path class="{style}" d="M{x - 6:.1f} {row.y:.1f}l8 -4v8z"/>')
        else:
            lines.append(f'<circle class="{style}" cx="{x:.1f}" cy="{row.y:.1f}" r="{5 if node.best else 4}"/>')
    return [*lines, "</g>"]


def _score(node: TreeNode) -> str:
    return number(node.utility) if node.utility is not None else node.phase.value.lower()


def _class(node: TreeNode) -> str:
    if node.phase in (CandidatePhase.REJECTED, CandidatePhase.FAILED) or node.utility is None:
        return "lost"
    gain = node.over_baseline or 0.0
    if abs(gain) < _NEAR:
        return "b0"
    return ("b" if gain > 0 else "w") + ("2" if abs(gain) >= _FAR else "1")
