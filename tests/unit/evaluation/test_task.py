"""The problems, their tokens, and the verifier."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poise_lib.evaluation.nano import task
from poise_lib.evaluation.nano.task import TOKEN_ID, Family, Problem, Verdict

ANSWER = 221  # written 1 2 2


def tokens(response: str) -> list[int]:
    """One character a token, which holds for every response token."""
    return [TOKEN_ID[letter] for letter in response]


@pytest.mark.parametrize(
    ("response", "verdict"),
    [
        ("#122;", Verdict(valid=True, correct=True)),
        ("a812b122#122;", Verdict(valid=True, correct=True)),
        ("zzz", None),
        ("b9a#122;", Verdict(valid=True, correct=True)),  # working is never judged
        ("#221;", Verdict(valid=True, correct=False)),  # most significant digit first
        ("#000;", Verdict(valid=True, correct=False)),
        ("122;", Verdict(valid=False, correct=False)),
        ("#122", Verdict(valid=False, correct=False)),  # cut off
        ("##122;", Verdict(valid=False, correct=False)),
        ("#122#;", Verdict(valid=False, correct=False)),
        ("#122#122;", Verdict(valid=False, correct=False)),
        ("#12;", Verdict(valid=False, correct=False)),
        ("#1220;", Verdict(valid=False, correct=False)),
        ("#1a2;", Verdict(valid=False, correct=False)),
        ("#;", Verdict(valid=False, correct=False)),
        (";", Verdict(valid=False, correct=False)),
        ("", Verdict(valid=False, correct=False)),
    ],
)
def test_the_verifier_wants_one_mark_three_digits_and_the_end(response: str, verdict: Verdict | None) -> None:
    if verdict is None:
        with pytest.raises(KeyError):
            tokens(response)
    else:
        assert task.verify(ANSWER, tokens(response)) == verdict


@given(st.integers(0, 999), st.lists(st.integers(0, task.RESPONSE_VOCABULARY - 1), max_size=40))
def test_correct_implies_valid_and_the_answer_at_the_end(answer: int, response: list[int]) -> None:
    verdict = task.verify(answer, response)
    assert verdict.valid or not verdict.correct
    if verdict.correct:
        assert task.text(response).endswith("#" + f"{answer:03d}"[::-1] + ";")


@given(st.integers(0, 999))
def test_every_answer_can_be_given(answer: int) -> None:
    response = [task.ANSWER_ID, *task.digits(answer), task.END_ID]
    assert task.verify(answer, response) == Verdict(valid=True, correct=True)


def test_totals_by_hand() -> None:
    problem = Problem("example", 998, ("+7", "-9", "*3", "*9"))
    assert problem.totals == (5, 996, 988, 892)
    assert problem.answer == 892
    assert problem.key == "998+7-9*3*9"
    assert [task.TOKENS[token] for token in problem.prompt()] == [*"899", "+7", "-9", "*3", "*9", *"....?"]


@given(st.integers(0, 2**32), st.integers(1, 8), st.sampled_from(["+-", "+-*"]))
def test_problems_fit_their_prompt(seed: int, operations: int, symbols: str) -> None:
    problem = task.draw(Family("any", operations, symbols), random.Random(seed))
    value = problem.start
    for operation in problem.operations:
        value = eval(f"({value}{operation}) % 1000")
    assert problem.answer == value
    assert len(problem.prompt()) == task.PROMPT_LENGTH
    assert {operation[0] for operation in problem.operations} <= set(symbols)
