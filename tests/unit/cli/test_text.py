"""Untrusted text is harmless, and columns are counted as a terminal counts them."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from poise_lib.cli.text import duration, fit, pad, signed, width
from poise_lib.plain import clean


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07x", "x"),
        ("\x1b]8;;http://a\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bPq#0\x1b\\x", "x"),
        ("\x9b2Jx", "x"),
        ("a\x1b", "a"),
        ("a\rb\x08c\x07", "abc"),
        ("a\nb", "a b"),
        ("\u202etxt.exe\u202c", "txt.exe"),
        ("zero\u200bwidth\ufeff", "zerowidth"),
        ("a\tb", "a    b"),
        ("a\u2028b\x85c", "abc"),
        ("Schrödinger 猫 [bold]", "Schrödinger 猫 [bold]"),
    ],
)
def test_clean(text: str, expected: str) -> None:
    assert clean(text) == expected


@given(st.text())
@example("\x1b[\x1b[31m31m")
@example("\x1b]0;\x1b[2J\x07")
def test_nothing_that_a_terminal_obeys_is_left(text: str) -> None:
    for lines in (False, True):
        found = clean(text, lines=lines)
        assert all(unicodedata.category(letter)[0] != "C" or (lines and letter == "\n") for letter in found)
        assert clean(found, lines=lines) == found


@given(st.text(alphabet="ab猫e\u0301 "), st.integers(1, 20))
def test_fit_never_exceeds_its_columns(text: str, columns: int) -> None:
    assert width(fit(text, columns)) <= columns
    assert width(pad(fit(text, columns), columns)) == columns


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(-1, "0s"), (59.9, "59s"), (61, "1m01s"), (3600, "1h00m"), (90000, "1d01h")],
)
def test_duration(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


def test_signed() -> None:
    assert [signed(value) for value in (1.25, -0.04, None, -3.0)] == ["+1.2", "+0.0", "", "-3.0"]
