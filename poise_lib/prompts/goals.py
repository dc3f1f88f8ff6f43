"""What a search is after, as pieces of a context: the directive, how it is read, the objective that counts."""

from __future__ import annotations

from poise_lib.prompts.context import Form, Piece
from poise_lib.resources.objective import Objective


def directive_pieces(directive: str, reading: str) -> list[Piece]:
    """The directive in the user's words, and how the search reads it in ours."""
    if not directive.strip():
        return []
    pieces = [Piece("directive", "what the user asks of this search", (Form(directive),), 12.0, True, directive=True)]
    if reading:
        why = "the scores follow this; what else the user asks for is yours to weigh"
        pieces.append(
            Piece("reading", "how the search reads what the user asks", (Form(reading),), 12.0, True, why=why)
        )
    return pieces


def objective_pieces(objective: Objective | None) -> list[Piece]:
    """How a candidate is scored, where that is not the suite's own objective."""
    if objective is None or not (objective.metrics or objective.constraints):
        return []
    return [Piece("objective", "how a candidate is scored", (Form("\n".join(objective_lines(objective))),), 11.0, True)]


def objective_lines(objective: Objective) -> list[str]:
    """Metrics and bounds, a line each."""
    lines = [
        f"{item.direction.value.lower()} {item.name}, weight {item.weight:g}"
        + (f", in units of {item.scale:g}" if item.scale is not None else "")
        for item in objective.metrics
    ]
    for bound in objective.constraints:
        low = f" at least {bound.minimum:g}" if bound.minimum is not None else ""
        high = f" at most {bound.maximum:g}" if bound.maximum is not None else ""
        lines.append(f"constraint: {bound.metric}{low}{high}")
    return lines
