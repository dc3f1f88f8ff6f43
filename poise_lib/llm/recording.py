"""What was asked and answered once, found again: the transcripts of an artifact store, by what is asked.

The same question may be written in different dialects, because which of several calls learns first what a server does not
take is a matter of time.  So a question is what is asked, not how: the model, the messages without the schema in words and
with instructions where every dialect can have them, and the schema.  Equal questions of different tasks (two children
of one parent along one direction) are told apart by the digest of the task's input.  Equal questions of one task, which
are repeats, are answered in their order, and from the start again after the last.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from poise_lib.artifacts import Store
from poise_lib.artifacts.digest import canonical_json, digest_of
from poise_lib.llm.dialect import REPAIR_WORDS, SCHEMA_WORDS
from poise_lib.llm.failures import REJECTED
from poise_lib.llm.transcript import Scrubber

_PREFIX: Final = b'{"endpoint":'
"""How canonical JSON of a transcript begins: no other artifact does."""
_LARGEST: Final = 64 << 20
"""Bytes beyond which a blob is no transcript: weights are not read for this."""
_REFUSALS: Final = frozenset({400, 415, 422, 500, 501})
"""Statuses that may speak of the dialect rather than of the question."""
Document = Mapping[str, Any]


def transcripts_in(store: Store) -> Iterator[dict[str, Any]]:
    """Every transcript of a store, in the order of their digests."""
    blobs = sorted(item.digest for item in store.objects() if not item.is_result and item.size <= _LARGEST)
    for digest in blobs:
        data = store.get(digest)
        if not data.startswith(_PREFIX):
            continue
        try:
            document = json.loads(data)
        except ValueError:
            continue
        if isinstance(document, dict) and isinstance(document.get("exchanges"), list):
            yield document


def question(request: Document) -> str:
    """Digest over what a request asks, whatever the dialect that it is written in."""
    told: dict[str, Any] = Scrubber().document(request)
    form = told.get("response_format") or {}
    schema = form["json_schema"]["schema"] if form.get("type") == "json_schema" else None
    messages = [(str(item.get("role")), str(item.get("content"))) for item in told.get("messages") or ()]
    if messages:
        role, content = messages[-1]
        content, said = _without_schema(content)
        messages[-1] = (role, content)
        schema = said if schema is None else schema
    document = {"model": told.get("model"), "messages": _without_system(messages), "schema": schema}
    return digest_of(canonical_json(document))


def _without_schema(content: str) -> tuple[str, Any]:
    """A message without the schema that ends it, and the schema."""
    for words in (SCHEMA_WORDS, REPAIR_WORDS):
        head, found, tail = content.rpartition(words)
        if not found:
            continue
        try:
            return head, json.loads(tail)
        except ValueError:
            continue
    return content, None


def _without_system(messages: Sequence[tuple[str, str]]) -> list[list[str]]:
    """As :func:`~poise_lib.llm.dialect.without_system`, which some dialects use, leaves them."""
    told = [content for role, content in messages if role == "system"]
    rest = [[role, content] for role, content in messages if role != "system"]
    if not told:
        return rest
    head = "\n\n".join(told)
    if rest and rest[0][0] == "user":
        return [["user", f"{head}\n\n{rest[0][1]}"], *rest[1:]]
    return [["user", head], *rest]


def shape(request: Document) -> tuple[Any, ...]:
    """How a request is written: its dialect."""
    fields = tuple(sorted(key for key in request if key not in ("messages", "model")))
    system = any(item.get("role") == "system" for item in request.get("messages") or ())
    return fields, (request.get("response_format") or {}).get("type"), system


@dataclass
class _Queue:
    """Recorded exchanges of one question, and which is next."""

    exchanges: list[Document] = field(default_factory=list)
    next: int = 0

    def take(self, request: Document) -> Document:
        """The next one.  A refusal of a dialect in which this request is not written is passed over."""
        for _ in self.exchanges:
            found = self.exchanges[self.next]
            self.next = (self.next + 1) % len(self.exchanges)
            failure = found.get("failure") or {}
            about_dialect = failure.get("kind") == REJECTED and failure.get("status") in _REFUSALS
            if not about_dialect or shape(found["request"]) == shape(request):
                break
        return found


class Recording:
    """Transcripts, ready to answer from; safe for threads.

    Args:
        transcripts: documents of :class:`~poise_lib.llm.transcript.Transcript`.
    """

    def __init__(self, transcripts: Iterable[Document]) -> None:
        self._by_task: dict[tuple[str, str], _Queue] = {}
        self._by_question: dict[str, _Queue] = {}
        self._lock = threading.Lock()
        self.transcripts = 0
        endpoints: dict[str, int] = {}
        models: dict[str, int] = {}
        for transcript in transcripts:
            self.transcripts += 1
            task = str(transcript.get("task") or "")
            endpoint, model = str(transcript.get("endpoint")), str(transcript.get("model"))
            endpoints[endpoint] = endpoints.get(endpoint, 0) + 1
            models[model] = models.get(model, 0) + 1
            for exchange in transcript["exchanges"]:
                asked = question(exchange["request"])
                self._by_task.setdefault((task, asked), _Queue()).exchanges.append(exchange)
                self._by_question.setdefault(asked, _Queue()).exchanges.append(exchange)
        self.endpoint = max(endpoints, key=lambda name: (endpoints[name], name)) if endpoints else ""
        """Where most of them were recorded."""
        self.models = tuple(sorted(models))

    def answer(self, request: Document, task: str = "") -> Document | None:
        """The recorded exchange for a request; None when no transcript has its question.

        Args:
            request: body of a chat completion's request.
            task: digest of the input of the task that asks; one that is not known gets what another task was told.
        """
        asked = question(request)
        with self._lock:
            queue = self._by_task.get((task, asked)) or self._by_question.get(asked)
            return queue.take(request) if queue is not None else None
