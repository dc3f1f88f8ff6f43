"""Caps, allotments and books: never beyond the cap, never too small, wherever a process dies."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from poise_lib.errors import StateError
from poise_lib.llm.errors import AllotmentSpent
from poise_lib.llm.ledger import Allotment, Caps, Refusal, call_allotment, grant, ledger, task_allotment
from poise_lib.llm.prices import price_of
from poise_lib.llm.purse import Purse, book_folder, read_book
from poise_lib.resources.llm import LLMSettings, Spend

SETTINGS = LLMSettings(model="gpt-4.1", context_tokens=1000, max_output_tokens=500)


def spend(tokens: int, usd: float = 0.0) -> Spend:
    return Spend(calls=1, prompt_tokens=tokens, cost_usd=usd)


def test_allotments_follow_the_settings() -> None:
    one = call_allotment(SETTINGS, price_of("gpt-4.1"))
    assert one == Allotment(4 * 1000 + 500, (4000 * 2 + 500 * 8) / 1e6)
    # One ask: the first, two repairs, two spare.
    assert task_allotment(SETTINGS, price_of("gpt-4.1")) == Allotment(5 * 4500, 0.06)
    assert task_allotment(SETTINGS, None, asks=3) == Allotment((3 * 3 + 2) * 4500, None)


def test_what_is_left_is_granted_while_it_is_enough_for_a_call() -> None:
    wanted, smallest = Allotment(500, 0.5), Allotment(100, 0.1)
    assert grant(Caps(), spend(10**9), [], wanted, smallest) == Allotment(500, None)
    assert grant(Caps(1000, None), spend(300), [Allotment(400)], wanted, smallest) == Allotment(300, None)
    assert grant(Caps(None, 1.0), spend(0, 0.2), [Allotment(9, 0.5)], wanted, smallest) == Allotment(500, 0.3)


@pytest.mark.parametrize(
    ("caps", "field"), [(Caps(1000, None), "budget.llmTokens"), (Caps(None, 1.0), "budget.llmCostUSD")]
)
def test_a_reached_cap_is_said(caps: Caps, field: str) -> None:
    refused = grant(caps, spend(901, 0.91), [], Allotment(500, 0.5), Allotment(100, 0.1))
    assert isinstance(refused, Refusal)
    assert refused.cap == field
    assert f"raise {field}" in refused.message


def test_an_unknown_price_never_passes_a_cap_in_dollars() -> None:
    assert isinstance(grant(Caps(None, 1.0), Spend(), [], Allotment(5), Allotment(1)), Refusal)


def test_the_status_shows_what_is_spent_and_what_is_set_aside() -> None:
    shown = ledger(spend(300, 0.25), [Allotment(400, 0.5), Allotment(100)], "budget.llmTokens").to_document()
    assert (shown["promptTokens"], shown["costUSD"]) == (300, 0.25)
    assert (shown["reservedTokens"], shown["reservedUSD"], shown["exhausted"]) == (500, 0.5, "budget.llmTokens")


def test_a_task_has_its_books_beside_the_artifacts() -> None:
    assert book_folder(Path("/store"), "sha256:ab") == Path("/store/ledger/ab")


class Planner(RuleBasedStateMachine):
    """Tasks start, spend and end in any order, some without a word: the cap holds at every instant."""

    CAP = 10_000

    def __init__(self) -> None:
        super().__init__()
        self.spent = Spend()
        self.truth = 0
        self.running: list[tuple[Allotment, int]] = []

    @rule(wanted=st.integers(1, 4000), smallest=st.integers(1, 500))
    def start(self, wanted: int, smallest: int) -> None:
        held = [allotment for allotment, _ in self.running]
        given = grant(Caps(self.CAP), self.spent, held, Allotment(max(wanted, smallest)), Allotment(smallest))
        if isinstance(given, Allotment):
            self.running.append((given, 0))

    @rule(which=st.integers(0, 20), tokens=st.integers(0, 1000))
    def call(self, which: int, tokens: int) -> None:
        if self.running:
            allotment, used = self.running[which % len(self.running)]
            if used + tokens <= allotment.tokens:
                self.running[which % len(self.running)] = (allotment, used + tokens)
                self.truth += tokens

    @rule(which=st.integers(0, 20), silent=st.booleans())
    def end(self, which: int, silent: bool) -> None:
        if self.running:
            allotment, used = self.running.pop(which % len(self.running))
            self.spent = self.spent.plus(spend(allotment.tokens if silent else used))

    @invariant()
    def within_the_cap(self) -> None:
        held = sum(allotment.tokens for allotment, _ in self.running)
        assert self.truth <= self.spent.tokens + held <= self.CAP


TestPlanner = Planner.TestCase


@given(
    st.lists(st.tuples(st.integers(1, 300), st.integers(0, 300), st.booleans()), max_size=8),
    st.integers(1, 1500),
    st.floats(0, 1),
)
def test_whatever_is_cut_off_the_book_is_never_too_small(
    tmp_path_factory: pytest.TempPathFactory, calls: list[tuple[int, int, bool]], allotted: int, where: float
) -> None:
    """Attempts one after the other; after each step the process may die, with any part of the last write on disk."""
    folder = tmp_path_factory.mktemp("book") / "task"
    allotment = Allotment(allotted)
    truth = 0
    for number, (most, used, dies) in enumerate(calls):
        purse = Purse(allotment, folder, f"attempt{number}")
        try:
            call = purse.reserve(spend(most))
        except AllotmentSpent:
            assert purse.spent.tokens + most > allotted
            continue
        truth += min(used, most)  # the server worked, whether we hear of it or not
        path = folder / f"attempt{number}.jsonl"
        safe = path.stat().st_size
        purse.settle(call, spend(min(used, most)))
        if dies:
            data = path.read_bytes()
            path.write_bytes(data[: safe + int(where * (len(data) - safe))])
        assert truth <= read_book(folder).charged.tokens <= allotted


def test_a_reservation_is_on_disk_before_anything_is_sent(tmp_path: Path) -> None:
    purse = Purse(Allotment(100), tmp_path / "task", "one")
    purse.reserve(spend(60))
    assert Purse(Allotment(100), tmp_path / "task").spent.tokens == 60
    with pytest.raises(AllotmentSpent, match="it was not sent"):
        Purse(Allotment(100), tmp_path / "task", "two").reserve(spend(41))


def test_settling_returns_the_rest_once(tmp_path: Path) -> None:
    purse = Purse(Allotment(100), tmp_path / "task")
    call = purse.reserve(spend(90))
    purse.settle(call, spend(10))
    purse.settle(call, spend(1))
    assert purse.spent.tokens == 10
    assert purse.reserve(spend(90))


def test_two_attempts_at_once_do_not_share_a_rest(tmp_path: Path) -> None:
    one, two = (Purse(Allotment(100), tmp_path / "task", name) for name in ("one", "two"))
    one.reserve(spend(60))
    with pytest.raises(AllotmentSpent):
        two.reserve(spend(60))
    assert one.spent.tokens == 60


def test_an_attempt_that_was_faster_between_look_and_write_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = Purse(Allotment(100), tmp_path / "task", "two")
    write = two._write

    def raced(line: dict[str, object]) -> None:
        if "worst" in line:
            Purse(Allotment(100), tmp_path / "task", "one").reserve(spend(60))
        write(line)

    monkeypatch.setattr(two, "_write", raced)
    with pytest.raises(AllotmentSpent):
        two.reserve(spend(60))
    assert two.spent.tokens == 60  # the other's alone


def test_dollars_are_capped_too() -> None:
    purse = Purse(Allotment(10**9, 0.01))
    purse.settle(purse.reserve(spend(1, 0.009)), spend(1, 0.009))
    with pytest.raises(AllotmentSpent, match=r"0\.0090 of its 0\.0100 US dollars"):
        purse.reserve(spend(1, 0.002))
    purse.reserve(spend(1, 0.001))


def test_damage_is_said_and_not_skipped(tmp_path: Path) -> None:
    folder = tmp_path / "task"
    Purse(Allotment(100), folder, "one").reserve(spend(60))
    path = folder / "one.jsonl"
    path.write_bytes(path.read_bytes()[5:])
    with pytest.raises(StateError, match="line 1 is damaged"):
        read_book(folder)


def test_a_full_disk_stops_the_call(tmp_path: Path) -> None:
    (tmp_path / "task").write_text("a file where the folder should be")
    with pytest.raises(StateError):
        Purse(Allotment(100), tmp_path / "task", "one").reserve(spend(1))


def test_a_book_reads_as_one_line_a_step(tmp_path: Path) -> None:
    purse = Purse(Allotment(100), tmp_path / "task", "one")
    purse.settle(purse.reserve(spend(9)), spend(3))
    lines = [json.loads(line) for line in (tmp_path / "task" / "one.jsonl").read_text().splitlines()]
    assert [sorted(line) for line in lines] == [["call", "worst"], ["actual", "call"]]
