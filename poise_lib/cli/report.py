"""The end of ``poise run``: what was found, how sure that is, where it lies, what to try next."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import click

from poise_lib.cli.money import accepted, gpu_hours, gpu_line, long_line, per_candidate
from poise_lib.cli.objective import confirmed_lines, metric_lines, objective_document, objective_report
from poise_lib.cli.state import Snapshot
from poise_lib.cli.text import duration, number, plural, signed
from poise_lib.llm.errors import LLMError
from poise_lib.names import CONDITION_FAILED, CONDITION_STALLED, REASON_GPU_BUDGET_SPENT, REASON_NO_PROPOSALS
from poise_lib.plain import clean
from poise_lib.resources import Candidate, Search
from poise_lib.resources.base import ConditionStatus
from poise_lib.resources.candidate import CandidatePhase
from poise_lib.resources.search import Best, ConfirmedCandidate, SearchPhase, Verdict


def report_lines(snapshot: Snapshot, manifest: str | None = None) -> list[str]:
    """The report below the tree; ``manifest`` is the file that was run, for the advice."""
    search = snapshot.search
    lines = [
        _how_it_ended(search),
        *_why_no_more(search),
        *objective_report(search),
        "",
        *_result(snapshot),
        *_model(snapshot),
        *_gpus(snapshot),
    ]
    lines += ["", *_where(snapshot), "", *_next(snapshot, manifest)]
    return [line.rstrip() for line in lines]


def report_document(snapshot: Snapshot) -> dict[str, Any]:
    """The same for programs: the search as it ended, the baseline, the canonical digest, where it lies."""
    search = snapshot.search
    return {
        "search": search.metadata.name,
        "phase": search.status.phase.value,
        "stopReason": search.status.stop_reason,
        "message": search.status.message,
        "state": str(snapshot.path),
        "digest": search.status.digest,
        "rounds": search.status.round,
        "counts": search.status.counts.to_document(),
        **objective_document(search),
        "best": search.status.best.to_document() if search.status.best else None,
        "frontier": list(search.status.frontier),
        **_spent(snapshot),
    }


def model_trouble(search: Search) -> LLMError | None:
    """Why the language model could not be used, if that is what ended or holds the search."""
    ledger = search.status.ledger
    if search.status.phase is SearchPhase.COMPLETE or (ledger is not None and ledger.fallback):
        return None
    for condition in search.status.conditions:
        wrong = condition.type in (CONDITION_FAILED, CONDITION_STALLED)
        if wrong and condition.status is ConditionStatus.TRUE and condition.reason.startswith("LLM"):
            told = (condition.message or search.status.message or "no message").rstrip(".")
            return LLMError(
                f"search {search.metadata.name} stopped ({condition.reason}): {told}. Once that is mended the same command "
                "goes on; everything finished is kept"
            )
    return None


def _spent(snapshot: Snapshot) -> dict[str, Any]:
    """What the model and the GPUs have cost, for programs; nothing where none was asked, and none was used."""
    ledger, gpus = snapshot.search.status.ledger, snapshot.search.status.gpus
    used = {"gpus": gpus.to_document()} if gpus is not None else {}
    if ledger is None:
        return used
    count = accepted(snapshot.candidates)
    each = {"tokens": round(ledger.tokens / count), "costUSD": round(ledger.cost_usd / count, 6)} if count else None
    return {"ledger": ledger.to_document(), "perArchivedCandidate": each, **used}


def _model(snapshot: Snapshot) -> list[str]:
    ledger = snapshot.search.status.ledger
    if ledger is None:
        return []
    settings = snapshot.search.spec.proposer.llm
    name = clean(settings.model) if settings is not None else "the model"
    lines = ["", f"Asked {name}: {long_line(ledger)}."]
    if each := per_candidate(ledger, snapshot.candidates):
        lines.append(f"That is {each}.")
    return lines


def _gpus(snapshot: Snapshot) -> list[str]:
    gpus = snapshot.search.status.gpus
    if gpus is None:
        return []
    count = accepted(snapshot.candidates)
    each = (
        f", {gpu_hours(gpus.spent_hours / count)} for each of the {plural(count, 'candidate')} archived"
        if count
        else ""
    )
    return ["", f"Training and scoring: {gpu_line(gpus, snapshot.search.spec.budget.gpu_hours)}{each}."]


def verdict_sentence(found: ConfirmedCandidate, title: str, baseline: str) -> str:
    """A plain sentence on what the confirmation shows."""
    interval = f"{signed(found.difference)} points, interval {signed(found.low)} to {signed(found.high)}"
    if found.verdict is Verdict.BETTER:
        return f"{title} is better than {baseline}: {interval}."
    if found.verdict is Verdict.WORSE:
        return f"{title} is worse than {baseline}: {interval}. What the search saw in it was luck."
    return f"{title} is not shown to be better than {baseline}: {interval}, which includes no difference."


def _how_it_ended(search: Search) -> str:
    status = search.status
    counts = status.counts
    what = {
        SearchPhase.COMPLETE: "is complete",
        SearchPhase.FAILED: "has failed",
        SearchPhase.SUSPENDED: "is suspended",
    }
    head = f"Search {search.metadata.name} {what.get(status.phase, 'is ' + status.phase.value.lower())}"
    why = f" ({clean(status.stop_reason)})" if status.stop_reason else ""
    spent = _wall(search)
    parts = [f"{counts.archived} archived", f"{counts.rejected} rejected", f"{counts.failed} failed"]
    took = f", {spent} from start to end" if spent else ""
    return f"{click.style(head, bold=True)}{why}: {plural(counts.total, 'candidate')} ({', '.join(parts)}){took}."


def _why_no_more(search: Search) -> list[str]:
    """Running out of proposals is no budget that the user has set: it may be a setting that is to be mended.

    When GPU hours have run out, what was left undone, such as the confirmation, is in the message.
    """
    told = clean(search.status.message)
    heads = {REASON_NO_PROPOSALS: "Nothing more was proposed", REASON_GPU_BUDGET_SPENT: "The GPU hours are spent"}
    head = heads.get(search.status.stop_reason)
    return [f"{head}: {told}"] if head is not None else []


def _wall(search: Search) -> str:
    from datetime import datetime

    start, end = search.status.start_time, search.status.completion_time
    if not start or not end:
        return ""
    try:
        gap = datetime.fromisoformat(end.replace("Z", "+00:00")) - datetime.fromisoformat(start.replace("Z", "+00:00"))
    except (ValueError, TypeError):
        return ""
    return duration(gap.total_seconds())


def _result(snapshot: Snapshot) -> list[str]:
    best = snapshot.search.status.best
    if best is None:
        return ["No candidate was scored, so there is nothing to compare."]
    titles = {item.metadata.name: clean(item.spec.proposal.title) for item in snapshot.candidates}
    baseline = _baseline(snapshot)
    base_title = clean(baseline.spec.proposal.title) if baseline else "the baseline"
    title = titles.get(best.candidate, clean(best.title)) or best.candidate
    scores = f"{number(best.utility)} against {number(best.baseline_utility)} of {base_title}"
    lines = [f"Best on the search's own problems: {click.style(title, bold=True)} ({best.candidate}), {scores}."]
    lines += metric_lines(best, base_title)
    if baseline and best.candidate == baseline.metadata.name:
        return [*lines, "That is the baseline itself: the search found nothing that scored higher."]
    if best.confirmation is None:
        lines.append(
            "It was not confirmed on unseen seeds and problems: it was picked as the best of many, so expect less."
        )
        return lines
    return lines + _confirmation(best, best.confirmation, titles, title, base_title)


def _confirmation(
    best: Best, found: ConfirmedCandidate, titles: dict[str, str], title: str, baseline: str
) -> list[str]:
    colour = {Verdict.BETTER: "green", Verdict.NOT_SHOWN: "yellow", Verdict.WORSE: "red"}[found.verdict]
    joint = f"{best.confidence:.0%} joint level" if best.confidence else "joint level not recorded"
    corrected = f", corrected for {plural(best.corrected_for, 'candidate')}" if best.corrected_for else ""
    lines = [
        f"Confirmation, {plural(found.seeds, 'unseen seed')} and unseen problems ({joint}{corrected}):",
        "  " + click.style(verdict_sentence(found, title, baseline), fg=colour, bold=True),
        f"  Mean {number(found.mean)} against {number(found.baseline_mean)}.",
    ]
    lines += [f"  {line}" for line in confirmed_lines(found)]
    for other in best.others:
        name = titles.get(other.candidate, other.candidate)
        lines.append(f"  {verdict_sentence(other, name, baseline)} ({other.candidate})")
        lines += [f"    {line}" for line in confirmed_lines(other)]
    return lines


def _baseline(snapshot: Snapshot) -> Candidate | None:
    return next((item for item in snapshot.candidates if item.spec.round == 0 and not item.spec.parents), None)


def _where(snapshot: Snapshot) -> list[str]:
    path = snapshot.path
    rows = [
        (f"{path}/search.yaml", "the search, its best, frontier and verdicts"),
        (f"{path}/candidates/", "every candidate: idea, code, scores, reflection"),
        (f"{path}/evaluations/", "every training run: learning curve and scores"),
        (f"{path}/artifacts/", "trained weights, full trajectories, per-problem records"),
    ]
    left = max(len(row[0]) for row in rows)
    return ["Where it lies:", *(f"  {place:<{left}}  {what}" for place, what in rows)]


def _next(snapshot: Snapshot, manifest: str | None) -> list[str]:
    search, path = snapshot.search, snapshot.path
    best = search.status.best
    commands = []
    if best and best.utility != best.baseline_utility:
        commands.append(
            (f"poise describe {best.candidate} --state {path}", "why it won, or did not: code and reflection")
        )
    commands += [
        (f"poise get candidates {path} --sort utility", "all candidates, best first"),
        (f"poise plot {path}", "how the best grew"),
    ]
    if manifest and search.status.phase is not SearchPhase.FAILED:
        seed = search.spec.seed + 1
        again = f"poise run {manifest} --seed {seed} --state {search.metadata.name}-seed{seed}.poise"
        commands.append((again, "the same search from another seed"))
    left = max(len(command) for command, _ in commands)
    lines = ["What to try next:", *(f"  {command:<{left}}  {why}" for command, why in commands)]
    return lines + [f"  {hint}" for hint in _hints(snapshot)]


def _hints(snapshot: Snapshot) -> list[str]:
    """Advice that follows from how the search went."""
    search, hints = snapshot.search, []
    best = search.status.best
    found = best.confirmation if best else None
    if found is not None and found.verdict is Verdict.NOT_SHOWN and found.difference > 0:
        half = (found.high - found.low) / 2
        needed = found.seeds * (half / found.difference) ** 2
        seeds = max(found.seeds + 1, min(64, int(needed) + 1))
        if needed <= 64:
            hints.append(
                f"A difference of {signed(found.difference)} takes about {seeds} seeds: spec.evaluation.confirmation.seeds."
            )
        else:
            hints.append(
                f"A difference of {signed(found.difference)} is too small to be shown by 64 seeds; search longer instead."
            )
    ended = Counter(item.status.phase for item in snapshot.candidates)
    lost = ended[CandidatePhase.REJECTED] + ended[CandidatePhase.FAILED]
    if lost * 2 > len(snapshot.candidates):
        hints.append("More than half of the candidates never reached a score: `poise get candidates -o wide` says why.")
    return hints


def manifest_name(path: Path) -> str:
    """The manifest as a shell would take it."""
    import shlex

    return shlex.quote(str(path))
