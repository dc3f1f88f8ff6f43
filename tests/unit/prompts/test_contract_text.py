"""The contract in prompts is the code's: a field, a helper or a rule that is added shows up by itself."""

from __future__ import annotations

import ast
import dataclasses
import inspect
from collections.abc import Mapping

import pytest

from poise_lib.algorithms import allowed, contract, ops
from poise_lib.prompts import contract_text as module
from poise_lib.prompts.contract_text import contract_text, operations_text, policy_text
from poise_lib.verification.declarations import FUNCTIONS
from poise_lib.verification.policy import check_source


def test_every_field_of_the_contract_stands_in_the_text() -> None:
    text = contract_text()
    for name, item in vars(contract).items():
        if dataclasses.is_dataclass(item) and name != "Algorithm":
            assert f"class {name}" in text
            body = text.split(f"class {name}")[1].split("\nclass ")[0]
            for field in dataclasses.fields(item):
                assert f"    {field.name}: " in body
    for family in contract.Family:
        assert f'{family.name} = "{family.value}"' in text
    for name in (*contract.AGGREGATIONS, *contract.NEEDS_ALLOWED):
        assert f'"{name}"' in text
    for name, arguments in FUNCTIONS.items():
        assert f"{name}({', '.join(arguments)})" in text
    assert "[B] bool: the answer is right" in text
    assert ":class:" not in text
    assert "class Algorithm" not in text


def test_a_field_that_is_added_reaches_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    source = inspect.getsource(contract).replace(
        "    max_length: int\n", '    max_length: int\n    surprise: Tensor\n    """[B] float32: new."""\n', 1
    )
    monkeypatch.setattr(module, "_module", lambda name: (ast.parse(source), source))
    contract_text.cache_clear()
    try:
        assert 'surprise: Tensor\n    """[B] float32: new."""' in contract_text()
    finally:
        contract_text.cache_clear()


def test_every_helper_stands_in_the_text_with_its_arguments() -> None:
    text = operations_text()
    for name, function in inspect.getmembers(ops, inspect.isfunction):
        if function.__module__ == ops.__name__ and not name.startswith("_"):
            line = next(line for line in text.splitlines() if line.startswith(f"- `ops.{name}("))
            assert all(argument in line for argument in inspect.signature(function).parameters)
            assert line.partition("`: ")[2]


def test_the_policy_is_stated_as_it_is_enforced() -> None:
    text = policy_text()
    words = set(text.replace(",", " ").replace("`", " ").replace(".", " ").replace(";", " ").split())
    for names in (allowed.TORCH, allowed.FUNCTIONAL, allowed.MATH, allowed.BUILTINS, allowed.TENSOR_MEMBERS):
        assert names <= words
    for hint in (*allowed.INSTEAD.values(), *allowed.INSTEAD_OF.values(), *allowed.KEYWORDS_REFUSED.values()):
        assert hint in text
    for size in (allowed.MAX_CHARACTERS, allowed.MAX_LINE):
        assert f"{size:,}" in text
    assert f"{allowed.MAX_HYPERPARAMETERS} hyperparameters, 1 to {allowed.MAX_MECHANISMS} mechanisms" in text


def test_refused_syntax_has_a_name_that_a_programmer_knows() -> None:
    tables: tuple[Mapping[type[ast.AST], str], ...] = (allowed.INSTEAD, allowed.INSTEAD_OF)
    assert {node.__name__ for table in tables for node in table} <= set(module._NODE_NAMES)


def test_the_imports_that_the_text_shows_are_allowed() -> None:
    line = next(line for line in policy_text().splitlines() if line.startswith("- Imports"))
    for statement in line.split("`")[1::2]:
        assert not check_source(statement).violations, statement
