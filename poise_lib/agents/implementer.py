"""P with a model, second half: plan, code against the contract, repair from the structured report.

arXiv:2603.23951, phase II.  Nothing here runs what the model wrote: the module's declarations are read from its syntax
tree.  Rules and a judge compare it with the proposal; what they find goes back once, and then `verify` decides in its own
untrusted task.  The judge alone passes nothing that the rules refuse.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from poise_lib.agents.voice import Voice
from poise_lib.algorithms.registry import zoo_source
from poise_lib.archive.entry import Entry
from poise_lib.errors import InvalidInputError
from poise_lib.llm.errors import LLMError
from poise_lib.prompts import Exhibit, code_prompt, intent_gaps, judge_prompt, judged, plan_prompt, repair_prompt
from poise_lib.prompts.messages import Design, Earlier
from poise_lib.prompts.responses import Code, Judgement, Plan
from poise_lib.resources.candidate import CheckResult, Proposal
from poise_lib.verification.declarations import read_declarations
from poise_lib.verification.policy import check_source
from poise_lib.verification.violations import Violation

_FENCED: Final = re.compile(r"\s*```[A-Za-z0-9_+-]*[ \t]*\r?\n(.*?)\r?\n```\s*", re.DOTALL)
_SHOWN: Final = 8


@dataclass(frozen=True)
class Written:
    """A module, and what rules and judge still hold against it."""

    source: str
    findings: tuple[CheckResult, ...] = ()

    @property
    def message(self) -> str:
        """The findings that failed, in a sentence; empty when none did."""
        failed = [f"{item.name}: {item.evidence}" for item in self.findings if item.status == "failed"]
        return f"handed over with open findings: {'; '.join(failed)}"[:1900] if failed else ""


async def implement(voice: Voice, proposal: Proposal, design: Design, parent: Exhibit | None) -> Written:
    """The first module of a proposal: planned, written, held against the proposal, mended once.

    Args:
        voice: asks.
        proposal: as the Candidate keeps it.
        design: the whole draft where it is there, else the proposal.
        parent: what it starts from; None for the baseline's code.

    Raises:
        LLMError: there is no plan or no code.
    """
    start = parent or Exhibit(entry=Entry(name="grpo", title="GRPO"), source=zoo_source("grpo"))
    plan = await voice.ask(plan_prompt(design, start, budget=voice.budget), Plan)
    code = await voice.ask(code_prompt(design, plan.value, start, budget=voice.budget), Code)
    return await _compared(voice, proposal, design, plain(code.value.source), number=1)


async def mend(
    voice: Voice,
    proposal: Proposal,
    design: Design,
    written: str,
    findings: Sequence[CheckResult],
    revision: int,
    earlier: Sequence[Earlier] = (),
) -> Written:
    """The next revision of a module that failed its verification.

    Args:
        voice: asks.
        proposal: as the Candidate keeps it.
        design: as for :func:`implement`.
        written: the revision that failed.
        findings: of its verification.
        revision: number of the one to write, from 2.
        earlier: revisions before the one that failed, so that no repair is tried twice.

    Raises:
        LLMError: there is no repaired code.
    """
    prompt = repair_prompt(design, written, findings, revision=revision - 1, earlier=earlier, budget=voice.budget)
    code = await voice.ask(prompt, Code)
    known = (*earlier, Earlier(revision - 1, tuple(findings), written))
    return await _compared(voice, proposal, design, plain(code.value.source), number=revision, earlier=known)


async def _compared(
    voice: Voice, proposal: Proposal, design: Design, source: str, *, number: int, earlier: Sequence[Earlier] = ()
) -> Written:
    """Hold a module against its proposal; what is found goes back once, as far as the allotment lasts."""
    findings = await _findings(voice, proposal, design, source)
    if not any(item.status == "failed" for item in findings):
        return Written(source, findings)
    try:
        prompt = repair_prompt(design, source, findings, revision=number, earlier=earlier, budget=voice.budget)
        code = await voice.ask(prompt, Code)
    except (LLMError, InvalidInputError):
        return Written(source, findings)  # verification says the rest
    again = plain(code.value.source)
    return Written(again, await _findings(voice, proposal, design, again))


async def _findings(voice: Voice, proposal: Proposal, design: Design, source: str) -> tuple[CheckResult, ...]:
    """What the rules find; the judge is asked only about code that they pass."""
    found = rules_on_code(source, proposal.mechanisms)
    if found:
        return found
    try:
        judgement = (await voice.ask(judge_prompt(design, source, budget=voice.budget), Judgement)).value
    except (LLMError, InvalidInputError):
        return ()  # without a judge the rules decide
    return judged(True, judgement, proposal.mechanisms)[1]


def rules_on_code(source: str, changed: Sequence[str]) -> tuple[CheckResult, ...]:
    """What the static policy, the declarations and the proposal's names refuse, without running anything."""
    policy = check_source(source)
    if policy.tree is None:
        return (_refusal("static-policy", policy.violations),)
    declared, problems = read_declarations(policy.tree)
    if declared is None:
        return (_refusal("declarations", problems),)
    return intent_gaps(changed, {mechanism.name for mechanism in declared.mechanisms})


def _refusal(name: str, violations: Sequence[Violation]) -> CheckResult:
    evidence = "; ".join(str(violation) for violation in violations[:_SHOWN])
    hints = dict.fromkeys(violation.hint for violation in violations[:_SHOWN])
    return CheckResult(name=name, status="failed", evidence=evidence[:1900], hint="; ".join(hints)[:1900])


def plain(source: str) -> str:
    """The module without the Markdown fence that some models put round it."""
    fenced = _FENCED.fullmatch(source)
    text = fenced[1] if fenced else source
    return text.rstrip() + "\n"
