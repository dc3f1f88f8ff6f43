"""The scripted server: real sockets, the wire format of OpenAI's chat completions, and every way of failing at it.

    python -m tests.llm.server --port 8000 --script script.yaml

Nothing but the standard library and YAML, so that it runs in a pod as well; only answers in POISE's own roles need
``poise_lib`` beside it, for the zoo.  See :mod:`tests.llm.script`, and ``scripts/search.yaml`` for a whole search.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import socket
import struct
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import TCPServer
from types import TracebackType
from typing import Any

from tests.llm.script import Document, Reply, Script, usage

_PIECES = 7


class ScriptedServer:
    """The server in threads of this process; a context manager.

    ``requests`` holds what came, ``worked`` what the model really used for each answer that it began.
    """

    def __init__(self, script: Script | None = None, host: str = "127.0.0.1", port: int = 0) -> None:
        self.script = script or Script()
        self.requests: list[Document] = []
        self.headers: list[dict[str, str]] = []
        self.statuses: list[int] = []
        self.worked: list[Document] = []
        self.stopping = threading.Event()
        server = self

        class Handler(_Handler):
            scripted = server

        self._http = _Server((host, port), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def url(self) -> str:
        """What ``baseURL`` is to be."""
        host, port = self._http.server_address[:2]
        return f"http://{host!s}:{port}/v1"

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def __enter__(self) -> ScriptedServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Let go of everything, slow answers too."""
        self.stopping.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def wait(self) -> None:
        """Until it is stopped."""
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def server_bind(self) -> None:
        """Without the base class's look-up of the host's name, which takes seconds where there is no DNS."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]


class _Handler(BaseHTTPRequestHandler):
    scripted: ScriptedServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class's name)
        """Silence: tests look at ``requests``."""

    def do_GET(self) -> None:
        if not self._authorised():
            return
        if self.path == "/healthz":
            self._json(200, {"ready": True})
        elif self.path.rstrip("/") == "/v1/models" and self.scripted.script.lists_models:
            self._json(
                200, {"object": "list", "data": [{"id": m, "object": "model"} for m in self.scripted.script.models]}
            )
        else:
            self._json(404, {"detail": "Not Found"})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if not self._authorised():
            return
        if self.path.rstrip("/") != "/v1/chat/completions":
            self._json(404, {"detail": "Not Found"})
            return
        request: Document = json.loads(body)
        script = self.scripted.script
        self.scripted.requests.append(request)
        self.scripted.headers.append(dict(self.headers.items()))
        if request.get("model") not in script.models:
            message = f"The model `{request.get('model')}` does not exist or you do not have access to it."
            self._error(404, message, "model_not_found")
        elif (refused := script.refusal(request)) is not None:
            self._json(400, refused)
        else:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self._answer(request, script.reply(request))

    def _authorised(self) -> bool:
        key = self.scripted.script.key
        given = self.headers.get("authorization", "")
        if not key or given == f"Bearer {key}" or self.path == "/healthz":
            return True
        self._error(401, f"Incorrect API key provided: {given.removeprefix('Bearer ')}.", "invalid_api_key")
        return False

    def _answer(self, request: Document, reply: Reply) -> None:
        if isinstance(reply.fault, int):
            self._error(reply.fault, reply.message or "scripted failure", reply.code, reply.retry_after)
            return
        streamed = bool(request.get("stream"))
        if reply.fault != "reset":
            told = reply.refusal or reply.text(request) + reply.reasoning
            self.scripted.worked.append(usage("hidden" if reply.usage == "hidden" else "true", request, told))
        match reply.fault:
            case "slow":
                self.scripted.stopping.wait()
                self.close_connection = True
            case "reset":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
                self.close_connection = True
            case "no-body":
                self._send(200, b"", "application/json")
            case "html":
                self._send(200, b"<html><h1>It works!</h1></html>", "text/html")
            case "no-choices":
                self._json(
                    200, {"id": "x", "object": "chat.completion", "choices": [], "usage": usage("zero", request, "")}
                )
            case "cut-body":
                whole = json.dumps(self._completion(request, reply)).encode()
                self._head(200, "application/json", len(whole))
                self.wfile.write(whole[: len(whole) // 2])
                self.close_connection = True
            case _ if streamed:
                self._stream(request, reply)
            case _:
                self._json(200, self._completion(request, reply))

    def _completion(self, request: Document, reply: Reply) -> Document:
        text = reply.text(request)
        message: Document = {"role": "assistant", "content": text}
        if reply.reasoning:
            message["reasoning_content"] = reply.reasoning
        if reply.refusal:
            message |= {"content": None, "refusal": reply.refusal}
        document: Document = {
            "id": "chatcmpl-scripted",
            "object": "chat.completion",
            "created": 0,
            "model": request["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": reply.finish}],
        }
        told = usage(reply.usage, request, text + reply.reasoning)
        return document if told is None else document | {"usage": told}

    def _stream(self, request: Document, reply: Reply) -> None:
        self._head(200, "text/event-stream", None)
        for number, chunk in enumerate(self._chunks(request, reply)):
            if reply.fault == "cut-stream" and number == 3:
                self.close_connection = True  # without the last, empty piece that ends a chunked body
                return
            if reply.fault == "error-in-stream" and number == 3:
                chunk = {"error": {"message": "the engine died", "code": 500}}
            self._piece(f"data: {json.dumps(chunk)}\n\n".encode())
        if reply.fault == "endless":
            while not self.scripted.stopping.is_set():
                self._piece(f"data: {json.dumps(self._chunk(request, {'content': 'x' * 65536}))}\n\n".encode())
        self._piece(b"data: [DONE]\n\n")
        self._piece(b"")

    def _chunks(self, request: Document, reply: Reply) -> Iterator[Document]:
        text = reply.text(request)
        yield self._chunk(request, {"role": "assistant", "content": ""})
        if reply.reasoning:
            yield self._chunk(request, {"reasoning_content": reply.reasoning})
        if reply.refusal:
            yield self._chunk(request, {"refusal": reply.refusal})
        else:
            step = max(1, len(text) // _PIECES)
            for start in range(0, len(text), step):
                yield self._chunk(request, {"content": text[start : start + step]})
        if reply.fault != "endless":
            yield self._chunk(request, {}, reply.finish)
        wanted = (request.get("stream_options") or {}).get("include_usage")
        if wanted and (told := usage(reply.usage, request, text + reply.reasoning)) is not None:
            yield {**self._chunk(request, {}), "choices": [], "usage": told}

    def _chunk(self, request: Document, delta: Document, finish: str | None = None) -> Document:
        return {
            "id": "chatcmpl-scripted",
            "object": "chat.completion.chunk",
            "created": 0,
            "model": request["model"],
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        }

    def _error(self, status: int, message: str, code: str = "", retry_after: str | float | None = None) -> None:
        body = {"error": {"message": message, "type": "scripted", "param": None, "code": code or None}}
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        self._send(status, json.dumps(body).encode(), "application/json", headers)

    def _json(self, status: int, document: Document) -> None:
        self._send(status, json.dumps(document).encode(), "application/json")

    def _send(self, status: int, body: bytes, kind: str, headers: dict[str, str] | None = None) -> None:
        self._head(status, kind, len(body), headers)
        self.wfile.write(body)

    def _head(self, status: int, kind: str, length: int | None, headers: dict[str, str] | None = None) -> None:
        self.scripted.statuses.append(status)
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


def main(arguments: list[str] | None = None) -> None:
    """Serve until interrupted; says on one line where."""
    parser = argparse.ArgumentParser(description="An OpenAI-compatible server that answers by a script.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--script", type=Path)
    options = parser.parse_args(arguments)
    server = ScriptedServer(Script.load(options.script) if options.script else None, options.host, options.port)
    server.start()
    print(f"listening on {server.url}", flush=True)  # noqa: T201
    with contextlib.suppress(KeyboardInterrupt):
        server.wait()
    server.stop()


if __name__ == "__main__":
    main()
