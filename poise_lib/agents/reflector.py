"""A with a model: why a child did better or worse than its parent, from what was measured and nothing else.

The rule-based operator comes first and is never lost: its findings stay, and it takes the place of a reflection that
quotes numbers which stand nowhere in the evidence (arXiv:2603.23951, operator A).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from poise_lib.agents.voice import Voice
from poise_lib.archive.entry import Entry
from poise_lib.errors import InvalidInputError
from poise_lib.llm.errors import LLMError
from poise_lib.prompts import Evidence, Exhibit, checked_reflection, evidence_of, reflect_prompt
from poise_lib.prompts.goals import objective_lines
from poise_lib.prompts.responses import LONG, ReflectionDraft, bounded
from poise_lib.reflection import reflect as reflect_by_rules
from poise_lib.resources.candidate import Reflection
from poise_lib.resources.objective import Objective
from poise_lib.verification.declarations import read_declarations
from poise_lib.verification.policy import check_source

TRIES: Final = 2
"""A reflection that invents a number is sent back once."""


async def reflect(
    voice: Voice,
    child: Exhibit,
    parent: Exhibit | None,
    baseline: Entry | None,
    *,
    archive: Sequence[Entry] = (),
    directive: str = "",
    reading: str = "",
    objective: Objective | None = None,
) -> Reflection:
    """The reflection on a finished candidate; the rule-based one, with the reason, where the model has none to offer."""
    before = parent.entry if parent is not None else None
    rules = reflect_by_rules(child.entry, before, baseline, objective)
    told = [reading, *(objective_lines(objective) if objective is not None else ())]
    evidence = _evidence(child, before, baseline, rules, told)
    invented: tuple[str, ...] = ()
    for _ in range(TRIES):
        try:
            prompt = reflect_prompt(
                child,
                parent,
                evidence,
                diagnosis=rules,
                archive=archive,
                directive=directive,
                reading=reading,
                objective=objective,
                invented=invented,
                budget=voice.budget,
            )
            said = await voice.ask(prompt, ReflectionDraft)
        except (LLMError, InvalidInputError) as error:
            return noted(rules, f"the model gave no reflection: {error}")
        checked = checked_reflection(said.value, evidence, child.entry.mechanisms)
        if checked.reflection is not None:
            return checked.reflection.model_copy(update={"findings": rules.findings})
        invented = checked.invented
    numbers = ", ".join(invented[:6])
    return noted(rules, f"the model's reflection quoted numbers that stand nowhere in the evidence: {numbers}")


def noted(rules: Reflection, why: str) -> Reflection:
    """The rule-based reflection, which says why it stands in the place of the model's."""
    note = f" (By rules; {bounded(why, 300)}.)"
    return rules.model_copy(update={"diagnosis": bounded(rules.diagnosis, LONG - len(note)) + note})


def _evidence(
    child: Exhibit, parent: Entry | None, baseline: Entry | None, rules: Reflection, told: Sequence[str]
) -> Evidence:
    """All that may be quoted: what was measured, the rules' own words, the objective, the hyperparameters of the code."""
    stated = (rules.diagnosis, *(item.note for item in rules.evidence), *(item.reason for item in rules.advice))
    stated = (*stated, *told)
    hyper: dict[str, float] = {}
    names: list[str] = []
    if child.source and (tree := check_source(child.source).tree) is not None:
        declared, _ = read_declarations(tree)
        if declared is not None:
            hyper = dict(declared.hyper)
            names = [mechanism.name for mechanism in declared.mechanisms]
    return evidence_of(child.entry, parent, baseline, stated=stated, hyperparameters=hyper, names=names)
