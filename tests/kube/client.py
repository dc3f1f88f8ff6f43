"""A JSON client for the API server, as small as tests need it: no discovery, no cache, paths written out.

It takes milliseconds where a call of kubectl takes a tenth of a second, shows the server's message as it is, and acts
as another user by impersonation or by a token.
"""

from __future__ import annotations

import http.client
import json
import ssl
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

JSON: Final = "application/json"
MERGE_PATCH: Final = "application/merge-patch+json"
JSON_PATCH: Final = "application/json-patch+json"
APPLY_PATCH: Final = "application/apply-patch+yaml"
FIELD_MANAGER: Final = "poise-tests"
TIMEOUT_SECONDS: Final = 30.0

Document = dict[str, Any]


class ApiError(Exception):
    """The server refused; ``status`` is the HTTP code, ``reason`` Kubernetes' word for it, ``message`` its sentence."""

    def __init__(self, status: int, body: str) -> None:
        try:
            answer = json.loads(body)
        except ValueError:
            answer = {}
        self.status = status
        self.reason: str = answer.get("reason", "")
        self.message: str = answer.get("message", body)
        causes = answer.get("details", {}).get("causes", ())
        self.causes = tuple((cause.get("field", ""), cause.get("message", "")) for cause in causes)
        """Fields that were found wrong, each with a sentence."""
        super().__init__(f"{status} {self.reason}: {self.message}")


@dataclass(frozen=True)
class Client:
    """One user's access to one API server."""

    host: str
    port: int
    ca: Path
    certificate: tuple[Path, Path] | None = None
    """The certificate and its key; None for a user who has a token, or is nobody."""
    headers: tuple[tuple[str, str], ...] = ()
    context: ssl.SSLContext = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        context = ssl.create_default_context(cafile=str(self.ca))
        if self.certificate:
            context.load_cert_chain(*map(str, self.certificate))
        object.__setattr__(self, "context", context)

    def impersonate(self, user: str, *groups: str) -> Client:
        """The same access, acting as another user; ``system:authenticated`` comes by itself."""
        extra = (("Impersonate-User", user), *(("Impersonate-Group", group) for group in groups))
        return replace(self, headers=(*self.headers, *extra))

    def with_token(self, token: str) -> Client:
        """Whoever the token belongs to, without the certificate."""
        return replace(self, certificate=None, headers=(("Authorization", f"Bearer {token}"),))

    def anonymous(self) -> Client:
        """Nobody."""
        return replace(self, certificate=None, headers=())

    def text(self, method: str, path: str, body: Any = None, *, content_type: str = JSON, **query: Any) -> str:
        """Send one request; the body of the answer.

        Raises:
            ApiError: the server refused.
            OSError: it could not be reached.
        """
        if query:
            path = f"{path}?{urlencode(query)}"
        connection = http.client.HTTPSConnection(self.host, self.port, timeout=TIMEOUT_SECONDS, context=self.context)
        try:
            connection.putrequest(method, path)
            for name, value in (*self.headers, ("Accept", f"{JSON}, */*"), ("Content-Type", content_type)):
                connection.putheader(name, value)
            payload = b"" if body is None else json.dumps(body).encode()
            connection.putheader("Content-Length", str(len(payload)))
            connection.endheaders(payload)
            response = connection.getresponse()
            answer = response.read().decode("utf-8", errors="replace")
        finally:
            connection.close()
        if response.status >= 300:
            raise ApiError(response.status, answer)
        return answer

    def request(self, method: str, path: str, body: Any = None, *, content_type: str = JSON, **query: Any) -> Document:
        """Send one request; the answer as JSON.  Raises as :meth:`text` does."""
        answer: Document = json.loads(self.text(method, path, body, content_type=content_type, **query))
        return answer

    def get(self, path: str, **query: Any) -> Document:
        """Read an object or a list."""
        return self.request("GET", path, **query)

    def create(self, path: str, document: Document, **query: Any) -> Document:
        """POST to a collection."""
        return self.request("POST", path, document, **query)

    def replace(self, path: str, document: Document, **query: Any) -> Document:
        """PUT an object, or a subresource of one."""
        return self.request("PUT", path, document, **query)

    def patch(self, path: str, document: Any, *, content_type: str = MERGE_PATCH, **query: Any) -> Document:
        """PATCH an object, or a subresource of one."""
        return self.request("PATCH", path, document, content_type=content_type, **query)

    def apply(self, path: str, document: Document, *, manager: str = FIELD_MANAGER, force: bool = True) -> Document:
        """Server-side apply."""
        query = {"fieldManager": manager, "force": str(force).lower()}
        return self.request("PATCH", path, document, content_type=APPLY_PATCH, **query)

    def delete(self, path: str, **query: Any) -> Document:
        """DELETE an object or a collection."""
        return self.request("DELETE", path, **query)


def namespaced(group_version: str, namespace: str, plural: str, name: str = "", subresource: str = "") -> str:
    """A path such as ``/apis/poise.dev/v1alpha1/namespaces/NAMESPACE/searches/NAME/status``; ``v1`` is the core."""
    root = f"/api/{group_version}" if "/" not in group_version else f"/apis/{group_version}"
    parts = [root, "namespaces", namespace, plural, *(quote(part) for part in (name, subresource) if part)]
    return "/".join(parts)
