"""Wording: titles, hypotheses and reasons of proposals, in sentences that name parent, change and evidence."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from poise_lib.archive.entry import Entry
from poise_lib.proposal.catalogue import GRAMMAR
from poise_lib.proposal.composition import Difference, Retuning
from poise_lib.proposal.credit import SATURATION, Credit
from poise_lib.proposal.grammar import Kind
from poise_lib.proposal.moves import Move, MoveType
from poise_lib.resources.candidate import SelectionTerms

TITLE_LENGTH = 96
TEXT_LENGTH = 2000
_NUMERALS = ("", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X")


def title(change: Difference, taken: Collection[str]) -> str:
    """A short name of the change, such as "Valid-subset baseline + decoupled clip"; never one of ``taken``."""
    parts = [GRAMMAR.kinds[name].label for name in change.added]
    parts += [_retuned_label(step) for step in _strongest_per_kind(change.retuned)]
    if not parts:
        parts = [f"no {GRAMMAR.kinds[name].label}" for name in change.removed]
    text = " + ".join(parts[:3])
    if len(text) > TITLE_LENGTH:
        text = parts[0][:TITLE_LENGTH]
    text = text[:1].upper() + text[1:]
    number = 1
    while (candidate := f"{text} {_numeral(number)}".strip()) in taken:
        number += 1
    return candidate


def hypothesis(parent: Entry, change: Difference) -> str:
    """What is changed in the parent and the claims behind it."""
    sentences = [f"Starting from {_named(parent)}, this algorithm {_change_phrase(change)}."]
    sentences += [GRAMMAR.kinds[name].claim for name in change.added]
    for step in _strongest_per_kind(change.retuned):
        kind = GRAMMAR.kinds[step.kind]
        verb = "Raising" if step.after > step.before else "Lowering"
        sentences.append(
            f"{verb} {step.parameter} from {step.before:g} to {step.after:g} tests how much of this is needed: "
            f"{_lower(kind.claim)}"
        )
    for name in _unreplaced(change):
        kind = GRAMMAR.kinds[name]
        sentences.append(f"Going without {kind.label} tests whether this is needed at all: {_lower(kind.claim)}")
    return _bounded(sentences)


def expected_effect(change: Difference) -> str:
    """What should be seen if the hypothesis holds: of what is new, of what is turned, and of what is gone."""
    sentences = []
    if change.added:
        sentences.append(f"If the hypothesis holds, {_effects(change.added)}.")
    if change.retuned:
        kinds = [step.kind for step in _strongest_per_kind(change.retuned)]
        sentences.append(f"If the setting matters, this is seen to another degree: {_effects(kinds)}.")
    if gone := _unreplaced(change):
        sentences.append(f"If what is gone was needed, this is lost: {_effects(gone)}.")
    return _bounded(sentences)


def rationale(
    parent: Entry,
    terms: SelectionTerms,
    moves: Sequence[Move],
    change: Difference,
    credit: Credit,
    references: dict[str, Entry],
) -> str:
    """Which evidence of the archive led to the change."""
    utility = f" with utility {parent.utility:.2f}" if parent.utility is not None else ""
    chosen_by = (
        f"Pareto {terms.pareto:.2f}, performance {terms.performance:.2f}, "
        f"diversity {terms.diversity:.2f}, surrogate {terms.bayes:.2f}"
    )
    sentences = [f"{_named(parent)}{utility} was selected at {terms.score:.2f} ({chosen_by})."]
    if parent.reflection is not None and parent.reflection.findings:
        sentences.append(f"Its training showed {', '.join(parent.reflection.findings)}.")
    for move in moves:
        sentences += _move_evidence(move, credit, references)
    collateral = [
        name for name in change.removed if name not in {move.kind for move in moves} | {move.replaced for move in moves}
    ]
    if collateral:
        labels = ", ".join(GRAMMAR.kinds[name].label for name in collateral)
        sentences.append(f"{labels[:1].upper()}{labels[1:]} had to go, because it does not fit the change.")
    return _bounded(sentences)


def _move_evidence(move: Move, credit: Credit, references: dict[str, Entry]) -> list[str]:
    """Sentences on where a move comes from and what is known of its kind."""
    kind = GRAMMAR.kinds[move.kind]
    sentences = []
    if move.type is MoveType.CROSS and move.reference in references:
        other = references[move.reference]
        utility = f", utility {other.utility:.2f}" if other.utility is not None else ""
        sentences.append(f"From {_named(other)}, a reference of the {move.tier} tier{utility}, it takes: {kind.label}.")
    sentences.append(_credit_sentence(kind, move, credit))
    asked = credit.wishes.get(kind.name, 0.0)
    if asked:
        way = "It is there to serve" if asked > 0 else "It works against"
        sentences.append(f"{way} what the objective asks for beside the overall score.")
    leaning = credit.leaning(kind.slot.value, kind.name)
    reason = credit.reasons.get((kind.slot.value, kind.name)) or credit.reasons.get((kind.slot.value, ""))
    if abs(leaning) >= 0.05 and reason:
        wish = "in favour" if leaning > 0 else "against it"
        sentences.append(f"Reflections speak {wish}: {reason.rstrip('.')}.")
    return sentences


def _credit_sentence(kind: Kind, move: Move, credit: Credit) -> str:
    estimate = credit.effect(kind.name, move.parameter)
    subject = f"{move.parameter} ({kind.label})" if move.parameter else kind.label
    if estimate.observations == 0:
        return f"Evidence on {subject}: none yet."
    times = "one change" if estimate.observations == 1 else f"{estimate.observations} changes"
    return (
        f"Evidence on {subject}: {times}, estimated effect {SATURATION * estimate.mean:+.1f} "
        f"± {SATURATION * estimate.deviation:.1f} points."
    )


def _change_phrase(change: Difference) -> str:
    parts = []
    if change.added:
        parts.append(f"brings in {_listed([GRAMMAR.kinds[name].label for name in change.added])}")
    if change.removed:
        parts.append(f"gives up {_listed([GRAMMAR.kinds[name].label for name in change.removed])}")
    if change.retuned:
        steps = [f"{step.parameter} from {step.before:g} to {step.after:g}" for step in change.retuned]
        parts.append(f"moves {_listed(steps)}")
    return _listed(parts)


def _unreplaced(change: Difference) -> list[str]:
    """Removed kinds whose slot nothing new fills: their loss is an experiment of its own."""
    filled = {GRAMMAR.kinds[name].slot for name in change.added}
    return [name for name in change.removed if GRAMMAR.kinds[name].slot not in filled]


def _effects(kinds: Sequence[str]) -> str:
    """What is seen where these kinds act, each effect once."""
    return "; ".join(dict.fromkeys(GRAMMAR.kinds[name].effect for name in kinds))


def _strongest_per_kind(retuned: Sequence[Retuning]) -> list[Retuning]:
    strongest: dict[str, Retuning] = {}
    for step in retuned:
        if step.kind not in strongest or abs(step.shift) > abs(strongest[step.kind].shift):
            strongest[step.kind] = step
    return list(strongest.values())


def _retuned_label(step: Retuning) -> str:
    return f"{GRAMMAR.kinds[step.kind].label} at {step.parameter} {step.after:g}"


def _named(entry: Entry) -> str:
    return f"{entry.title} ({entry.name})" if entry.title and entry.title != entry.name else entry.name


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}" if parts else "changes nothing"


def _lower(sentence: str) -> str:
    """A sentence to go on with after a colon; names such as "KL" stay."""
    return sentence if sentence[1:2].isupper() else sentence[:1].lower() + sentence[1:]


def _numeral(number: int) -> str:
    return _NUMERALS[number - 1] if number <= len(_NUMERALS) else str(number)


def _bounded(sentences: Sequence[str]) -> str:
    """Sentences as one text, as many as fit."""
    text = ""
    for sentence in sentences:
        if len(text) + len(sentence) + 1 <= TEXT_LENGTH:
            text = f"{text} {sentence}".strip()
    return text
