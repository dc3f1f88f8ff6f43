"""P with a model, first half: proposals in parallel along different directions, and their screening.

arXiv:2603.23951, phase I: "N parallel candidates along diverse local directions", screened for consistency, feasibility,
novelty against the whole archive and expected gain.  Rules bound what the critic may give; scores and reasons are kept.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from poise_lib.agents.voice import Said, Voice, together
from poise_lib.archive.entry import Entry
from poise_lib.artifacts.digest import canonical_json
from poise_lib.llm.errors import LLMError, Overloaded, ServerFailed
from poise_lib.prompts import (
    Direction,
    Exhibit,
    Literature,
    Prompt,
    Reference,
    Tier,
    critic_prompt,
    directions,
    prompts_version,
    propose_prompt,
    ranked,
    rules_on,
    screening_of,
)
from poise_lib.prompts.judging import Rules
from poise_lib.prompts.responses import Critique, Principle, Principles, ProposalDraft, bounded
from poise_lib.resources.candidate import Proposal, Screening
from poise_lib.resources.search import Objective, ParentChoice
from poise_lib.resources.search_status import Principle as KeptPrinciple

_REASONS: Final = 16
"""Of a Screening."""
_LEFT_OUT: Final = 16


@dataclass(frozen=True)
class Brief:
    """What a search knows and wants, when it asks for the children of one parent."""

    choice: ParentChoice
    entries: tuple[Entry, ...]
    exhibits: tuple[Exhibit, ...]
    literature: Literature
    count: int
    seed: int
    round: int
    slot: int
    directive: str = ""
    reading: str = ""
    """What the search understands of the directive."""
    objective: Objective | None = None
    principles: tuple[KeptPrinciple, ...] = ()

    @property
    def parent(self) -> Exhibit:
        """Where the proposals start; the archive has to hold it."""
        return self._exhibit(self.choice.name)

    @property
    def references(self) -> tuple[Reference, ...]:
        """The context tiers, each candidate once, under the first that names it."""
        known = {entry.name for entry in self.entries}
        found: dict[str, Reference] = {}
        for tier, names in (
            (Tier.PARETO, self.choice.pareto),
            (Tier.COMPLEMENTARY, self.choice.complementary),
            (Tier.EXPLORATORY, self.choice.exploratory),
        ):
            for name in names:
                if name in known and name != self.choice.name:
                    found.setdefault(name, Reference(self._exhibit(name), tier))
        return tuple(found.values())

    @property
    def directions(self) -> tuple[Direction, ...]:
        """Where the proposals go, one each."""
        wanted = directions(
            self.parent,
            self.references,
            self.literature,
            self.count,
            seed=self.seed,
            round=self.round,
            slot=self.slot,
            objective=self.objective,
        )
        return tuple(wanted)

    def prompt(self, direction: Direction, *, budget: int) -> Prompt:
        """What is asked along a direction, in at most so many tokens."""
        return propose_prompt(
            self.parent,
            direction,
            references=self.references,
            archive=self.entries,
            literature=self.literature,
            directive=self.directive,
            reading=self.reading,
            objective=self.objective,
            principles=said_before(self.principles),
            budget=budget,
        )

    def _exhibit(self, name: str) -> Exhibit:
        shown = next((exhibit for exhibit in self.exhibits if exhibit.entry.name == name), None)
        return shown or Exhibit(entry=next(entry for entry in self.entries if entry.name == name))


@dataclass(frozen=True)
class Proposed:
    """Proposals, best first, and those that rules left out, with the reasons."""

    proposals: tuple[Proposal, ...]
    left_out: tuple[str, ...] = ()


async def propose(voice: Voice, brief: Brief) -> Proposed:
    """Proposals for one parent, screened.

    Raises:
        LLMError: not one proposal came; the failure that says most.
    """
    drafts, left_out = await _drafts(voice, brief)
    kept: list[tuple[Said[ProposalDraft], Rules]] = []
    for said in drafts:
        rules = rules_on(said.value, brief.entries, [other.value for other, _ in kept])
        if rules.refused:
            left_out.append(f"{said.value.title!r}: {'; '.join(rules.reasons)}")
        else:
            kept.append((said, rules))
    critiques = await together(
        [functools.partial(_criticised, voice, brief, said.value, rules) for said, rules in kept]
    )
    proposals = []
    for (said, rules), critique in zip(kept, critiques, strict=True):
        heard = critique if isinstance(critique, Said) else None
        screening = screening_of(heard.value if heard else None, rules)
        talks = [said.transcript, heard.transcript if heard else ""]
        proposals.append(_proposal(voice, said.value, screening, [digest for digest in talks if digest]))
    reasons = tuple(bounded(f"left out {reason}", 600) for reason in left_out[:_LEFT_OUT])
    order = ranked([proposal.screening for proposal in proposals if proposal.screening is not None])
    best_first = [proposals[at] for at in order]
    if best_first and reasons:
        best_first[0] = _noted(best_first[0], reasons)
    return Proposed(tuple(best_first), reasons)


async def _drafts(voice: Voice, brief: Brief) -> tuple[list[Said[ProposalDraft]], list[str]]:
    """What came, each idea once, in the order of the directions; and what was left out."""
    wanted = brief.directions
    answers = await together([functools.partial(_drafted, voice, brief, direction) for direction in wanted])
    failures = [answer for answer in answers if isinstance(answer, LLMError)]
    if len(failures) == len(answers):
        raise most_telling(failures)
    found: dict[tuple[str, frozenset[str]], Said[ProposalDraft]] = {}
    left_out = [
        f"direction {wanted[at].key}: {error}" for at, error in enumerate(answers) if isinstance(error, LLMError)
    ]
    for answer in answers:
        if isinstance(answer, Said):
            idea = (" ".join(answer.value.title.casefold().split()), frozenset(answer.value.changed))
            if idea in found:
                left_out.append(f"{answer.value.title!r}: it was proposed along another direction too")
            found.setdefault(idea, answer)
    return list(found.values()), left_out


async def _drafted(voice: Voice, brief: Brief, direction: Direction) -> Said[ProposalDraft]:
    return await voice.ask(brief.prompt(direction, budget=voice.budget), ProposalDraft)


async def _criticised(voice: Voice, brief: Brief, draft: ProposalDraft, rules: Rules) -> Said[Critique]:
    prompt = critic_prompt(
        draft,
        brief.parent,
        archive=brief.entries,
        literature=brief.literature,
        findings=rules.reasons,
        directive=brief.directive,
        reading=brief.reading,
        objective=brief.objective,
        budget=voice.budget,
    )
    return await voice.ask(prompt, Critique)


def _proposal(voice: Voice, draft: ProposalDraft, screening: Screening, transcripts: Sequence[str]) -> Proposal:
    """The proposal as a Candidate keeps it; formulas and hyperparameters are in the design."""
    design = voice.keep(canonical_json(draft.model_dump(mode="json")))
    changes = {"design": design, "prompts": prompts_version(), "transcripts": tuple(dict.fromkeys(transcripts))}
    return draft.to_proposal(screening).model_copy(update=changes)


def _noted(proposal: Proposal, reasons: Sequence[str]) -> Proposal:
    """With the reasons why others were left out, as far as there is room."""
    screening = proposal.screening
    if screening is None:
        return proposal
    together_ = (*screening.reasons, *reasons)[:_REASONS]
    return proposal.model_copy(update={"screening": screening.model_copy(update={"reasons": together_})})


def said_before(principles: Iterable[KeptPrinciple]) -> Principles | None:
    """Principles as a prompt takes them; None when there are none that something supports."""
    kept = tuple(
        Principle(
            statement=item.statement,
            supports=item.supports,
            contradicts=item.contradicts,
            conditions=item.conditions,
        )
        for item in principles
        if item.supports
    )
    return Principles(principles=kept[:16]) if kept else None


def most_telling(failures: Sequence[LLMError]) -> LLMError:
    """Of several failures the one that somebody has to mend: lasting ones first, those of an overloaded server last."""
    return min(failures, key=lambda error: (not error.lasting, isinstance(error, Overloaded | ServerFailed)))
