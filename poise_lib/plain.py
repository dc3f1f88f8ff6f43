"""Text that a model, a candidate, a paper or a file wrote, made harmless for where it is shown.

Whatever comes from outside is data (arXiv:2603.23951 leaves this open; a search that reads its own output cannot).
Each place has its own dangers, and so its own function: :func:`clean` for terminals and logs, :func:`markup` for HTML, SVG and XML,
:func:`json_text` for documents that programs read and people print.  Nothing of ours goes into Markdown; Mermaid has
:mod:`poise_lib.cli.tree_mermaid`.
Prompts fence text instead (:mod:`poise_lib.prompts.fencing`), after :func:`clean`.
"""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any, Final

_ESCAPES: Final = re.compile(
    r"\x1b(?:\][^\x07\x1b]*(?:\x07|\x1b\\)?|[PX^_][^\x1b]*(?:\x1b\\)?|\[[0-?]*[ -/]*[@-~]?|[ -/]*[0-~]?)|\x9b[0-?]*[ -/]*[@-~]?"
)
"""Whole control sequences (CSI, OSC, DCS and the short ones), so that their parameters go with them."""
_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories that move the cursor, reorder text or show nothing."""
_INVISIBLE: Final = frozenset(
    chr(code)
    for start, end in (
        (0x034F, 0x034F), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F), (0x3164, 0x3164), (0xFE00, 0xFE0F),
        (0xFFA0, 0xFFA0), (0xE0100, 0xE01EF),
    )
    for code in range(start, end + 1)
)  # fmt: skip
"""Letters and marks that show nothing, variation selectors among them: text can be smuggled in rows of them."""
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_ENTITIES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;"}


def clean(text: object, *, lines: bool = False) -> str:
    """Text without anything that a terminal would obey, and without letters that hide or reorder others.

    Args:
        text: what to show.
        lines: keep line breaks (and turn tabs into spaces); otherwise the text becomes one line.
    """
    plain = _ESCAPES.sub("", str(text)).replace("\t", "    ").replace("\r\n", "\n")
    if not lines:
        plain = plain.replace("\n", " ")
    return "".join(letter for letter in plain if letter == "\n" or not _hidden(letter))


def hides(text: str) -> bool:
    """Whether a text of several lines holds a letter that :func:`clean` would take out."""
    if text.isascii():
        return bool(_CONTROLS.search(text))
    return any(letter not in "\n\r\t" and _hidden(letter) for letter in text)


def markup(text: object, *, lines: bool = False) -> str:
    """Cleaned text for HTML, SVG or XML, between tags or within a quoted attribute."""
    return "".join(_ENTITIES.get(letter, letter) for letter in clean(text, lines=lines))


def json_text(value: Any, indent: int | None = 2) -> str:
    """JSON in which every letter that is hidden or obeyed by a terminal is an escape: the same document, safe to print."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    if text.isascii():  # json itself escapes everything below a space
        return text.replace("\x7f", "\\u007f")
    return "".join(letter if letter == "\n" or not _hidden(letter) else _escaped(letter) for letter in text)


def _hidden(letter: str) -> bool:
    return unicodedata.category(letter) in _HIDDEN or letter in _INVISIBLE


def _escaped(letter: str) -> str:
    """A letter as JSON's escapes, in two halves beyond the basic plane."""
    return json.dumps(letter)[1:-1] if letter != "\x7f" else "\\u007f"
