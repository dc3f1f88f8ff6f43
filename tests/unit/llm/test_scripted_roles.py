"""The scripted model's answers fit the prompts that POISE really writes: whoever builds on the server may rely on it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from poise_lib.llm.extraction import extract
from poise_lib.llm.schema import response_format
from poise_lib.prompts import Role
from poise_lib.prompts.rendering import Prompt
from poise_lib.prompts.responses import Code, Judgement, Principles, ProposalDraft, ReflectionDraft
from poise_lib.verification.declarations import read_declarations
from poise_lib.verification.policy import check_source
from tests.llm import roles
from tests.llm.answers import LIBRARY, good
from tests.llm.asking import role_of
from tests.llm.modules import MISTAKES, modules
from tests.llm.script import Script
from tests.unit.prompts import world

SCRIPT = Path(__file__).parents[2] / "llm" / "scripts" / "search.yaml"


def request(prompt: Prompt, *, schema: bool = True) -> dict[str, Any]:
    messages = [{"role": message.role, "content": message.content} for message in prompt.messages]
    body: dict[str, Any] = {"model": "scripted", "messages": messages}
    return body | ({"response_format": response_format(prompt.answer)} if schema else {})


@pytest.mark.parametrize("schema", [True, False])
@pytest.mark.parametrize("role", list(Role))
def test_every_role_is_known_and_answered(role: Role, schema: bool) -> None:
    prompt = world.prompts(world.HOSTILE)[role]
    asked = request(prompt, schema=schema)
    assert role_of(asked) == role.value
    assert extract(good(asked), prompt.answer).value is not None
    assert good(asked) == good(asked)


def test_a_proposal_leads_to_its_module() -> None:
    prompts = world.prompts()
    draft = ProposalDraft.model_validate_json(good(request(prompts[Role.PROPOSE])))
    from poise_lib.prompts import code_prompt, judge_prompt, repair_prompt

    parent = world.exhibit(world.archive()[0])
    module = modules()[draft.title]
    for prompt in (
        code_prompt(draft, world.plan(), parent),
        code_prompt(draft.to_proposal(), world.plan(), parent),
        repair_prompt(draft, "x = 1", (), revision=1),
    ):
        code = Code.model_validate_json(good(request(prompt)))
        assert code.source == module.source
    for design in (draft, draft.to_proposal()):
        judgement = Judgement.model_validate_json(good(request(judge_prompt(design, module.source))))
        assert judgement.faithful
        assert {item.mechanism for item in judgement.mechanisms} >= set(draft.changed)


def test_reflections_cite_and_principles_name_what_is_there() -> None:
    prompts = world.prompts()
    reflection = ReflectionDraft.model_validate_json(good(request(prompts[Role.REFLECT])))
    assert all(world.evidence().row(item.metric) for item in reflection.evidence)
    principles = Principles.model_validate_json(good(request(prompts[Role.PRINCIPLES])))
    assert set(principles.principles[0].supports) <= {entry.name for entry in world.archive()}


def test_wrong_answers_fit_their_schema_all_the_same() -> None:
    prompts = world.prompts()
    for name in roles.ANSWERS:
        role = next(role for role in (Role.PROPOSE, Role.CRITIC, Role.CODE, Role.JUDGE, Role.REFLECT, Role.PRINCIPLES)
                    if name in WRONG[role])  # fmt: skip
        assert extract(LIBRARY[name](request(prompts[role])), prompts[role].answer).value is not None, name


WRONG = {
    Role.PROPOSE: {"same-idea", "hostile-proposal"},
    Role.CRITIC: {"fatal-flaw"},
    Role.CODE: set(MISTAKES),
    Role.JUDGE: {"deviates"},
    Role.REFLECT: {"invented-numbers", "hostile-reflection"},
    Role.PRINCIPLES: {"unknown-candidates"},
}


def test_variations_differ_in_one_default() -> None:
    assert len(modules()) > 100
    for module in modules().values():
        tree = check_source(module.source).tree
        assert tree is not None
        declared, _ = read_declarations(tree)
        assert declared is not None
        assert {name: item.default for name, item in declared.hyperparameters.items()} == {
            name: item.default for name, item in module.hyperparameters.items()
        }


def test_the_script_of_a_search_knows_every_role() -> None:
    script = Script.load(SCRIPT)
    prompts = world.prompts()
    chosen = {role: script.reply(request(prompts[role], schema=False)) for role in Role}
    assert all(json.dumps(str(reply)) for reply in chosen.values())
    assert Script.load(SCRIPT).reply(request(prompts[Role.CODE])) == script.reply(request(prompts[Role.CODE]))
