"""Words and numbers for a terminal: durations, signed gains, widths.  Untrusted text goes through :func:`poise_lib.plain.clean`."""

from __future__ import annotations

import shutil
import sys
import unicodedata

import click


def echo_document(text: str, *, nl: bool = True) -> None:
    """Print what a program will read (JSON, YAML, code), in UTF-8 whatever the locale, so that nothing of it is lost."""
    click.echo((text + "\n" * nl).encode(), nl=False)


def speaks_unicode() -> bool:
    """Whether standard output can take box-drawing and block letters."""
    return "utf" in (getattr(sys.stdout, "encoding", None) or "ascii").lower()


def columns(fallback: int) -> int:
    """Letters on a line of the terminal; ``fallback`` where there is none."""
    return shutil.get_terminal_size((fallback, 24)).columns


def width(text: str) -> int:
    """Columns that ``text`` takes on a terminal (wide East Asian letters take two, combining marks none)."""
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )


def fit(text: str, columns: int) -> str:
    """``text`` cut to ``columns`` with an ellipsis."""
    if width(text) <= columns:
        return text
    kept = ""
    for letter in text:
        if width(kept + letter) > columns - 1:
            break
        kept += letter
    return kept.rstrip() + "…" if columns > 0 else ""


def pad(text: str, columns: int) -> str:
    """``text`` filled up with spaces to ``columns``."""
    return text + " " * max(0, columns - width(text))


def number(value: float | None, digits: int = 1) -> str:
    """A metric, or a dash when there is none."""
    return "-" if value is None else f"{value:.{digits}f}"


def signed(value: float | None, digits: int = 1) -> str:
    """A difference with its sign; an empty text when there is none."""
    if value is None:
        return ""
    rounded = round(value, digits) + 0.0  # -0.0 becomes 0.0
    return f"{rounded:+.{digits}f}"


def duration(seconds: float) -> str:
    """``45s``, ``3m05s``, ``1h02m`` or ``2d03h``."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"


def plural(count: int, noun: str) -> str:
    """``1 seed``, ``8 seeds``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
