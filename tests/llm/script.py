"""Scripts: what the server takes, and what it answers to whom.

A script is YAML::

    models: [scripted]              # what /v1/models lists and /v1/chat/completions knows
    key: secret-of-the-test         # without one, no key is asked for
    refuses: [json_schema, system]  # as real servers refuse them, with status 400
    rules:
      - match: "implement"          # a pattern that is searched in the messages and in the schema's name
        replies: [{fault: 429, retryAfter: 0}, {answer: good}]   # one after the other; the last one for ever
      - choose: [{answer: good}, {answer: missing-field}]        # by the digest of the request

The first rule that matches answers.  Without rules every answer is good.  A reply has either an ``answer`` of
:data:`~tests.llm.answers.LIBRARY` or a ``content`` of its own, and may have ``reasoning``, ``finish``, ``refusal``,
``usage`` (see :func:`usage`); or it has a ``fault``.
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from tests.llm.answers import LIBRARY, digest

Document = dict[str, Any]

FAULTS: Final = (
    "slow",
    "cut-body",
    "cut-stream",
    "reset",
    "no-body",
    "html",
    "no-choices",
    "error-in-stream",
    "endless",
)
"""Beside every status from 400 on."""
REFUSALS: Final[dict[str, tuple[str, str]]] = {
    "json_schema": ("response_format", "Invalid parameter: 'response_format' of type 'json_schema' is not supported."),
    "json_object": ("response_format", "'response_format' of type 'json_object' is not supported with this model."),
    "system": ("messages[0].role", "Conversation roles must alternate: System role not supported"),
    "stream": ("stream", "Your organization must be verified to stream this model."),
    "stream_options": ("stream_options", "Unrecognized request argument supplied: stream_options"),
    "max_completion_tokens": (
        "max_completion_tokens",
        "Unrecognized request argument supplied: max_completion_tokens",
    ),
    "temperature": ("temperature", "Unsupported value: 'temperature' does not support 0.7 with this model."),
    "everything": ("", "Bad request."),
}


@dataclass(frozen=True)
class Reply:
    """One reply of a script."""

    answer: str = ""
    content: str | None = None
    reasoning: str = ""
    refusal: str = ""
    finish: str = "stop"
    usage: str = "true"
    fault: str | int = ""
    retry_after: str | int | float | None = None
    message: str = ""
    code: str = ""

    @classmethod
    def of(cls, document: Document) -> Reply:
        """From a script."""
        fields = {"retry_after" if key == "retryAfter" else key: value for key, value in document.items()}
        reply = cls(**fields)
        if reply.answer and reply.answer not in LIBRARY:
            raise ValueError(f"no answer {reply.answer!r}; there are {', '.join(LIBRARY)}")
        if isinstance(reply.fault, str) and reply.fault and reply.fault not in FAULTS:
            raise ValueError(f"no fault {reply.fault!r}; there are {', '.join(FAULTS)} and statuses")
        return reply

    def text(self, request: Document) -> str:
        """The content of the answer."""
        return self.content if self.content is not None else LIBRARY[self.answer or "good"](request)


@dataclass(frozen=True)
class Rule:
    """Who gets which replies."""

    replies: tuple[Reply, ...]
    match: str = ""
    by_digest: bool = False


@dataclass
class Script:
    """A script, and how far it has come."""

    models: tuple[str, ...] = ("scripted",)
    key: str = ""
    refuses: frozenset[str] = frozenset()
    rules: tuple[Rule, ...] = ()
    lists_models: bool = True
    _used: dict[int, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def of(cls, document: Document) -> Script:
        """From YAML's document."""
        rules = []
        for rule in document.get("rules", ()):
            replies = tuple(Reply.of(reply) for reply in rule.get("replies") or rule["choose"])
            rules.append(Rule(replies, rule.get("match", ""), "choose" in rule))
        refuses = frozenset(document.get("refuses", ()))
        if unknown := refuses - set(REFUSALS):
            raise ValueError(f"no refusal {sorted(unknown)}; there are {', '.join(REFUSALS)}")
        return cls(
            models=tuple(document.get("models", ("scripted",))),
            key=document.get("key", ""),
            refuses=refuses,
            rules=tuple(rules),
            lists_models=document.get("listsModels", True),
        )

    @classmethod
    def load(cls, path: Path) -> Script:
        """From a file."""
        return cls.load_text(path.read_text("utf-8"))

    @classmethod
    def load_text(cls, text: str) -> Script:
        """From YAML."""
        return cls.of(yaml.safe_load(text) or {})

    def reply(self, request: Document) -> Reply:
        """The reply to a request; a sequence goes on by one."""
        text = "\n".join(str(message.get("content")) for message in request.get("messages", ()))
        name = ((request.get("response_format") or {}).get("json_schema") or {}).get("name", "")
        for number, rule in enumerate(self.rules):
            if not re.search(rule.match, f"{name}\n{text}"):
                continue
            if rule.by_digest:
                return rule.replies[digest(request) % len(rule.replies)]
            with self._lock:
                used = self._used.get(number, 0)
                self._used[number] = used + 1
            return rule.replies[min(used, len(rule.replies) - 1)]
        return Reply()

    def refusal(self, request: Document) -> Document | None:
        """The body of a status 400, if the request has something that this server does not take."""
        form = (request.get("response_format") or {}).get("type", "")
        roles = {message.get("role") for message in request.get("messages", ())}
        present = {
            "json_schema": form == "json_schema",
            "json_object": form == "json_object",
            "system": "system" in roles,
            "stream": bool(request.get("stream")),
            "everything": True,
        } | {name: name in request for name in ("stream_options", "max_completion_tokens", "temperature")}
        for name in self.refuses:
            if present[name]:
                parameter, message = REFUSALS[name]
                return {
                    "error": {"message": message, "type": "invalid_request_error", "param": parameter, "code": None}
                }
        return None


def usage(kind: str, request: Document, text: str) -> Any:
    """What the server says that it used.

    ``true`` counts a token for four characters; ``none``, ``zero``, ``small``, ``absurd``, ``negative``, ``text``,
    ``list`` and ``nan`` are lies; ``cached``, ``hidden`` (reasoning that is only in the total) and ``double`` are true.
    """
    prompt = sum(len(str(message.get("content"))) for message in request.get("messages", ())) // 4 + 8
    completion = max(1, len(text) // 4)
    counted: Document = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    match kind:
        case "true":
            return counted
        case "none":
            return None
        case "zero":
            return dict.fromkeys(counted, 0)
        case "small":
            return {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        case "absurd":
            return dict.fromkeys(counted, 10**15)
        case "negative":
            return {name: -value for name, value in counted.items()}
        case "text":
            return {name: f"{value} tokens" for name, value in counted.items()}
        case "list":
            return [prompt, completion]
        case "nan":
            return dict.fromkeys(counted, float("nan"))
        case "cached":
            return counted | {"prompt_tokens_details": {"cached_tokens": prompt // 2}}
        case "hidden":
            return counted | {"total_tokens": prompt + completion + 500}
    raise ValueError(kind)
