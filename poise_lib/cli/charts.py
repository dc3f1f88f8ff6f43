"""Curves on a terminal: a dotted chart in Braille letters (or ASCII), and one-line sparks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import click

_SPARKS = "▁▂▃▄▅▆▇█"
_COLOURS = ("cyan", "magenta", "yellow", "green")
_ASCII_MARKS = "*o+x"
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""Bits of the eight dots of a Braille letter, by row and column."""


@dataclass(frozen=True)
class Series:
    """A named curve: (x, y) points in order of x, and how they are joined."""

    name: str
    points: tuple[tuple[float, float], ...]
    style: Literal["line", "steps", "dots"] = "line"


def spark(values: Sequence[float], columns: int = 24) -> str:
    """The values as a row of blocks from the least to the largest; not finite ones are blank."""
    picked = [values[index * len(values) // columns] for index in range(columns)] if len(values) > columns else values
    finite = [value for value in picked if math.isfinite(value)]
    if not finite:
        return ""
    low, high = min(finite), max(finite)
    scale = (len(_SPARKS) - 1) / (high - low) if high > low else 0.0
    return "".join(_SPARKS[round((value - low) * scale)] if math.isfinite(value) else " " for value in picked)


def chart(
    series: Sequence[Series], *, columns: int = 72, height: int = 12, x_label: str = "", ascii_only: bool = False
) -> list[str]:
    """A chart of a few curves with axes and a legend.

    Args:
        series: at most four, each with at least one finite point.
        columns: width in letters, axis included.
        height: lines of the plot itself.
        x_label: what x counts.
        ascii_only: a mark a cell instead of Braille dots.
    """
    drawn = [replace(item, points=tuple(p for p in item.points if math.isfinite(p[1]))) for item in series]
    drawn = [item for item in drawn if item.points][: len(_COLOURS)]
    if not drawn:
        return ["nothing to draw yet"]
    xs = [x for item in drawn for x, _ in item.points]
    ys = [y for item in drawn for _, y in item.points]
    (x_low, x_high), (y_low, y_high) = _range(xs), _range(ys)
    labels = [_label(y_high), _label((y_low + y_high) / 2), _label(y_low)]
    margin = max(len(label) for label in labels)
    across = max(10, columns - margin - 2)
    per_cell = (1, 1) if ascii_only else (2, 4)
    cells: dict[tuple[int, int], tuple[int, int]] = {}
    for index, item in enumerate(drawn):
        dots = [
            (round((x - x_low) / (x_high - x_low) * (across * per_cell[0] - 1)),
             round((y_high - y) / (y_high - y_low) * (height * per_cell[1] - 1)))
            for x, y in item.points
        ]  # fmt: skip
        for column, row in _joined(dots, item.style):
            place = (row // per_cell[1], column // per_cell[0])
            bits = cells.get(place, (0, index))[0] | _DOTS[row % 4][column % 2]
            cells[place] = (bits, index)
    lines = []
    for row in range(height):
        label = labels[0] if row == 0 else labels[1] if row == height // 2 else labels[2] if row == height - 1 else ""
        body = "".join(_cell(cells.get((row, column)), ascii_only) for column in range(across))
        lines.append(f"{label:>{margin}} {'|' if ascii_only else '┤' if label else '│'}{body}".rstrip())
    lines.append(" " * (margin + 1) + (("+" + "-" * across) if ascii_only else "└" + "─" * across))
    left, right = _label(x_low), _label(x_high)
    middle = x_label.center(max(0, across - len(left) - len(right)))
    lines.append(f"{'':{margin + 2}}{left}{middle}{right}".rstrip())
    if len(drawn) > 1 or drawn[0].name:
        marks = [_ASCII_MARKS[index] if ascii_only else "━" for index in range(len(drawn))]
        legend = "   ".join(
            f"{click.style(mark, fg=_COLOURS[index])} {drawn[index].name}" for index, mark in enumerate(marks)
        )
        lines.append(f"{'':{margin + 2}}{legend}")
    return lines


def _cell(found: tuple[int, int] | None, ascii_only: bool) -> str:
    if found is None:
        return " "
    bits, index = found
    return click.style(_ASCII_MARKS[index] if ascii_only else chr(0x2800 + bits), fg=_COLOURS[index])


def _joined(dots: Sequence[tuple[int, int]], style: str) -> list[tuple[int, int]]:
    """Every dot on the way between neighbours: straight, or across and then up or down."""
    if style == "dots":
        return list(dots)
    if style == "steps":
        dots = [dots[0], *(dot for before, after in pairwise(dots) for dot in ((after[0], before[1]), after))]
    path = [dots[0]]
    for (x0, y0), (x1, y1) in pairwise(dots):
        steps = max(abs(x1 - x0), abs(y1 - y0), 1)
        path += [
            (x0 + round((x1 - x0) * step / steps), y0 + round((y1 - y0) * step / steps)) for step in range(1, steps + 1)
        ]
    return path


def _range(values: Sequence[float]) -> tuple[float, float]:
    """The least and the largest, apart even when all are equal."""
    low, high = min(values), max(values)
    if high > low:
        return low, high
    margin = abs(low) * 0.05 or 1.0
    return low - margin, high + margin


def _label(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
