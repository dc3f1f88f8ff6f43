"""Candidates as pieces of a context: z, rho, tau, y and r of the paper, in forms that lose the dispensable first.

An :class:`Exhibit` is an archive entry with what slim records leave out: the proposal's words and the code.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from poise_lib.archive.entry import Entry
from poise_lib.names import METRIC_OVERALL
from poise_lib.prompts.context import Form, Piece
from poise_lib.resources.base import Model
from poise_lib.resources.candidate import Candidate, Proposal


class Tier(StrEnum):
    """Why a reference is shown: the tiers of the paper's phase I."""

    PARETO = "Pareto"
    COMPLEMENTARY = "complementary"
    EXPLORATORY = "exploratory"


TIER_REASONS = {
    Tier.PARETO: "on the Pareto frontier of the archive: among the strongest there are",
    Tier.COMPLEMENTARY: "built most differently from the parent among the stronger half: something to cross with",
    Tier.EXPLORATORY: "sampled outside the parent's lineage: another way of thinking",
}
_TIER_VALUES = {Tier.PARETO: 6.0, Tier.COMPLEMENTARY: 5.0, Tier.EXPLORATORY: 4.0}


class Exhibit(Model):
    """A finished candidate with all that a prompt may show of it."""

    entry: Entry
    proposal: Proposal | None = None
    source: str | None = None


def exhibit_of(candidate: Candidate, entry: Entry) -> Exhibit:
    """The exhibit of a candidate; ``entry`` is its slim record (:func:`poise_lib.archive.convert.entries`)."""
    implementation = candidate.status.implementation
    source = implementation.source if implementation is not None else candidate.spec.source
    return Exhibit(entry=entry, proposal=candidate.spec.proposal, source=source)


@dataclass(frozen=True, slots=True)
class Reference:
    """An exhibit in one of the context tiers."""

    exhibit: Exhibit
    tier: Tier


def parent_pieces(parent: Exhibit) -> list[Piece]:
    """The parent: its record (required, its trajectory may shrink), and its code (required where there is one)."""
    name = parent.entry.name
    pieces = [
        Piece(
            key=f"parent {name}",
            kind="the parent",
            forms=tuple(_records(parent, reflection=True)),
            value=12.0,
            required=True,
            why="the algorithm to improve on",
        )
    ]
    if parent.source:
        pieces.append(
            Piece(f"code of {name}", "the parent's code", (Form(parent.source.rstrip()),), 10.0, required=True)
        )
    return pieces


def reference_pieces(references: Sequence[Reference], parent: Entry) -> list[Piece]:
    """References by tier, each with the reason why it is shown; they lose code first, then trajectories, then words."""
    pieces = []
    for reference in references:
        exhibit, entry = reference.exhibit, reference.exhibit.entry
        forms = _records(exhibit, reflection=True)
        if exhibit.source:
            code = f"{forms[0].text}\ncode:\n{exhibit.source.rstrip()}"
            shorter = [Form(form.text, 0.75 * form.share, _also("code", form.left_out)) for form in forms]
            forms = [Form(code, 1.0), *shorter]
        forms.append(Form(headline(entry), 0.25, "all but its headline"))
        why = f"{reference.tier.value} tier: {TIER_REASONS[reference.tier]}"
        if entry.utility is not None and parent.utility is not None:
            why += f"; utility {entry.utility - parent.utility:+.2f} against the parent"
        pieces.append(
            Piece(f"reference {entry.name}", "a reference", tuple(forms), _TIER_VALUES[reference.tier], why=why)
        )
    return pieces


def history_pieces(entries: Iterable[Entry], parent: Entry, shown: Iterable[str] = ()) -> list[Piece]:
    """What has been tried and failed or fallen behind, so that it is not tried again; the nearest to the parent count most.

    Args:
        entries: the whole archive.
        parent: where the next candidate starts.
        shown: names of candidates that stand in the context anyway.
    """
    hidden = {parent.name, *shown}
    pieces = []
    for entry in entries:
        fell = entry.utility is not None and parent.utility is not None and entry.utility < parent.utility
        if entry.name in hidden or not (entry.at_fault or fell):
            continue
        kin = parent.name in entry.parents or bool(set(entry.parents) & set(parent.parents))
        common = len(set(entry.mechanisms) & set(parent.mechanisms))
        lesson = _lesson(entry)
        short = Form(headline(entry), 0.6, "its lesson")
        forms = (Form(f"{headline(entry)}\n{lesson}"), short) if lesson else (Form(headline(entry)),)
        value = 1.0 + (1.5 if kin else 0.0) + 0.25 * min(common, 4)
        pieces.append(Piece(f"tried {entry.name}", "what has been tried and did not work", forms, value))
    return pieces


def archive_pieces(entries: Iterable[Entry], words: Iterable[str]) -> list[Piece]:
    """A line for each candidate of the archive, for judging novelty; those that share words with a draft count most."""
    wanted = word_set(words)
    pieces = []
    for entry in entries:
        own = word_set((entry.title, *entry.mechanisms, *(part.kind for part in entry.composition)))
        alike = len(own & wanted) / max(1, len(own | wanted))
        pieces.append(Piece(f"archive {entry.name}", "the archive", (Form(headline(entry)),), 0.5 + 4.0 * alike))
    return pieces


def word_set(texts: Iterable[str]) -> frozenset[str]:
    """Words of at least three letters, lower case."""
    letters = (letter if letter.isalnum() else " " for text in texts for letter in (*text.casefold(), " "))
    return frozenset(word for word in "".join(letters).split() if len(word) >= 3)


def headline(entry: Entry) -> str:
    """One line: name, title, mechanisms, and how it ended."""
    parts = [f"{entry.name}: {entry.title or 'untitled'}"]
    if entry.mechanisms:
        parts.append(f"changes {', '.join(entry.mechanisms)}")
    parts.append(
        f"utility {entry.utility:.2f}" if entry.utility is not None else f"{entry.phase.value} ({entry.reason})"
    )
    return "; ".join(parts)


def _lesson(entry: Entry) -> str:
    if entry.reflection is None:
        return ""
    advice = "; ".join(f"{item.action} {item.kind or item.slot}: {item.reason}" for item in entry.reflection.advice[:3])
    return entry.reflection.diagnosis[:600] + (f"\nadvice: {advice}" if advice else "")


def _records(exhibit: Exhibit, *, reflection: bool) -> list[Form]:
    """Proposal, metrics, trajectory and reflection; shorter forms keep the metrics and lose points of the trajectory."""
    entry = exhibit.entry
    core = [headline(entry), *_proposal(exhibit.proposal), *_composition(entry), *_metrics(entry)]
    said = _reflection(entry) if reflection else []
    full = _trajectory(entry, ("first", "last", "low", "high"))
    ends = _trajectory(entry, ("first", "last"))
    forms = [Form("\n".join([*core, *full, *said]))]
    if full != ends:
        forms.append(Form("\n".join([*core, *ends, *said]), 0.9, "the lows and highs of its trajectory"))
    if full:
        forms.append(Form("\n".join([*core, *said]), 0.75, "its trajectory"))
    brief = [headline(entry), *_metrics(entry), *said[:1]]
    if len(brief) < len(core) + len(said):
        forms.append(Form("\n".join(brief), 0.5, "its trajectory and the words of its proposal"))
    return forms


def _proposal(proposal: Proposal | None) -> list[str]:
    if proposal is None:
        return []
    told = {
        "hypothesis": proposal.hypothesis,
        "expected effect": proposal.expected_effect,
        "rationale": proposal.rationale,
    }
    return [f"{name}: {text}" for name, text in told.items() if text]


def _composition(entry: Entry) -> list[str]:
    parts = [
        f"{part.slot}={part.kind}"
        + (f"({', '.join(f'{k}={v:g}' for k, v in part.parameters.items())})" if part.parameters else "")
        for part in entry.composition
    ]
    return [f"composition: {'; '.join(parts)}"] if parts else []


def _metrics(entry: Entry) -> list[str]:
    order = sorted(entry.metrics, key=lambda name: (name != METRIC_OVERALL, name))
    return [f"metrics: {', '.join(f'{name} {entry.metrics[name]:.2f}' for name in order)}"] if order else []


def _trajectory(entry: Entry, parts: tuple[str, ...]) -> list[str]:
    """``metric first 0.5 last 0.2``: the digest of tau, a metric a line."""
    metrics = sorted({name.rpartition(".")[0] for name in entry.trajectory})
    lines = []
    for metric in metrics:
        values = [
            f"{part} {entry.trajectory[f'{metric}.{part}']:.4g}"
            for part in parts
            if f"{metric}.{part}" in entry.trajectory
        ]
        if values:
            lines.append(f"  {metric}: {', '.join(values)}")
    return ["trajectory:", *lines] if lines else []


def _reflection(entry: Entry) -> list[str]:
    found = entry.reflection
    if found is None:
        return []
    lines = [f"reflection: {found.diagnosis}"]
    lines += [f"  {item.mechanism}: {item.effect.value}; {item.note}" for item in found.mechanisms]
    lines += [f"  {item.action} {item.kind or item.slot} ({item.strength:.2f}): {item.reason}" for item in found.advice]
    return lines


def _also(first: str, second: str) -> str:
    return f"its {first}, {second}" if second else f"its {first}"
