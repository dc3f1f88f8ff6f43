"""One function a role: what goes in, and the prompt that comes out, fitted into a budget of tokens.

Everything here is pure: no network, no clock, the same input gives the same prompt.  ``budget`` is what the whole prompt may
take, by :func:`~poise_lib.prompts.context.estimate_tokens` or a tokenizer of the caller's; each function raises
:class:`~poise_lib.prompts.context.ContextTooSmallError` when not even the required pieces fit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from poise_lib.archive.entry import Entry
from poise_lib.prompts.context import Estimate, Form, Piece, Placed, estimate_tokens, fit
from poise_lib.prompts.directions import Direction
from poise_lib.prompts.evidence import Evidence
from poise_lib.prompts.exhibits import (
    Exhibit,
    Reference,
    archive_pieces,
    headline,
    history_pieces,
    parent_pieces,
    reference_pieces,
)
from poise_lib.prompts.goals import directive_pieces, objective_pieces
from poise_lib.prompts.literature import Literature, literature_pieces
from poise_lib.prompts.rendering import ANSWERS, Prompt, Role, block, label, prompt_version, render
from poise_lib.prompts.responses import Plan, Principles, ProposalDraft
from poise_lib.resources.candidate import CheckResult, Proposal, Reflection
from poise_lib.resources.search import Objective

DEFAULT_BUDGET: Final = 48_000
"""Tokens: the contract takes about seven thousand, a parent with its code up to ten."""
_TAG: Final = "0" * 12
_SLACK: Final = 24
"""Tokens for the sentence on how many pieces found no room."""

Design = ProposalDraft | Proposal


@dataclass(frozen=True, slots=True)
class Earlier:
    """A revision that was repaired: what it was, and what it failed."""

    revision: int
    findings: tuple[CheckResult, ...] = ()
    source: str = ""


def propose_prompt(
    parent: Exhibit,
    direction: Direction,
    *,
    references: Sequence[Reference] = (),
    archive: Sequence[Entry] = (),
    literature: Literature | None = None,
    directive: str = "",
    reading: str = "",
    objective: Objective | None = None,
    principles: Principles | None = None,
    budget: int = DEFAULT_BUDGET,
    estimate: Estimate = estimate_tokens,
) -> Prompt:
    """One proposal from a parent along one direction (P of arXiv:2603.23951); answered by a ProposalDraft."""
    shown = [reference.exhibit.entry.name for reference in references]
    pieces = [*directive_pieces(directive, reading), *objective_pieces(objective), *parent_pieces(parent)]
    if direction.advice:
        pieces.append(Piece("diagnosis", "what the parent's diagnosis advises", (Form(direction.advice),), 9.0, True))
    pieces += reference_pieces(references, parent.entry)
    pieces += history_pieces(archive, parent.entry, shown)
    pieces += _principles(principles)
    if literature is not None:
        own = _paper_first(literature_pieces(literature, (direction.family,)), direction.source)
        pieces += own
    return _prompt(Role.PROPOSE, pieces, budget, estimate, {"direction": label(direction.sentence())})


def critic_prompt(
    draft: ProposalDraft,
    parent: Exhibit,
    *,
    archive: Sequence[Entry] = (),
    literature: Literature | None = None,
    findings: Sequence[str] = (),
    directive: str = "",
    reading: str = "",
    objective: Objective | None = None,
    budget: int = DEFAULT_BUDGET,
    estimate: Estimate = estimate_tokens,
) -> Prompt:
    """The critic on one proposal, against the whole archive; answered by a Critique.

    Args:
        draft: the proposal.
        parent: what it starts from.
        archive: all finished candidates.
        literature: papers to compare with.
        findings: what the rules of :mod:`poise_lib.prompts.judging` found.
        directive: of the search.
        reading: what the search understands of it, in our words; empty where the scores do not follow it.
        objective: of the search.
        budget: tokens of the whole prompt.
        estimate: tokens of a text.
    """
    pieces = [
        *directive_pieces(directive, reading),
        *objective_pieces(objective),
        _design(draft),
        *parent_pieces(parent),
    ]
    if findings:
        pieces.append(Piece("rules", "what rules found in the proposal", (Form("\n".join(findings)),), 9.0, True))
    words = [draft.title, *(item.name for item in draft.mechanisms), *(item.claim for item in draft.mechanisms)]
    pieces += archive_pieces((entry for entry in archive if entry.name != parent.entry.name), words)
    if literature is not None:
        pieces += literature_pieces(literature, tuple(dict.fromkeys(item.family for item in draft.mechanisms)))
    return _prompt(Role.CRITIC, pieces, budget, estimate)


def plan_prompt(
    design: Design, parent: Exhibit, *, budget: int = DEFAULT_BUDGET, estimate: Estimate = estimate_tokens
) -> Prompt:
    """The plan of an implementation; answered by a Plan."""
    return _prompt(Role.PLAN, [_design(design), *parent_pieces(parent)], budget, estimate)


def code_prompt(
    design: Design, plan: Plan, parent: Exhibit, *, budget: int = DEFAULT_BUDGET, estimate: Estimate = estimate_tokens
) -> Prompt:
    """The module of a proposal from its plan; answered by Code."""
    steps = [f"{step.function}{f' [{step.mechanism}]' if step.mechanism else ''}: {step.what}" for step in plan.steps]
    text = "\n".join(
        [
            *steps,
            f"aggregation: {plan.aggregation}",
            f"needs: {', '.join(plan.needs) or 'none'}",
            f"edge cases: {plan.edge_cases}",
        ]
    )
    planned = Piece("plan", "the plan", (Form(text),), 10.0, True)
    return _prompt(Role.CODE, [_design(design), planned, *parent_pieces(parent)], budget, estimate)


def repair_prompt(
    design: Design,
    source: str,
    findings: Sequence[CheckResult],
    *,
    revision: int,
    earlier: Sequence[Earlier] = (),
    budget: int = DEFAULT_BUDGET,
    estimate: Estimate = estimate_tokens,
) -> Prompt:
    """A repair from the structured report; answered by Code.

    Args:
        design: the proposal.
        source: the revision that failed.
        findings: checks that failed or warned on it, those that failed first in what is shown.
        revision: number of the repair that is asked for, from 1.
        earlier: revisions before it with their findings, oldest first; the newest keeps its code longest when room is short.
        budget: tokens of the whole prompt.
        estimate: tokens of a text.
    """
    ordered = sorted(findings, key=lambda item: item.status != "failed")  # a stable sort
    pieces = [
        _design(design),
        Piece("module", "the module that failed", (Form(source.rstrip()),), 12.0, True),
        Piece(
            "report",
            "the report of its verification",
            (Form("\n\n".join(map(_finding, ordered)) or "nothing"),),
            12.0,
            True,
        ),
    ]
    for place, old in enumerate(earlier):
        value = 4.0 + place / len(earlier)
        pieces.append(Piece(f"revision {old.revision}", "what an earlier revision failed", _earlier_forms(old), value))
    return _prompt(Role.REPAIR, pieces, budget, estimate, {"revision": revision})


def _earlier_forms(old: Earlier) -> tuple[Form, ...]:
    """With its code, with the evidence of what it failed, with the names of the checks."""
    report = "\n".join(f"{item.status} {item.name}: {item.evidence[:400]}" for item in old.findings) or "no report"
    brief = "\n".join(f"{item.status} {item.name}" for item in old.findings) or "no report"
    if not old.source:
        return (Form(report), Form(brief, 0.6, "the evidence of its findings"))
    whole = f"{report}\ncode:\n{old.source.rstrip()}"
    return (Form(whole), Form(report, 0.8, "its code"), Form(brief, 0.5, "its code and the evidence of its findings"))


def judge_prompt(
    design: Design, source: str, *, budget: int = DEFAULT_BUDGET, estimate: Estimate = estimate_tokens
) -> Prompt:
    """Intent against code; answered by a Judgement."""
    module = Piece("module", "the module", (Form(source.rstrip()),), 12.0, True)
    return _prompt(Role.JUDGE, [_design(design), module], budget, estimate)


def reflect_prompt(
    child: Exhibit,
    parent: Exhibit | None,
    evidence: Evidence,
    *,
    diagnosis: Reflection | None = None,
    archive: Sequence[Entry] = (),
    directive: str = "",
    reading: str = "",
    objective: Objective | None = None,
    invented: Sequence[str] = (),
    budget: int = DEFAULT_BUDGET,
    estimate: Estimate = estimate_tokens,
) -> Prompt:
    """A reflection from measured evidence (A of the paper); answered by a ReflectionDraft.

    Args:
        child: the finished candidate.
        parent: what it is contrasted with.
        evidence: every number that may be quoted (:func:`~poise_lib.prompts.evidence.evidence_of`).
        diagnosis: what the rule-based operator found in the same run.
        archive: relatives and neighbours, a line each.
        directive: of the search.
        reading: what the search understands of it, in our words; empty where the scores do not follow it.
        objective: what counts; None where it is the suite's own.
        invented: numbers of a first answer that stood nowhere in the evidence.
        budget: tokens of the whole prompt.
        estimate: tokens of a text.
    """
    rows = "\n".join(row.text() for row in evidence.rows) or "nothing was measured: it was not scored"
    pieces = [
        *directive_pieces(directive, reading),
        *objective_pieces(objective),
        Piece("evidence", "the evidence", (Form(rows),), 12.0, True, why="child, its parent, and the difference"),
        Piece(
            "child", "the child", (Form(_proposed(child)), Form(headline(child.entry), 0.6, "its proposal")), 10.0, True
        ),
    ]
    if parent is not None:
        forms = (Form(_proposed(parent)), Form(headline(parent.entry), 0.6, "its proposal"))
        pieces.append(Piece("parent", "its parent", forms, 8.0, True))
    if diagnosis is not None:
        pieces.append(Piece("diagnostics", "what rules found in the run", (Form(diagnosis.diagnosis),), 9.0, True))
    if invented:
        pieces.append(
            Piece(
                "refused",
                "numbers of your last answer that are not in the evidence",
                (Form("\n".join(invented[:32])),),
                12.0,
                True,
                why="Your last answer was refused for these. Leave them out.",
            )
        )
    for exhibit, what in ((child, "the child's code"), (parent, "its parent's code")):
        if exhibit is not None and exhibit.source:
            pieces.append(Piece(what, what, (Form(exhibit.source.rstrip()),), 5.0))
    near = {child.entry.name, *([parent.entry.name] if parent else [])}
    words = [child.entry.title, *child.entry.mechanisms]
    pieces += archive_pieces((entry for entry in archive if entry.name not in near), words)
    return _prompt(Role.REFLECT, pieces, budget, estimate)


def principles_prompt(
    archive: Sequence[Entry],
    *,
    previous: Principles | None = None,
    directive: str = "",
    reading: str = "",
    budget: int = DEFAULT_BUDGET,
    estimate: Estimate = estimate_tokens,
) -> Prompt:
    """The archive distilled; answered by Principles.  The best and the worst count most, and lose their diagnosis last."""
    scored = sorted((entry.utility for entry in archive if entry.utility is not None), reverse=True)
    ranks = {utility: rank for rank, utility in reversed(list(enumerate(scored)))}
    pieces = [*directive_pieces(directive, reading), *_principles(previous)]
    for entry in archive:
        value = 1.0
        if entry.utility is not None and len(scored) > 1:
            rank = ranks[entry.utility] / (len(scored) - 1)
            value += 3.0 * abs(2.0 * rank - 1.0)
        forms = [Form(headline(entry), 0.7, "its diagnosis")]
        if entry.reflection is not None:
            effects = "; ".join(f"{item.mechanism}: {item.effect.value}" for item in entry.reflection.mechanisms)
            full = f"{headline(entry)}\nparents: {', '.join(entry.parents) or 'none'}\n{entry.reflection.diagnosis}\n{effects}"
            forms.insert(0, Form(full.rstrip()))
        else:
            forms = [Form(headline(entry))]
        pieces.append(Piece(f"candidate {entry.name}", "a candidate of the archive", tuple(forms), value))
    return _prompt(Role.PRINCIPLES, pieces, budget, estimate)


def design_text(design: Design) -> str:
    """A proposal as text: all of a draft, or what a Candidate keeps of it."""
    lines = [f"title: {design.title}", f"hypothesis: {design.hypothesis}"]
    if isinstance(design, Proposal):
        lines += [f"mechanisms it changes: {', '.join(design.mechanisms) or 'not named'}"]
    else:
        lines += [
            f"mechanism {item.name} ({item.family.value}; off at {item.hyperparameter} = {item.off:g})"
            f"{' [changed]' if item.name in design.changed else ''}: {item.claim}\n  computes: {item.computation}"
            for item in design.mechanisms
        ]
        lines += [
            f"hyperparameter {item.name} = {item.default:g} in [{item.low:g}, {item.high:g}]: {item.description}"
            for item in design.hyperparameters
        ]
    lines += [f"expected effect: {design.expected_effect}", f"rationale: {design.rationale}"]
    return "\n".join(lines)


def _design(design: Design) -> Piece:
    return Piece("proposal", "the proposal", (Form(design_text(design)),), 12.0, True)


def _proposed(exhibit: Exhibit) -> str:
    if exhibit.proposal is None:
        return headline(exhibit.entry)
    return f"{headline(exhibit.entry)}\n{design_text(exhibit.proposal)}"


def _finding(item: CheckResult) -> str:
    hint = f"\nhint: {item.hint}" if item.hint else ""
    return f"{item.status} {item.name}: {item.evidence}{hint}"


def _principles(principles: Principles | None) -> list[Piece]:
    if principles is None:
        return []
    return [
        Piece(
            f"principle {number}",
            "a principle drawn from the archive",
            (
                Form(
                    f"{item.statement}\nsupports: {', '.join(item.supports)}; contradicts: {', '.join(item.contradicts) or 'none'}"
                ),
                Form(item.statement, 0.8, "its candidates"),
            ),
            3.5,
        )
        for number, item in enumerate(principles.principles, 1)
    ]


def _paper_first(pieces: list[Piece], source: str) -> list[Piece]:
    """The paper that a direction names becomes required: without it the direction says nothing."""
    return [
        Piece(piece.key, piece.kind, piece.forms, 9.0, True) if piece.key == f"paper {source}" else piece
        for piece in pieces
    ]


def _prompt(
    role: Role, pieces: Sequence[Piece], budget: int, estimate: Estimate, values: Mapping[str, Any] | None = None
) -> Prompt:
    """Fit the pieces, render, count."""
    fixed = dict(values or {})
    bare = render(role, {**fixed, "placed": (), "omitted": 0}, ())
    overhead = sum(estimate(message.content) for message in bare) + _SLACK

    def cost(piece: Piece, form: Form) -> int:
        return estimate(block(Placed(piece, form), _TAG)) + estimate("\n\n")

    context = fit(pieces, budget, cost, overhead=overhead)
    texts = [text for item in context.placed for text in (item.form.text, item.piece.key, item.piece.why)]
    messages = render(role, {**fixed, "placed": context.placed, "omitted": len(context.omitted)}, texts)
    return Prompt(
        role=role,
        version=prompt_version(role),
        messages=messages,
        answer=ANSWERS[role],
        tokens=sum(estimate(message.content) for message in messages),
        shortened=context.shortened,
        omitted=context.omitted,
    )
