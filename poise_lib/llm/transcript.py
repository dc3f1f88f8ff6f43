"""What was said to the model and what came back, for people and for the archive; without secrets.

A transcript holds no times and no request identifiers: the same answers leave the same bytes, under the same digest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, urlsplit, urlunsplit

from poise_lib.artifacts.digest import canonical_json

REMOVED: Final = "[removed]"
_SHORTEST: Final = 8
"""A shorter key is a placeholder ("none", "EMPTY", "ollama") for a server that asks for none: to remove such a word everywhere
would tear prompts apart, and a replay would not find its questions again."""
_PATTERNS: Final = (
    (re.compile(r"(?i)\b(authorization\"?\s*[:=]\s*\"?(?:bearer|basic)?\s*)[^\s\"',;]+"), rf"\1{REMOVED}"),
    (re.compile(r"(?i)\b(bearer\s+)[A-Za-z0-9._~+/=-]{8,}"), rf"\1{REMOVED}"),
    (re.compile(r"(?i)\b((?:api[-_]?key|x-api-key|access[-_]?token)\"?\s*[:=]\s*\"?)[^\s\"',;]{8,}"), rf"\1{REMOVED}"),
    (re.compile(r"\bsk-[A-Za-z0-9_-]{8,}"), REMOVED),
    (re.compile(r"(?i)(\bhttps?://)[^\s/@\"']+@"), rf"\1{REMOVED}@"),
)


@dataclass(frozen=True)
class Scrubber:
    """Takes secrets out of texts and documents: the key in use, and whatever looks like one."""

    secrets: tuple[str, ...] = ()

    def text(self, text: str) -> str:
        """A text without secrets."""
        for secret in sorted(self.secrets, key=len, reverse=True):
            if len(secret) >= _SHORTEST:
                text = text.replace(secret, REMOVED).replace(quote(secret, safe=""), REMOVED)
        for pattern, replacement in _PATTERNS:
            text = pattern.sub(replacement, text)
        return text

    def document(self, value: Any) -> Any:
        """A JSON document without secrets, in its keys and its values."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.text(str(key)): self.document(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self.document(inner) for inner in value]
        return value


def shown_url(url: str) -> str:
    """An address for messages: without user, query and fragment."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))


@dataclass(frozen=True)
class Exchange:
    """One call and its end."""

    request: Mapping[str, Any]
    """Body of the request."""
    content: str = ""
    reasoning: str = ""
    finish: str = ""
    usage: Mapping[str, Any] | None = None
    """As the server reported it."""
    charged: Mapping[str, Any] = field(default_factory=dict)
    """What the ledger counts for it."""
    problem: str = ""
    """Why the answer was not taken: an error, or what does not fit the schema."""
    refusal: str = ""
    """The model's own words when it declines."""
    failure: Mapping[str, Any] = field(default_factory=dict)
    """How a call failed, for a replay: its kind, and the status, code and wait that the server gave."""

    def to_document(self) -> dict[str, Any]:
        """As it is kept; what is empty is left out."""
        answer = {
            "content": self.content,
            "reasoning": self.reasoning,
            "refusal": self.refusal,
            "finish": self.finish,
            "usage": self.usage,
        }
        document = {
            "request": self.request,
            "answer": {key: value for key, value in answer.items() if value},
            "charged": self.charged,
            "problem": self.problem,
            "failure": self.failure,
        }
        return {key: value for key, value in document.items() if value}


@dataclass(frozen=True)
class Transcript:
    """All exchanges of one question, repeats and repairs included."""

    endpoint: str
    model: str
    exchanges: tuple[Exchange, ...]
    scrubber: Scrubber = field(default_factory=Scrubber, repr=False)
    task: str = ""
    """Digest of the task's input, which tells equal questions of different tasks apart; empty outside a search."""

    def to_document(self) -> dict[str, Any]:
        """The document that is kept, without secrets."""
        document: dict[str, Any] = self.scrubber.document(
            {
                "endpoint": self.endpoint,
                "model": self.model,
                "exchanges": [exchange.to_document() for exchange in self.exchanges],
            }
        )
        return {**document, "task": self.task} if self.task else document

    def to_bytes(self) -> bytes:
        """The artifact."""
        return canonical_json(_plain(self.to_document()))


def _plain(value: Any) -> Any:
    """What canonical JSON can hold: a server's usage may have NaN in it, its text half a surrogate pair."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    if isinstance(value, dict):
        return {_plain(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return value
