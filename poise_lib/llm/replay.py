"""A server that answers from transcripts: OpenAI's chat completions on a loopback address, without a model.

Answers, usage and failures are those that were recorded, so that a client charges the same and gives up at the same
point.  A question that no transcript has is a 404 which names it.  Only whoever knows the token is answered: other users
of the machine can reach a loopback address, too.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import secrets
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from types import TracebackType
from typing import Any, Final

from poise_lib.llm.failures import BROKEN, NOT_RECORDED, NOT_SENT
from poise_lib.llm.recording import Recording, question
from poise_lib.llm.wire import TASK_HEADER

_MOST_MISSES: Final = 100
_SHOWN: Final = 160
Document = Mapping[str, Any]


class ReplayServer:
    """The server, in threads of this process; a context manager.

    Args:
        recording: what it answers from.
        host: a loopback address.
        port: 0 takes a free one.
    """

    def __init__(self, recording: Recording, host: str = "127.0.0.1", port: int = 0) -> None:
        self.recording = recording
        self.token = f"replay-{secrets.token_hex(16)}"
        """What clients give as their API key."""
        self.answered = 0
        self.misses: list[str] = []
        """Questions that no transcript has, a sentence each; the first ones, each once."""
        self._lock = threading.Lock()
        replay = self

        class Handler(_Handler):
            server_of = replay

        self._http = _Server((host, port), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def url(self) -> str:
        """What ``POISE_LLM_REPLAY_URL`` is to be."""
        host, port = self._http.server_address[:2]
        return f"http://{host!s}:{port}/v1"

    def __enter__(self) -> ReplayServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def find(self, request: Document, task: str) -> Document | str:
        """The recorded exchange, or a sentence on what is not recorded."""
        found = self.recording.answer(request, task)
        with self._lock:
            if found is not None:
                self.answered += 1
                return found
            missed = _missed(request, task)
            if missed not in self.misses and len(self.misses) < _MOST_MISSES:
                self.misses.append(missed)
        return missed


def _missed(request: Document, task: str) -> str:
    messages = request.get("messages") or [{}]
    last = " ".join(str(messages[-1].get("content")).split())
    form = ((request.get("response_format") or {}).get("json_schema") or {}).get("name")
    wanted = f" for a {form}" if form else ""
    asker = f" of task {task[:12]}" if task else ""
    return (
        f"no transcript has the question {question(request).removeprefix('sha256:')[:12]}{wanted}{asker} to model "
        f"{request.get('model')!r}, whose last message begins {last[:_SHOWN]!r}"
    )


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def server_bind(self) -> None:
        """Without the base class's look-up of the host's name, which takes seconds where there is no DNS."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]


class _Handler(BaseHTTPRequestHandler):
    server_of: ReplayServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class's name)
        """Silence: ``misses`` says what went wrong."""

    def do_GET(self) -> None:
        """The list of models."""
        if not self._known():
            return
        if self.path.rstrip("/") != "/v1/models":
            self._refuse(404, "there is nothing here but /v1/models and /v1/chat/completions")
            return
        models = [{"id": model, "object": "model"} for model in self.server_of.recording.models]
        self._json(200, {"object": "list", "data": models})

    def do_POST(self) -> None:
        """A chat completion."""
        try:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            request = json.loads(body)
        except ValueError:
            request = None
        if not self._known():
            return
        if self.path.rstrip("/") != "/v1/chat/completions" or not isinstance(request, dict):
            self._refuse(404, "there is nothing here but /v1/models and /v1/chat/completions")
            return
        found = self.server_of.find(request, self.headers.get(TASK_HEADER, ""))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            if isinstance(found, str):
                self._refuse(404, found, NOT_RECORDED)
            else:
                self._answer(request, found)

    def _known(self) -> bool:
        given = self.headers.get("authorization", "")
        if hmac.compare_digest(given.encode(), f"Bearer {self.server_of.token}".encode()):
            return True
        self._refuse(401, "this is a replay of another user or run")
        return False

    def _answer(self, request: Document, exchange: Document) -> None:
        failure, answer = exchange.get("failure") or {}, exchange.get("answer") or {}
        streamed = bool(request.get("stream"))
        match failure.get("kind"):
            case None if streamed and answer.get("finish"):
                self._head(200, "text/event-stream", None)
                for chunk in _chunks(str(request.get("model")), answer):
                    self._piece(b"data: " + json.dumps(chunk).encode() + b"\n\n")
                self._piece(b"data: [DONE]\n\n")
                self._piece(b"")
            case None:
                self._json(200, _completion(str(request.get("model")), answer))
            case kind if kind == BROKEN:
                self._cut(request, answer, streamed=streamed)
            case kind if kind == NOT_SENT:
                # No connection was opened then; one is now.  This status is as free, and is repeated as often.
                self._refuse(503, str(exchange.get("problem")))
            case _:
                wait = failure.get("retryAfter")
                self._refuse(int(failure["status"]), str(failure.get("complaint")), str(failure.get("code")), wait)

    def _cut(self, request: Document, answer: Document, *, streamed: bool) -> None:
        """As much as came then, and an end in the middle."""
        self.close_connection = True
        if streamed:
            self._head(200, "text/event-stream", None)
            chunk = _chunk(str(request.get("model")), {"content": answer.get("content", "")})
            self._piece(b"data: " + json.dumps(chunk).encode() + b"\n\n")
        else:
            self._head(200, "application/json", 1 << 10)
            self.wfile.write(b'{"id":')

    def _refuse(self, status: int, message: str, code: str = "", wait: float | None = None) -> None:
        error = {"message": message, "type": "replay", "param": None, "code": code or None}
        headers = {} if wait is None else {"Retry-After": str(wait)}
        self._send(status, json.dumps({"error": error}).encode(), headers)

    def _json(self, status: int, document: Document) -> None:
        self._send(status, json.dumps(document).encode())

    def _send(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self._head(status, "application/json", len(body), headers)
        self.wfile.write(body)

    def _head(self, status: int, kind: str, length: int | None, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if length is None:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def _piece(self, data: bytes) -> None:
        """A piece of a chunked body; an empty one ends it."""
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()


def _message(answer: Document) -> dict[str, Any]:
    message: dict[str, Any] = {"content": answer.get("content", "")}
    if answer.get("reasoning"):
        message["reasoning_content"] = answer["reasoning"]
    if answer.get("refusal"):
        message["refusal"] = answer["refusal"]
    return message


def _completion(model: str, answer: Document) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", **_message(answer)}, "finish_reason": answer.get("finish")}
    document = {"id": "replay", "object": "chat.completion", "created": 0, "model": model, "choices": [choice]}
    return document if answer.get("usage") is None else document | {"usage": answer["usage"]}


def _chunks(model: str, answer: Document) -> Iterator[dict[str, Any]]:
    yield _chunk(model, {"role": "assistant", **_message(answer)})
    yield _chunk(model, {}, answer.get("finish"))
    if answer.get("usage") is not None:
        yield {**_chunk(model, {}), "choices": [], "usage": answer["usage"]}


def _chunk(model: str, delta: Document, finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "replay", "object": "chat.completion.chunk", "created": 0, "model": model, "choices": [choice]}
