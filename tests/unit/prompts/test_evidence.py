"""Numbers in reflections: what was measured passes however it is rounded, what was not is named."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poise_lib.prompts.evidence import Evidence, Row, Unit, evidence_of, invented, quoted
from tests.unit.prompts import world

EVIDENCE = Evidence(
    rows=(
        Row("overall", 52.48, 47.8, Unit.PERCENT),
        Row("response_length", 812.5, 1024.0),
        Row("actor/entropy.last", 0.0312, 0.8),
        Row("groups/all_fail.last", 0.12, 0.6, Unit.FRACTION),
        Row("step", 37.0),
    ),
    names=("aime24", "demo-001-12", "clip-0.28", "2402.03300"),
    stated=("Clipping silenced 23% of the tokens.",),
)


@pytest.mark.parametrize(
    "text",
    [
        "It scored 52.48, 52.5 or 52 against 47.8.",
        "a gain of 4.68 points, +4.7",
        "0.525 as a fraction",
        "length fell by 211.5 to 812.5 from 1,024 tokens",
        "a difference of -211.5 or \u2212211.5",
        "entropy ended at 3.1e-2, 0.03",
        "12% of the groups failed, 0.12, against 60%: 48 points less",
        "silenced 23% of the tokens",
        "at step 37 of the run",
        "two of the 3 changes, 10 in all",
        "1. first\n2. second\n12) twelfth",
        "AIME24, aime24, pass@32, MATH-500, k3, demo-001-12, GPT-4, 2D, clip-0.28, arXiv 2402.03300",
        "",
        "no number at all",
    ],
)
def test_what_was_measured_passes(text: str) -> None:
    assert invented([text], EVIDENCE) == ()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("It scored 53.1.", "53.1"),
        ("It scored 52.50.", "52.50"),
        ("a gain of 6 points", "6 points"),
        ("a gain of +3", "+3"),
        ("a loss of -4.68", "-4.68"),
        ("peaked at step 41", "41"),
        ("17 of the groups", "17"),
        ("2.5x faster", "2.5x"),
        ("99%", "99%"),
        ("12.5% of the groups", "12.5%"),
        ("the 21st step", "21"),
        ("1e400 nats", "1e400 nats"),
        ("accuracy\u00a077.7", "77.7"),
        ("from 47.8 to 61.2", "61.2"),
        ("a range of 48-99", "99"),
        ("\u0665\u0665.\u0665 points", "\u0665\u0665.\u0665 points"),
        ("7\u200b7.7", "77.7"),
    ],
)
def test_what_was_not_is_named(text: str, named: str) -> None:
    assert invented([text], EVIDENCE) == (named,)


def test_each_is_named_once_across_texts() -> None:
    assert invented(["61.2 and 61.2", "61.2, 9.99"], EVIDENCE) == ("61.2", "9.99")


def test_a_number_alone_is_no_name() -> None:
    # A title is a model's: it must not smuggle a number in.
    assert invented(["It scored 77.7."], Evidence(names=("77.7", "88"))) == ("77.7",)


@given(st.floats(-1e6, 1e6), st.integers(0, 6))
def test_a_value_rounded_to_any_places_passes(value: float, places: int) -> None:
    evidence = Evidence((Row("x", value),))
    assert invented([f"it was {value:.{places}f} in the end", f"by {abs(value):.{places}f}"], evidence) == ()


@given(st.floats(0, 1), st.integers(0, 4))
def test_a_fraction_may_be_written_in_percent(value: float, places: int) -> None:
    assert invented([f"{value:.{places}%}"], Evidence((Row("x", value, unit=Unit.FRACTION),))) == ()


@given(st.floats(0, 100, width=32), st.integers(1, 3))
def test_a_number_further_off_than_its_rounding_is_found(value: float, places: int) -> None:
    wrong = value + 2.0 * 10.0**-places + 100.0
    assert invented([f"it was {wrong:.{places}f} points"], Evidence((Row("x", value),))) != ()


@given(st.text(max_size=200))
def test_any_text_can_be_read(text: str) -> None:
    found = quoted(text)
    assert invented([text], EVIDENCE) == invented([text], EVIDENCE)
    assert all(number.text for number in found)


def test_the_evidence_of_a_child_lists_every_difference_from_its_parent() -> None:
    found = world.archive()
    evidence = evidence_of(found[4], found[2], found[0], stated=["99.5% kept"], hyperparameters={"focus": 1.5})
    row = evidence.row("overall")
    assert row is not None
    assert row.text() == "overall (percent): 52.5, parent 44.2, difference +8.3"
    assert invented(["52.5, 44.2, 8.3, +4.7 over the baseline at 47.8, 99.5%, focus of 1.5"], evidence) == ()
    assert invented(["a difference of 3.6"], evidence) == ("3.6",)
    share = evidence.row("groups/all_fail.last")
    assert share is not None
    assert share.unit is Unit.FRACTION
