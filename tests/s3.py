"""A stand-in for S3: an HTTP server with the calls that the artifact store makes, in memory.

It is no S3.  Any other server takes its place where POISE_S3_ENDPOINT names one, such as MinIO or moto's (``moto_server``),
which cannot be installed beside the Kubernetes client: its botocore wants an older python-dateutil.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import re
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape, unescape

ENDPOINT_VARIABLE: Final = "POISE_S3_ENDPOINT"
KEY_ID: Final = "poise-test"
_NUMBERS: Final = itertools.count(1)


@dataclass
class Contents:
    """What the server holds: by bucket and key, content and time of the write."""

    buckets: dict[str, dict[str, tuple[bytes, datetime]]] = field(default_factory=dict)
    conditional: bool = True
    """Whether it knows If-None-Match; some servers do not, and answer 501."""
    requests: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True)
class S3:
    """A server, and a bucket of it that nobody else has."""

    endpoint: str
    bucket: str
    contents: Contents | None
    """None for a server that is not ours."""

    @property
    def url(self) -> str:
        """Where a store may lie."""
        return f"s3://{self.bucket}/prefix"

    @property
    def environment(self) -> dict[str, str]:
        """What a client is told."""
        return {"AWS_ENDPOINT_URL": self.endpoint, "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": KEY_ID,
                "AWS_SECRET_ACCESS_KEY": "secret"}  # fmt: skip


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    contents: Contents

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _error(self, status: int, code: str) -> None:
        self._answer(status, f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode())

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        data = self.rfile.read(length)
        path = urlsplit(self.path)
        bucket, _, key = unquote(path.path).lstrip("/").partition("/")
        with self.contents.lock:
            self.contents.requests.append(f"{self.command} {key}")
            if f"Credential={KEY_ID}/" not in self.headers.get("Authorization", ""):
                return self._error(403, "AccessDenied")
            if self.command == "PUT" and not key:
                self.contents.buckets.setdefault(bucket, {})
                return self._answer(200)
            objects = self.contents.buckets.get(bucket)
            if objects is None:
                return self._error(404, "NoSuchBucket")
            if self.command == "GET" and not key:
                return self._list(objects, parse_qs(path.query).get("prefix", [""])[0])
            if self.command == "POST" and path.query == "delete":
                gone = [unescape(name) for name in re.findall("<Key>(.*?)</Key>", data.decode())]
                for name in gone:
                    objects.pop(name, None)
                told = "".join(f"<Deleted><Key>{escape(name)}</Key></Deleted>" for name in gone)
                return self._answer(200, f"<DeleteResult>{told}</DeleteResult>".encode())
            return self._object(objects, key, data)

    def _object(self, objects: dict[str, tuple[bytes, datetime]], key: str, data: bytes) -> None:
        if self.command == "PUT":
            if self.headers.get("If-None-Match") == "*":
                if not self.contents.conditional:
                    return self._error(501, "NotImplemented")
                if key in objects:
                    return self._error(412, "PreconditionFailed")
            objects[key] = (data, datetime.now(UTC))
            return self._answer(200, ETag=_etag(data))
        if key not in objects:
            return self._error(404, "NoSuchKey")
        content, written = objects[key]
        return self._answer(200, content, ETag=_etag(content), Last_Modified=format_datetime(written, usegmt=True))

    def _list(self, objects: dict[str, tuple[bytes, datetime]], prefix: str) -> None:
        shown = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(content)}</Size><ETag>{_etag(content)}</ETag>"
            f"<LastModified>{written.strftime('%Y-%m-%dT%H:%M:%S.000Z')}</LastModified></Contents>"
            for key, (content, written) in sorted(objects.items())
            if key.startswith(prefix)
        )
        self._answer(200, f"<ListBucketResult><IsTruncated>false</IsTruncated>{shown}</ListBucketResult>".encode())

    do_GET = do_HEAD = do_PUT = do_POST = _serve  # noqa: N815 - http.server's names


def _etag(data: bytes) -> str:
    return f'"{hashlib.sha256(data).hexdigest()[:32]}"'


@contextlib.contextmanager
def serve() -> Iterator[S3]:
    """A server with an empty bucket."""
    bucket = f"poise-{os.getpid()}-{next(_NUMBERS)}"
    given = os.environ.get(ENDPOINT_VARIABLE)
    if given:
        with urllib.request.urlopen(urllib.request.Request(f"{given}/{bucket}", method="PUT")):
            yield S3(given, bucket, None)
        return
    contents = Contents({bucket: {}})
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"contents": contents}))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield S3(f"http://127.0.0.1:{server.server_port}", bucket, contents)
    finally:
        server.shutdown()
        server.server_close()
