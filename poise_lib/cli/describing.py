"""``poise describe`` as text: sections of one object, long texts wrapped, code with line numbers, all of it cleaned."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence

import click

from poise_lib.cli import own_suite
from poise_lib.cli.lineage import TreeNode
from poise_lib.cli.money import dollars, gpu_hours, gpu_line, long_line, tokens
from poise_lib.cli.objective import confirmed_lines, counting, formula, metric_lines, told
from poise_lib.cli.report import verdict_sentence
from poise_lib.cli.tables import rows
from poise_lib.cli.text import columns, duration, number, signed
from poise_lib.plain import clean
from poise_lib.resources import Candidate, Evaluation, Search
from poise_lib.resources.candidate import Reflection, SelectionTerms, Verification

_WRAP = 100
"""Letters on a line of a long text, where the terminal has room for them."""


def _room(indent: int) -> int:
    return max(20, min(_WRAP, columns(_WRAP + 16) - indent))


def describe_candidate(
    item: Candidate, node: TreeNode, evaluations: Sequence[Evaluation], *, source: bool = True
) -> list[str]:
    """Everything that is known of a candidate; ``node`` is its place in the lineage."""
    proposal, status = item.spec.proposal, item.status
    lines = _heading(f"{item.metadata.name}  {clean(proposal.title)}")
    lines += _fields(
        {
            "Phase": status.phase.value + (f" ({clean(status.reason)})" if status.reason else ""),
            "Message": status.message,
            "Search": item.spec.search,
            "Round": f"{item.spec.round}, slot {item.spec.slot}, depth {node.depth}",
            "Parents": ", ".join(item.spec.parents) or "none: it is a root",
            "Children": ", ".join(child.name for child in node.children) or "none",
            "Utility": f"{number(status.utility)}{_against(node)}" if status.utility is not None else "",
            "Verdict": node.verdict.value if node.verdict else "",
        }
    )
    lines += _section("Proposal")
    lines += _fields(
        {
            "Hypothesis": proposal.hypothesis,
            "Expected": proposal.expected_effect,
            "Rationale": proposal.rationale,
            "Mechanisms": ", ".join(proposal.mechanisms),
            "Composition": "; ".join(
                f"{part.slot}={part.kind}" + (f"({_pairs(part.parameters)})" if part.parameters else "")
                for part in proposal.composition
            ),
        }
    )
    if proposal.screening:
        screening = proposal.screening
        lines += _fields(
            {
                "Screening": f"{screening.score:.2f} = consistency {screening.consistency:.2f}, feasibility "
                f"{screening.feasibility:.2f}, novelty {screening.novelty:.2f}, gain {screening.expected_gain:.2f}",
                "Reasons": "; ".join(screening.reasons),
            }
        )
    lines += _by_a_model(item)
    lines += _verification(status.verification) + _scores(status.metrics, evaluations)
    if status.trajectory:
        lines += [*_section("Training (advisory: written beside candidate code)"), *_table_of(status.trajectory)]
    lines += _reflection(status.reflection) + _selections(status.selections)
    code = status.implementation.source if status.implementation else item.spec.source
    if source and code:
        revision = f", revision {status.implementation.revision}" if status.implementation else ""
        lines += [*_section(f"Source{revision}"), *numbered(code)]
    return lines


def describe_search(item: Search) -> list[str]:
    """A search: what it is after, where it stands, its best and frontier, the parents of the current round."""
    status, spec = item.status, item.spec
    lines = _heading(item.metadata.name)
    counts = status.counts
    lines += _fields(
        {
            "Phase": status.phase.value + (f" ({status.stop_reason})" if status.stop_reason else ""),
            "Message": status.message,
            "Directive": spec.directive,
            "Objective": told(item),
            "Utility": formula(counting(item)),
            "Suite": own_suite.told(item),
            "Baseline": spec.baseline.algorithm or "a module in the manifest",
            "Budget": f"{spec.budget.candidates} candidates, {spec.budget.concurrent} at once"
            + (f", deadline {spec.budget.deadline}" if spec.budget.deadline else "")
            + (f", patience {spec.budget.patience} rounds" if spec.budget.patience else ""),
            "Seed": str(spec.seed),
            "Started": status.start_time or "",
            "Ended": status.completion_time or "",
            "Round": str(status.round),
            "Candidates": f"{counts.total}: {counts.archived} archived, {counts.rejected} rejected, "
            f"{counts.failed} failed, {counts.active} active",
            "Frontier": ", ".join(status.frontier),
            "Digest": status.digest,
        }
    )
    if notes := own_suite.contamination(item):
        lines += [
            *_section("Contamination: what may be known of the problems before training"),
            *_wrapped(map(clean, notes), 2),
        ]
    if status.best:
        best = status.best
        lines += _section("Best")
        lines += _fields(
            {
                "Candidate": f"{best.candidate}  {clean(best.title)}",
                "Utility": f"{number(best.utility)} against {number(best.baseline_utility)} of the baseline",
            }
        )
        lines += _wrapped(metric_lines(best, "the baseline"), 2)
        confirmed = [*((best.confirmation,) if best.confirmation else ()), *best.others]
        for found in confirmed:
            lines += [f"  {verdict_sentence(found, found.candidate, 'the baseline')}"]
            lines += [f"    {line}" for line in confirmed_lines(found)]
    if status.selection:
        chosen = status.selection
        lines += _section(f"Parents of round {chosen.round}")
        table = [["PARENT", "SCORE", "PARETO", "PERFORMANCE", "DIVERSITY", "GP", "REFERENCES"]]
        table += [[choice.name, *_terms(choice.terms), ", ".join((*choice.pareto, *choice.complementary, *choice.exploratory))]
                  for choice in chosen.parents]  # fmt: skip
        lines += _indent(rows(table, [False, True, True, True, True, True, False]))
    return lines + _model(item) + _gpus(item) + _principles(item)


def _gpus(item: Search) -> list[str]:
    """GPU hours, of an engine that uses any."""
    gpus, cap = item.status.gpus, item.spec.budget.gpu_hours
    if gpus is None and cap is None:
        return []
    spent = gpu_line(gpus, cap) if gpus is not None else "nothing yet"
    return [*_section("GPUs"), *_fields({"Cap": f"{gpu_hours(cap)} GPU hours" if cap else "none", "Spent": spent})]


def _model(item: Search) -> list[str]:
    """The language model: which one, and what it has cost."""
    settings, ledger, budget = item.spec.proposer.llm, item.status.ledger, item.spec.budget
    if settings is None and ledger is None:
        return []
    caps = [f"{tokens(budget.llm_tokens)} tokens"] if budget.llm_tokens is not None else []
    caps += [dollars(budget.llm_cost_usd)] if budget.llm_cost_usd is not None else []
    values: dict[str, str] = {}
    if settings is not None:
        where = settings.base_url or "the environment's OPENAI_BASE_URL, else OpenAI's own"
        values = {"Model": settings.model, "Endpoint": where}
    values |= {
        "Caps": " and ".join(caps) or "none",
        "Spent": long_line(ledger) if ledger is not None else "nothing yet",
    }
    lines = [*_section("Language model"), *_fields(values)]
    if ledger is not None and ledger.open:
        table = [["SET ASIDE FOR", "TOKENS", "US DOLLARS"]]
        table += [
            [clean(one.task), f"{one.tokens:,}", f"{one.usd:.4f}" if one.usd is not None else "-"]
            for one in ledger.open
        ]
        lines += _indent(rows(table, [False, True, True]))
    return lines


def _principles(item: Search) -> list[str]:
    """What the archive teaches, each rule with the candidates that speak for and against it."""
    status = item.status
    if not status.principles:
        return []
    lines = _section(f"Principles, drawn after round {status.distilled}")
    for count, principle in enumerate(status.principles, 1):
        lines += _wrapped((f"{count}. {principle.statement}",), 2)
        told = {"for": ", ".join(principle.supports), "against": ", ".join(principle.contradicts)}
        told["holds"] = principle.conditions
        lines += _wrapped((f"{name}: {text}" for name, text in told.items() if text), 5)
    return lines


def _by_a_model(item: Candidate) -> list[str]:
    """What a language model left: its whole design, the prompts' version, repaired code, exchanges; as digests."""
    proposal, status = item.spec.proposal, item.status
    values = {
        "Design": proposal.design or "",
        "Prompts": (proposal.prompts or "").removeprefix("sha256:")[:12],
        "Proposed in": ", ".join(proposal.transcripts or ()),
        "Discussed in": ", ".join(status.transcripts),
    }
    if not any(values.values()) and not status.revisions:
        return []
    lines = [*_section("By a language model (digests in the artifact store)"), *_fields(values)]
    for old in status.revisions:
        report = f", its report {old.report}" if old.report else ""
        lines += _wrapped((f"revision {old.revision}, which was repaired: {old.source}{report}",), 2)
    return lines


def describe_evaluation(item: Evaluation) -> list[str]:
    """A training run: settings, scores, its learning curve down-sampled."""
    status = item.status
    lines = _heading(item.metadata.name)
    lines += _fields(
        {
            "Phase": status.phase.value + (f" ({clean(status.reason)})" if status.reason else ""),
            "Message": status.message,
            "Candidate": item.spec.candidate,
            "Fidelity": item.spec.fidelity.value,
            "Seed": str(item.spec.seed),
            "Suite": f"{item.spec.suite} on {item.spec.engine.value}",
            "Training": _took(status.train_seconds),
            "Scoring": _took(status.score_seconds),
            "Lost": _took(status.lost_seconds),
            "Weights": status.policy or "",
            "Trajectory": status.trajectory_artifact or "",
            "Records": status.records or "",
        }
    )
    lines += _scores(status.metrics, ())
    if status.trajectory:
        names = [clean(name) for name in dict.fromkeys(name for point in status.trajectory for name in point)]
        table = [names] + [
            [f"{point[name]:.4g}" if name in point else "" for name in names] for point in status.trajectory
        ]
        lines += [*_section("Learning curve (advisory: written beside candidate code)")]
        lines += _indent(rows(table, [True] * len(names)))
    return lines


def numbered(source: str) -> list[str]:
    """Code with line numbers."""
    code = clean(source.rstrip("\n"), lines=True).split("\n")
    digits = len(str(len(code)))
    return [f"  {click.style(f'{index:>{digits}}', dim=True)}  {line}".rstrip() for index, line in enumerate(code, 1)]


def _heading(text: str) -> list[str]:
    return [click.style(clean(text), bold=True)]


def _section(title: str) -> list[str]:
    return ["", click.style(title, bold=True)]


def _fields(values: Mapping[str, str]) -> list[str]:
    """``Name:  text``, wrapped with a hanging indent; empty ones are left out."""
    lines = []
    for name, value in values.items():
        text = clean(value)
        if not text:
            continue
        wrapped = textwrap.wrap(text, _room(16), break_long_words=False, break_on_hyphens=False) or [""]
        lines.append(f"  {name + ':':<13} {wrapped[0]}")
        lines += [" " * 16 + line for line in wrapped[1:]]
    return lines


def _against(node: TreeNode) -> str:
    parts = []
    if node.gain is not None:
        parts.append(f"{signed(node.gain)} over its parent")
    if node.over_baseline is not None and node.depth > 1:
        parts.append(f"{signed(node.over_baseline)} over the baseline")
    return f" ({', '.join(parts)})" if parts else ""


def _verification(report: Verification | None) -> list[str]:
    if report is None:
        return []
    verdict = click.style("passed", fg="green") if report.passed else click.style("failed", fg="red")
    lines = [*_section("Verification"), f"  {verdict}, {report.checks} checks, revision {report.revision}"]
    for found in report.findings:
        lines.append(
            f"  {click.style(clean(found.status), fg='red' if found.status == 'failed' else 'yellow')} {clean(found.name)}"
        )
        lines += _wrapped((found.evidence, f"hint: {found.hint}" if found.hint else ""), 4)
    if report.isolation:
        lines += _wrapped((f"isolation: {', '.join(report.isolation)}",), 2)
    return lines


def _scores(metrics: Mapping[str, float], evaluations: Sequence[Evaluation]) -> list[str]:
    if not metrics and not evaluations:
        return []
    lines = _section("Scores")
    runs = [run for run in evaluations if run.status.metrics]
    names = list(dict.fromkeys([*metrics, *(name for run in runs for name in run.status.metrics)]))
    if runs:
        table = [["METRIC", "MEAN", *(f"{run.spec.fidelity.value}/{run.spec.seed}" for run in runs)]]
        table += [
            [clean(name), number(metrics.get(name)), *(number(run.status.metrics.get(name)) for run in runs)]
            for name in names
        ]
        return lines + _indent(rows(table, [False, True, *(True for _ in runs)]))
    return lines + _table_of(metrics)


def _table_of(values: Mapping[str, float]) -> list[str]:
    return _indent(rows([[clean(name), f"{value:.4g}"] for name, value in values.items()], [False, True]))


def _reflection(found: Reflection | None) -> list[str]:
    if found is None:
        return []
    lines = [*_section("Reflection"), *_wrapped((found.diagnosis,), 2)]
    if found.findings:
        lines += _fields({"Findings": ", ".join(found.findings)})
    for item in found.evidence:
        reference = f" (parent {item.reference:.4g})" if item.reference is not None else ""
        lines += _wrapped((f"- {item.metric} {item.value:.4g}{reference}{': ' + item.note if item.note else ''}",), 2)
    for effect in found.mechanisms:
        lines += _wrapped(
            (f"{effect.mechanism}: {effect.effect.value.lower()}{'; ' + effect.note if effect.note else ''}",), 2
        )
    for advice in found.advice:
        what = f"{advice.slot}={advice.kind}" if advice.kind else advice.slot
        lines += _wrapped((f"{advice.action.lower()} {what} (strength {advice.strength:.2f}): {advice.reason}",), 2)
    return lines


def _selections(selections: Sequence[SelectionTerms]) -> list[str]:
    if not selections:
        return []
    table = [["ROUND", "SCORE", "PARETO", "PERFORMANCE", "DIVERSITY", "GP"]]
    table += [[str(item.round), *_terms(item)] for item in selections]
    return [*_section("Chosen as a parent"), *_indent(rows(table, [True] * 6))]


def _terms(item: SelectionTerms) -> list[str]:
    return [f"{value:.3f}" for value in (item.score, item.pareto, item.performance, item.diversity, item.bayes)]


def _pairs(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name}={value:g}" for name, value in values.items())


def _wrapped(texts: Iterable[str], indent: int) -> list[str]:
    space = " " * indent
    return [space + line for text in texts if text for line in textwrap.wrap(clean(text), _room(indent))]


def _indent(text: str) -> list[str]:
    return ["  " + line for line in text.splitlines()]


def _took(seconds: float | None) -> str:
    return duration(seconds) if seconds is not None else ""
