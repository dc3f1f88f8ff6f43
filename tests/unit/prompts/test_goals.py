"""The directive, how it is read, and what counts, in the prompts of every role that weighs designs or results."""

from __future__ import annotations

from collections import Counter

import pytest

from poise_lib.agents.reflector import _evidence
from poise_lib.algorithms.contract import Family
from poise_lib.prompts import critic_prompt, invented, propose_prompt, reflect_prompt
from poise_lib.prompts.directions import directions
from poise_lib.prompts.goals import objective_lines
from poise_lib.prompts.literature import curated
from poise_lib.prompts.messages import Earlier, principles_prompt, repair_prompt
from poise_lib.prompts.rendering import Prompt
from poise_lib.reflection import reflect
from poise_lib.resources.candidate import CheckResult
from poise_lib.resources.objective import Constraint, Direction, Metric, Objective
from tests.unit.prompts import world

OBJECTIVE = Objective(
    metrics=(
        Metric(name="overall", weight=0.8),
        Metric(name="response_length", weight=0.2, direction=Direction.MINIMIZE, scale=0.237),
    ),
    constraints=(Constraint(metric="overall", minimum=46.3),),
)
WORDS, READING = "Shorten responses, keep accuracy", "minimise response_length (weight 0.2), keep overall"


def prompts() -> list[Prompt]:
    found = world.archive()
    parent, child = world.exhibit(found[0]), world.exhibit(found[1])
    direction = directions(parent, [], curated(), 1, seed=0, round=1, slot=0)[0]
    told = {"directive": WORDS, "reading": READING}
    return [
        propose_prompt(parent, direction, objective=OBJECTIVE, **told),
        critic_prompt(world.draft(), parent, objective=OBJECTIVE, **told),
        reflect_prompt(child, parent, world.evidence(), objective=OBJECTIVE, **told),
        principles_prompt(found, **told),
    ]


def test_the_reading_stands_beside_the_words_and_the_objective_with_its_bound() -> None:
    *judging, principles = (prompt.messages[1].content for prompt in prompts())
    for text in (*judging, principles):
        assert WORDS in text
        assert READING in text
    for text in judging:
        assert "minimize response_length, weight 0.2, in units of 0.237" in text
        assert "constraint: overall at least 46.3" in text


def test_numbers_of_the_objective_may_be_quoted_by_a_reflection() -> None:
    found = world.archive()
    child, parent = world.exhibit(found[1]), found[0]
    rules = reflect(child.entry, parent, parent, OBJECTIVE)
    quoted = ["It keeps the bound of 46.3 at a weight of 0.237."]
    assert invented(quoted, _evidence(child, parent, parent, rules, ["", *objective_lines(OBJECTIVE)])) == ()
    assert invented(quoted, _evidence(child, parent, parent, reflect(child.entry, parent, parent), [""])) != ()


def test_directions_turn_to_the_family_that_serves_the_objective() -> None:
    parent = world.exhibit(world.archive()[0])

    def first(objective: Objective | None) -> Counter[Family]:
        drawn = [
            directions(parent, [], curated(), 2, seed=seed, round=1, slot=0, objective=objective) for seed in range(200)
        ]
        return Counter(item.family for each in drawn for item in each)

    plain, asked = first(None)[Family.LENGTH_SHAPING], first(OBJECTIVE)[Family.LENGTH_SHAPING]
    assert asked > 1.5 * plain


@pytest.mark.parametrize(("room", "code", "evidence"), [(40_000, True, True), (0, False, False)])
def test_earlier_revisions_lose_their_code_before_the_repair_loses_them(room: int, code: bool, evidence: bool) -> None:
    checks = (CheckResult(name="finite", status="failed", evidence="step 3 is not finite", hint=""),)
    old = [Earlier(number, checks, f"OLD_{number} = 1\n" * 200) for number in (1, 2)]
    bare = repair_prompt(world.draft(), "NOW = 3", checks[:0], revision=3)
    prompt = repair_prompt(
        world.draft(), "NOW = 3", checks[:0], revision=3, earlier=old, budget=bare.tokens + room + 200
    )
    text = prompt.messages[1].content
    assert prompt.tokens <= bare.tokens + room + 200
    assert ("OLD_1" in text, "OLD_2" in text) == (code, code)
    assert "finite" in text
    assert bool(prompt.shortened) is not code
