"""Numbers in a reflection must stand in the evidence that it was given (arXiv:2603.23951, operator A).

A model that explains a run likes to quote numbers, and some of them it makes up.  :class:`Evidence` lists what was
measured: each value with its unit, the parent's value, and the difference between the two.  :func:`invented` finds the
numbers of a text that stand nowhere in it.  The rules:

* A number matches a value when it is that value rounded to the places that are written: 52.5 matches 52.48, and so do
  52 and 5.2e1; 52.50 does not.  An unsigned number also matches a negative value ("lost 3.1" for -3.1); a signed one
  has to have its sign.
* Percent and fraction are one: 12% matches the fraction 0.12, 0.12 matches 12 percentage points.  A number without a
  percent sign is matched so only if a fraction or a percentage is what was measured.
* A difference or ratio of two given values counts only if the evidence lists it; differences from the parent always do.
* Digits that are part of a name ("AIME24", "pass@32", "demo-003-1", "k3", "2402.03300" as an identifier) are no numbers: known names are
  taken out of the text first, and so is whatever hangs together with letters by more than a unit.
* A bare whole number from 0 to 10 with no unit after it counts things ("two of the 3 changes") and is let through, as is the number of
  a list's item.  Larger ones, and steps, rounds and seeds by number, must be in the evidence like any other.
* Numbers written as words are not seen; nor is a true number in a false sentence.  This check finds inventions, it does not prove.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from poise_lib.archive.entry import Entry
from poise_lib.names import METRIC_RESPONSE_LENGTH
from poise_lib.plain import clean

MAX_COUNT: Final = 10
"""The largest whole number that may count things without standing in the evidence."""
_FRACTIONS: Final = ("format_valid", "score/", "clipfrac", "ratio_outside", "clip_ratio", "groups/", "rewards/")
"""Parts of the names of training metrics that are shares in [0, 1]."""
_UNITS: Final = r"%|‰|percentage|percent|points?|pp|pts?|nats?|tokens?|times|fold|-fold|x|×|steps?|seconds?|s|h|k|K|M"
_NUMBER: Final = re.compile(
    r"(?<![\w.@])(?P<sign>[-+\u2212\u2013±]?)(?P<digits>\d{1,3}(?:[,\u202f\u00a0]\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)(?P<exponent>[eE][-+]?\d+)?"
    rf"(?P<space>\s?)(?P<unit>(?:{_UNITS})(?![\w/@]))?"
)
_NAME: Final = re.compile(r"[A-Za-z].*\d|\d.*[A-Za-z]|^\d{4}\.\d{5}$")
"""A name that holds digits beside letters, or is the identifier of a paper; a number alone is no name."""
_ITEM: Final = re.compile(r"(?:^|\n)\s*(?:\(?\d{1,2}[.)])\s")
_ORDINAL: Final = re.compile(r"\b(\d+)(?:st|nd|rd|th)\b")


class Unit(StrEnum):
    """What a value is measured in, as far as quoting it goes."""

    PERCENT = "percent"
    """Percentage points: 52.5 may be written 52.5% or 0.525."""
    FRACTION = "fraction"
    """A share in [0, 1]: 0.12 may be written 12%."""
    PLAIN = "plain"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the evidence."""

    name: str
    value: float
    reference: float | None = None
    """The parent's."""
    unit: Unit = Unit.PLAIN

    @property
    def difference(self) -> float | None:
        """From the parent's value to the child's."""
        return None if self.reference is None else self.value - self.reference

    def text(self) -> str:
        """The line as a prompt shows it: what can be read can be quoted."""
        parts = [f"{clean(self.name)} ({self.unit.value}): {_shown(self.value)}"]
        if self.reference is not None and self.difference is not None:
            parts.append(f"parent {_shown(self.reference)}, difference {_shown(self.difference, sign=True)}")
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class Evidence:
    """All numbers that a reflection may quote."""

    rows: tuple[Row, ...] = ()
    names: tuple[str, ...] = ()
    """Names that may hold digits: candidates, titles, mechanisms, hyperparameters, papers."""
    stated: tuple[str, ...] = field(default=(), repr=False)
    """Texts of our own making (the rule-based diagnosis, the proposal's hyperparameters) whose numbers may be quoted too."""

    def row(self, name: str) -> Row | None:
        """The row of that name."""
        return next((row for row in self.rows if row.name == name), None)


def evidence_of(
    child: Entry,
    parent: Entry | None,
    baseline: Entry | None = None,
    *,
    stated: Iterable[str] = (),
    hyperparameters: Mapping[str, float] | None = None,
    names: Iterable[str] = (),
) -> Evidence:
    """What was measured of a child, each with its parent's value where there is one.

    Args:
        child: the finished candidate.
        parent: what it is contrasted with; None for a root.
        baseline: adds its utility, when it is another than the parent.
        stated: texts of our own whose numbers may be quoted.
        hyperparameters: of the child's code.
        names: names with digits beyond those of the entries.
    """
    rows = [*_utilities(child, parent, baseline), *_rows(child, parent)]
    rows += [Row(f"hyperparameter.{name}", value) for name, value in sorted((hyperparameters or {}).items())]
    entries = [entry for entry in (child, parent, baseline) if entry is not None]
    known = [name for entry in entries for name in (entry.name, entry.title, *entry.mechanisms, *entry.parents)]
    known += [part.kind for entry in entries for part in entry.composition]
    known += [row.name for row in rows] + list(child.metrics)
    return Evidence(tuple(rows), tuple(dict.fromkeys([*known, *(hyperparameters or {}), *names])), tuple(stated))


def _utilities(child: Entry, parent: Entry | None, baseline: Entry | None) -> list[Row]:
    if child.utility is None:
        return []
    rows = [Row("utility", child.utility, parent.utility if parent else None, Unit.PERCENT)]
    if baseline is not None and baseline.utility is not None and baseline.name != child.name and baseline != parent:
        rows.append(Row("utility_against_baseline", child.utility, baseline.utility, Unit.PERCENT))
    return rows


def _rows(child: Entry, parent: Entry | None) -> list[Row]:
    rows = []
    for name, value in child.metrics.items():
        unit = Unit.PLAIN if name == METRIC_RESPONSE_LENGTH else Unit.PERCENT
        rows.append(Row(name, value, parent.metrics.get(name) if parent else None, unit))
    for name, value in child.trajectory.items():
        unit = Unit.FRACTION if any(part in name for part in _FRACTIONS) and -1.0 <= value <= 1.0 else Unit.PLAIN
        rows.append(Row(name, value, parent.trajectory.get(name) if parent else None, unit))
    return rows


@dataclass(frozen=True, slots=True)
class Quoted:
    """A number as a text writes it."""

    text: str
    value: float
    place: float
    """Worth of the last digit that is written."""
    signed: bool
    percent: bool
    unit: str

    @property
    def counts(self) -> bool:
        """Whether it may be a count of things, of which no evidence is asked."""
        return not self.signed and not self.unit and self.place == 1.0 and 0 <= self.value <= MAX_COUNT


def quoted(text: str, names: Iterable[str] = ()) -> tuple[Quoted, ...]:
    """The numbers of a text, without those within names."""
    rest = clean(text, lines=True)
    for name in sorted({clean(name) for name in names if _NAME.search(name)}, key=lambda name: (-len(name), name)):
        rest = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", " § ", rest)
    rest = _ITEM.sub("\n", rest)
    rest = _ORDINAL.sub(r"\1 ", rest)
    return tuple(found for match in _NUMBER.finditer(rest) if (found := _quoted(match, rest)) is not None)


def invented(texts: Iterable[str], evidence: Evidence) -> tuple[str, ...]:
    """The numbers that stand in a text and not in the evidence, as they are written, each once."""
    values = _values(evidence)
    found = []
    for text in texts:
        for number in quoted(text, evidence.names):
            if not number.counts and not any(_matches(number, value, unit) for value, unit in values):
                found.append(number.text)
    return tuple(dict.fromkeys(found))


def _quoted(match: re.Match[str], text: str) -> Quoted | None:
    unit = match["unit"] or ""
    after = text[match.end() : match.end() + 2]
    if not unit and not match["space"] and (after[:1].isalpha() or after.startswith(("_", "@"))):
        return None  # part of a name, such as 3b or 2D
    if not unit and not match["space"] and re.match(r"-[A-Za-z]", after):
        return None  # 8-bit
    if (
        not unit
        and "." not in match["digits"]
        and re.search(r"[A-Za-z][-/]$", text[max(0, match.start() - 2) : match.start()])
    ):
        return None  # MATH-500
    digits = re.sub(r"[,\u202f\u00a0]", "", match["digits"])
    exponent = int(match["exponent"][1:]) if match["exponent"] else 0
    if abs(exponent) > 300:
        return Quoted(match[0].strip(), math.inf, 1.0, False, False, unit)
    sign = match["sign"]
    if sign and match.start() and text[match.start() - 1].isalnum():
        sign = ""  # the dash of a range, as in 12-15
    places = len(digits.partition(".")[2])
    value = float(digits) * 10.0**exponent
    negative = sign in ("-", "\u2212", "\u2013")
    return Quoted(
        text=match[0].strip(),
        value=-value if negative else value,
        place=10.0 ** (exponent - places),
        signed=sign not in ("", "±", "\u2013"),
        percent=unit in ("%", "percent", "percentage", "point", "points", "pp", "pt", "pts"),
        unit=unit,
    )


def _values(evidence: Evidence) -> list[tuple[float, Unit]]:
    found: list[tuple[float, Unit]] = []
    for row in evidence.rows:
        found += [(value, row.unit) for value in (row.value, row.reference, row.difference) if value is not None]
    for text in evidence.stated:
        for number in quoted(text, evidence.names):
            found.append((number.value, Unit.PERCENT if number.percent else Unit.PLAIN))
    return found


def _matches(number: Quoted, value: float, unit: Unit) -> bool:
    scales = {1.0}
    if unit is Unit.FRACTION and number.percent:
        scales = {1.0, 100.0} if number.unit not in ("%", "percent") else {100.0}
    elif unit is Unit.PERCENT and not number.percent and abs(number.value) <= 1.0 and number.place < 1.0:
        scales = {1.0, 0.01}
    return any(_rounds(number, value * scale) for scale in scales)


def _rounds(number: Quoted, value: float) -> bool:
    """Whether ``value`` rounded to the places of ``number`` is that number; halves may go either way."""
    target, wanted = (value, number.value) if number.signed else (abs(value), abs(number.value))
    return abs(target - wanted) <= 0.5 * number.place * (1.0 + 1e-9) + 1e-9 * abs(target)


def _shown(value: float, *, sign: bool = False) -> str:
    return f"{value:+.4g}" if sign else f"{value:.4g}"
