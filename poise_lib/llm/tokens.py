"""How many tokens a text can be, without the model's tokenizer.

A tokenizer would have to be downloaded, and most servers have one that is not public.  Two bounds do instead:

* :func:`most`: a token stands for at least one byte of UTF-8 (byte-level BPE and SentencePiece with byte fallback), so a
  text has no more tokens than bytes.  English and code have about a quarter of that.  Reservations count so.
* :func:`least`: in text that is not whitespace or repetition hardly a token is longer than ten bytes.  A server that
  reports less than this has not counted.

:func:`estimate` lies between: what a prompt is cut to.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

_MESSAGE: Final = 16
"""Tokens that a chat template puts round one message: published templates have four to eight."""
_TEMPLATE: Final = 512
"""Tokens that a template or a server adds of its own: dates, roles, tool and reasoning instructions."""
_LONGEST: Final = 10
_REPEATED: Final = re.compile(rb"(.)\1{2,}", re.DOTALL)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def most(text: str) -> int:
    """No tokenizer makes more tokens of it."""
    return len(_bytes(text))


def estimate(text: str) -> int:
    """About as many tokens, on the high side for English and code: three bytes a token."""
    return -(-len(_bytes(text)) // 3)


def least(text: str) -> int:
    """No tokenizer that is in use makes fewer tokens of it: runs of one character count as two, whitespace as nothing."""
    return len(_REPEATED.sub(rb"\1\1", b"".join(_bytes(text).split()))) // _LONGEST


def most_of_prompt(texts: Iterable[str], schema: str = "") -> int:
    """No more tokens go in: the messages, what the template puts round them, and the schema, which servers count too."""
    return _TEMPLATE + most(schema) + sum(_MESSAGE + most(text) for text in texts)


def least_of_prompt(texts: Iterable[str]) -> int:
    """At least as many go in."""
    return sum(least(text) for text in texts)
