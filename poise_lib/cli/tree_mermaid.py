"""The lineage as a Mermaid flowchart, for Markdown that renders it."""

from __future__ import annotations

from collections.abc import Sequence

from poise_lib.cli.lineage import TreeNode
from poise_lib.cli.text import fit, number, signed
from poise_lib.resources.candidate import CandidatePhase

_HEAD = """flowchart LR
  classDef better fill:#1a7f37,stroke:#1a7f37,color:#ffffff
  classDef worse fill:#bc4c00,stroke:#bc4c00,color:#ffffff
  classDef lost fill:none,stroke:#8b949e,color:#8b949e,stroke-dasharray: 4 3
  classDef base fill:#57606a,stroke:#57606a,color:#ffffff
  classDef path stroke:#d4a72c,stroke-width:3px"""


def tree_mermaid(roots: Sequence[TreeNode]) -> str:
    """The flowchart: a box a candidate, green above the baseline, orange below, dashed when it has no score."""
    nodes = [node for root in roots for node in root.walk()]
    ids = {node.name: f"n{index}" for index, node in enumerate(nodes)}
    lines = [_HEAD]
    for node in nodes:
        lines.append(f'  {ids[node.name]}["{_label(node)}"]:::{_class(node)}')
    for node in nodes:
        for index, parent in enumerate(node.parents):
            lines.append(f"  {ids[parent]} {'-->' if index == 0 else '-.->'} {ids[node.name]}")
    path = [ids[node.name] for node in nodes if node.on_best_path]
    if path:
        lines.append(f"  class {','.join(path)} path")
    return "\n".join(lines)


def _label(node: TreeNode) -> str:
    gain = f" ({signed(node.gain)})" if node.gain is not None else ""
    score = f"{number(node.utility)}{gain}" if node.utility is not None else node.phase.value
    return f"{node.label} {_escape(fit(node.title, 48))}<br/>{score}"


def _escape(text: str) -> str:
    """Mermaid's entity codes for what would end the label or start markup."""
    return "".join(f"#{ord(letter)};" if letter in '"#<>&;`[]{}()|\\*_~%:@' else letter for letter in text)


def _class(node: TreeNode) -> str:
    if node.phase in (CandidatePhase.REJECTED, CandidatePhase.FAILED) or node.utility is None:
        return "lost"
    if node.over_baseline is None:
        return "base"
    return "better" if node.over_baseline > 0 else "worse"
