"""What a search with a language model costs, by the ledger's own arithmetic and the price table.

python -m benchmarks.llm_cost STATE [--candidates 64] [--model gpt-5 ...]

STATE is a finished search, whoever proposed in it: its archive is what prompts are made of.  The prompts of every role are
rendered for its candidates by poise_lib.prompts and their tokens estimated (three bytes a token, from above); how
often each is asked follows from the settings of the search; how long answers are is assumed, and the assumptions stand
in one table below and are printed.  Four columns a model:

- expected: prompts as measured, answers as assumed, repairs at the assumed rates.
- full: the same with every prompt that shows the archive filled up to contextTokens, as an archive that has grown does.
- reserved: what the ledger sets aside for one propose task (proposals and critics), which a cap must leave room for.
- bound: every call of every candidate at its worst case (a token a byte, the whole limit of the answer, all repairs).
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from poise_lib.archive.convert import entries
from poise_lib.cli.proposing import literature_of, next_place, prompts_for
from poise_lib.cli.state import Snapshot, read_state
from poise_lib.errors import InvalidInputError
from poise_lib.llm.ledger import call_allotment, task_allotment
from poise_lib.llm.prices import Price, price_of, table_date
from poise_lib.llm.usage import spend_of
from poise_lib.prompts.evidence import evidence_of
from poise_lib.prompts.exhibits import Exhibit, exhibit_of
from poise_lib.prompts.messages import (
    code_prompt,
    critic_prompt,
    judge_prompt,
    plan_prompt,
    principles_prompt,
    reflect_prompt,
    repair_prompt,
)
from poise_lib.prompts.rendering import Prompt, Role
from poise_lib.prompts.responses import Plan, PlanStep, ProposalDraft, ProposedHyperparameter, ProposedMechanism
from poise_lib.resources.candidate import CheckResult
from poise_lib.resources.llm import LLMSettings, Spend
from poise_lib.resources.search import Strategy, VerificationSettings

MODELS: Final = ("gpt-5-mini", "gpt-5", "gpt-5.4", "gpt-5.5", "gpt-4.1", "o3")


@dataclass(frozen=True)
class Assumed:
    """What is not measured."""

    written: int
    """Tokens of the answer itself."""
    thought: int
    """Tokens of reasoning before it, which are billed as output."""


ANSWERS: Final = {
    Role.PROPOSE: Assumed(1_500, 4_000),
    Role.CRITIC: Assumed(600, 1_500),
    Role.PLAN: Assumed(1_200, 2_500),
    Role.CODE: Assumed(2_500, 5_000),
    Role.REPAIR: Assumed(2_500, 4_000),
    Role.JUDGE: Assumed(600, 1_500),
    Role.REFLECT: Assumed(1_200, 2_500),
    Role.PRINCIPLES: Assumed(1_500, 3_000),
}
"""Assumptions, not measurements: a module of the zoo has about 700 tokens, a rendered one about 1,500."""
SHOW_THE_ARCHIVE: Final = (Role.PROPOSE, Role.CRITIC, Role.REFLECT, Role.PRINCIPLES)
SCHEMA_REPAIRS: Final = 0.05
"""Share of questions that are asked once more because the answer does not fit its schema."""
CODE_REPAIRS: Final = 0.5
"""Repairs of code for each candidate, after its verification."""


@dataclass(frozen=True)
class Load:
    """One role: how long its prompts are, and how often it is asked."""

    role: Role
    prompt: int
    """Tokens, the median over the archive."""
    asked: float
    """Times in the search."""


def asks(candidates: int, strategy: Strategy) -> dict[Role, float]:
    """How often each role is asked for so many proposed candidates, repairs of schemas aside."""
    proposals = candidates * strategy.proposals_per_parent
    return {
        Role.PROPOSE: proposals,
        Role.CRITIC: proposals,
        Role.PLAN: candidates,
        Role.CODE: candidates,
        Role.REPAIR: candidates * CODE_REPAIRS,
        Role.JUDGE: candidates * (1 + CODE_REPAIRS),
        Role.REFLECT: candidates,
        Role.PRINCIPLES: candidates / strategy.parents_per_round,
    }


def most_asks(candidates: int, strategy: Strategy, verification: VerificationSettings) -> dict[Role, float]:
    """The same at most: every candidate is repaired as often as verification allows."""
    repairs = verification.max_revisions - 1
    return asks(candidates, strategy) | {
        Role.REPAIR: candidates * repairs,
        Role.JUDGE: candidates * (1 + repairs),
    }


def measured(snapshot: Snapshot, settings: LLMSettings) -> dict[Role, int]:
    """Median tokens of each role's prompts over a real archive."""
    found: dict[Role, list[int]] = {role: [] for role in Role}
    archive = entries(snapshot.candidates)
    candidates = {item.metadata.name: item for item in snapshot.candidates}
    exhibits = {entry.name: exhibit_of(candidates[entry.name], entry) for entry in archive}
    for asked in prompts_for(snapshot, next_place(snapshot, None)):
        found[Role.PROPOSE].append(asked.prompt.tokens)
    budget = settings.context_tokens
    for entry in archive:
        parent = exhibits.get(entry.parents[0]) if entry.parents else None
        if parent is None or entry.utility is None:
            continue
        for prompt in _of(exhibits[entry.name], parent, snapshot, budget):
            found[prompt.role].append(prompt.tokens)
    found[Role.PRINCIPLES].append(
        principles_prompt(archive, directive=snapshot.search.spec.directive, budget=budget).tokens
    )
    return {role: round(statistics.median(tokens)) for role, tokens in found.items()}


def _of(child: Exhibit, parent: Exhibit, snapshot: Snapshot, budget: int) -> list[Prompt]:
    spec, archive = snapshot.search.spec, entries(snapshot.candidates)
    draft, source = _draft(child), child.source or ""
    step = PlanStep(function="advantages", what="What the proposal says, from rewards and groups, with its edge cases.")
    plan = Plan(steps=(step,) * 5, aggregation="token-mean", edge_cases="Groups of one and all-fail groups get zero.")
    finding = CheckResult(
        name="gradients", status="failed", evidence="not finite for an empty response", hint="guard it"
    )
    made: list[Callable[[], Prompt]] = [
        lambda: critic_prompt(
            draft, parent, archive=archive, literature=literature_of(snapshot), directive=spec.directive, budget=budget
        ),
        lambda: plan_prompt(draft, parent, budget=budget),
        lambda: code_prompt(draft, plan, parent, budget=budget),
        lambda: repair_prompt(draft, source, [finding] * 3, revision=1, budget=budget),
        lambda: judge_prompt(draft, source, budget=budget),
        lambda: reflect_prompt(
            child, parent, evidence_of(child.entry, parent.entry), directive=spec.directive, budget=budget
        ),
    ]
    return [make() for make in made]


def _draft(child: Exhibit) -> ProposalDraft:
    """A candidate's proposal in the form that a model gives it."""
    assert child.proposal is not None
    names = child.proposal.mechanisms or ("change",)
    clean = ["".join(letter if letter.isalnum() else "-" for letter in name.lower()).strip("-") for name in names][:6]
    mechanisms = tuple(
        ProposedMechanism(
            name=name, family="core-signal", claim=child.proposal.hypothesis[:200],  # type: ignore[arg-type]
            computation=child.proposal.expected_effect or "A' = w A", hyperparameter=f"w{number}", off=0.0,
        )
        for number, name in enumerate(dict.fromkeys(clean))
    )  # fmt: skip
    return ProposalDraft(
        rationale=child.proposal.rationale,
        title=child.proposal.title,
        hypothesis=child.proposal.hypothesis,
        mechanisms=mechanisms,
        changed=tuple(item.name for item in mechanisms),
        hyperparameters=tuple(
            ProposedHyperparameter(name=item.hyperparameter, default=1.0, low=0.0, high=2.0, description="Its weight.")
            for item in mechanisms
        ),
        expected_effect=child.proposal.expected_effect,
    )


def expected(loads: list[Load], price: Price | None, settings: LLMSettings, *, reasoning: bool) -> Spend:
    """What it costs as assumed."""
    total = Spend()
    for load in loads:
        answer = ANSWERS[load.role]
        out = min(settings.max_output_tokens, answer.written + (answer.thought if reasoning else 0))
        calls = load.asked * (1 + SCHEMA_REPAIRS)
        one = spend_of(load.prompt, 0, out, price)
        total = total.plus(
            Spend(
                calls=round(calls),
                prompt_tokens=round(calls * one.prompt_tokens),
                completion_tokens=round(calls * one.completion_tokens),
                cost_usd=round(calls * one.cost_usd, 6),
            )
        )
    return total


def main(arguments: list[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("state", type=Path)
    parser.add_argument("--candidates", type=int, default=64, help="budget.candidates, the baseline included")
    parser.add_argument("--model", action="append", help="a model of the price table; may be given again")
    options = parser.parse_args(arguments)
    snapshot = read_state(options.state)
    spec = snapshot.search.spec
    settings = spec.proposer.llm or LLMSettings(model="any")
    proposed = options.candidates - 1
    tokens = measured(snapshot, settings)
    often = asks(proposed, spec.strategy)
    loads = [Load(role, tokens[role], often[role]) for role in Role]
    print(
        f"{proposed} candidates proposed by a model, from an archive of {len(snapshot.candidates)}; prices of {table_date()}"
    )
    print(f"asked again for a schema: {SCHEMA_REPAIRS:.0%}; repairs of code a candidate: {CODE_REPAIRS}")
    print()
    print("| role | prompt, tokens (median) | answer, assumed | reasoning, assumed | asked |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for load in loads:
        answer = ANSWERS[load.role]
        print(f"| {load.role.value} | {load.prompt:,} | {answer.written:,} | {answer.thought:,} | {load.asked:,.0f} |")
    print()
    most = sum(most_asks(proposed, spec.strategy, spec.verification).values()) * (1 + settings.max_repairs)
    full = [
        Load(load.role, settings.context_tokens if load.role in SHOW_THE_ARCHIVE else load.prompt, load.asked)
        for load in loads
    ]
    print(
        "| model | calls | tokens in | tokens out | expected | a candidate | full | reserved for a propose task | bound |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for model in options.model or MODELS:
        price = price_of(model)
        if price is None:
            raise InvalidInputError(f"{model}: the price table does not have it")
        reasons = model.startswith(("gpt-5", "o"))
        total = expected(loads, price, settings, reasoning=reasons)
        most_shown = expected(full, price, settings, reasoning=reasons)
        one = call_allotment(settings, price)
        task = task_allotment(settings, price, 2 * spec.strategy.proposals_per_parent)
        assert one.usd is not None
        assert task.usd is not None
        print(
            f"| {model} | {total.calls:,} | {total.prompt_tokens / 1e6:.1f}M | {total.completion_tokens / 1e6:.1f}M "
            f"| ${total.cost_usd:,.2f} | ${total.cost_usd / proposed:,.3f} | ${most_shown.cost_usd:,.2f} "
            f"| ${task.usd:,.2f} | ${most * one.usd:,.0f} |"
        )


if __name__ == "__main__":
    main()
