"""What the rules see in a module without running it, and modules in Markdown."""

from __future__ import annotations

import pytest

from poise_lib.agents.implementer import Written, plain, rules_on_code
from poise_lib.algorithms.registry import zoo, zoo_source
from poise_lib.resources.candidate import CheckResult
from tests.llm.modules import MISTAKES

DAPO = zoo_source("dapo")
NAMES = tuple(mechanism.name for mechanism in zoo()["dapo"].mechanisms)


@pytest.mark.parametrize(
    ("mistake", "check"), [("forbidden", "static-policy"), ("cut", "static-policy"), ("wrong-names", "intent")]
)
def test_rules_name_what_they_refuse(mistake: str, check: str) -> None:
    found = rules_on_code(MISTAKES[mistake](DAPO), NAMES)
    assert {item.name for item in found} == {check}
    assert all(item.status == "failed" and item.evidence and item.hint for item in found)


def test_sound_code_and_code_that_is_wrong_only_when_run_pass_the_rules() -> None:
    assert rules_on_code(DAPO, NAMES) == ()
    assert rules_on_code(MISTAKES["flipped-sign"](DAPO), NAMES) == ()


def test_a_module_without_declarations_is_refused() -> None:
    (found,) = rules_on_code("x = 1\n", NAMES)
    assert found.name in ("static-policy", "declarations")


@pytest.mark.parametrize("source", ["a = 1", "a = 1\n\n", "```python\na = 1\n```", "\n```\na = 1\n```\n"])
def test_a_fence_round_the_module_goes(source: str) -> None:
    assert plain(source) == "a = 1\n"


def test_only_what_failed_is_told() -> None:
    warned = CheckResult(name="judge", status="warned", evidence="hm")
    failed = CheckResult(name="judge", status="failed", evidence="a gate is missing")
    assert Written("", (warned,)).message == ""
    assert "a gate is missing" in Written("", (warned, failed)).message
    assert len(Written("", (failed.model_copy(update={"evidence": "x" * 2000}),) * 3).message) <= 2000
