"""The calls to the API server that the controller makes, and no others.

Documents are plain dictionaries: what is read is parsed by the models of :mod:`poise_lib.resources`, and what is written
was made by them.  Every call is counted by verb and resource, so that a test can compare the Role with what was used.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, urlencode

from aiohttp import ClientError
from kubernetes.aio import client, config
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.client.rest import RESTResponse

from poise_lib.names import GROUP, VERSION

Document = dict[str, Any]

METADATA_ONLY: Final = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io, application/json"
ANY_JSON: Final = "application/json, */*"
MERGE_PATCH: Final = "application/merge-patch+json"
REQUEST_SECONDS: Final = 30
WATCH_GRACE_SECONDS: Final = 30
"""After which a watch that the server should have ended is given up as dead."""
MAX_LOG_BYTES: Final = 16 << 20
"""More than any result needs, and what a log may cost the controller."""


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind of object as the API serves it."""

    group: str
    version: str
    plural: str

    def path(self, namespace: str, name: str = "", subresource: str = "") -> str:
        """The URL path of the collection, of one object, or of a subresource; no namespace means all of them."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        within = ["namespaces", quote(namespace)] if namespace else []
        parts = [root, *within, self.plural, quote(name), subresource]
        return "/".join(part for part in parts if part)


SEARCHES: Final = Resource(GROUP, VERSION, "searches")
CANDIDATES: Final = Resource(GROUP, VERSION, "candidates")
EVALUATIONS: Final = Resource(GROUP, VERSION, "evaluations")
CUSTOM: Final = {"Search": SEARCHES, "Candidate": CANDIDATES, "Evaluation": EVALUATIONS}
"""Our own, by kind."""
JOBS: Final = Resource("batch", "v1", "jobs")
WATCHED: Final = CUSTOM | {"Job": JOBS}
"""Whatever a search consists of, by kind."""
PODS: Final = Resource("", "v1", "pods")
CONFIG_MAPS: Final = Resource("", "v1", "configmaps")
CLAIMS: Final = Resource("", "v1", "persistentvolumeclaims")
SERVICES: Final = Resource("", "v1", "services")
EVENTS: Final = Resource("", "v1", "events")
NETWORK_POLICIES: Final = Resource("networking.k8s.io", "v1", "networkpolicies")
LEASES: Final = Resource("coordination.k8s.io", "v1", "leases")


class ApiError(Exception):
    """The API server said no; ``status`` is HTTP's, the text is the server's own message."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason

    @property
    def missing(self) -> bool:
        """The object is not there (any more)."""
        return self.status == 404

    @property
    def conflict(self) -> bool:
        """The object has changed since it was read, or exists already."""
        return self.status == 409

    @property
    def refused(self) -> bool:
        """The request as it is will not be taken: a quota, an admission rule, a field that is wrong."""
        return self.status in (403, 422)


@dataclass(frozen=True, slots=True)
class Version:
    """Which state of an object the server has."""

    namespace: str
    name: str
    version: int
    owner: str = ""
    """The uid of the object that controls it."""


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a collection, as it was at a version."""

    items: list[Document]
    version: str


@dataclass(slots=True)
class Api:
    """An HTTP client of one API server."""

    client: client.ApiClient
    calls: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """How often each (verb, group, resource) was used."""

    @classmethod
    async def connect(cls) -> Api:
        """Inside a cluster by the service account, elsewhere by the kubeconfig."""
        settings = client.Configuration()
        try:
            config.load_incluster_config(settings)
        except config.ConfigException:
            await config.load_kube_config(client_configuration=settings)
        settings.connection_pool_maxsize = 0  # no bound: every namespace that is watched holds connections for itself
        return cls(client.ApiClient(settings))

    async def close(self) -> None:
        """Close the connections."""
        await self.client.close()

    async def get(self, resource: Resource, namespace: str, name: str) -> Document:
        """One object."""
        return await self._document("get", "GET", resource, resource.path(namespace, name))

    async def items(self, resource: Resource, namespace: str, **query: str) -> list[Document]:
        """The objects of a collection that match ``labelSelector`` or ``fieldSelector``."""
        path = f"{resource.path(namespace)}?{urlencode(query)}" if query else resource.path(namespace)
        found: list[Document] | None = (await self._document("list", "GET", resource, path))["items"]
        return found or []

    async def pages(
        self, resource: Resource, namespace: str, limit: int, accept: str = ANY_JSON, **query: str
    ) -> AsyncIterator[Page]:
        """The objects of a collection that match, as they were at one moment, a page at a time."""
        query = {"limit": str(limit), **query}
        while True:
            path = f"{resource.path(namespace)}?{urlencode(query)}"
            page = json.loads(await self._call("list", "GET", resource, path, None, accept=accept))
            # Of no object at all the server lists null.
            yield Page(page["items"] or [], page["metadata"]["resourceVersion"])
            if not (more := page["metadata"].get("continue")):
                return
            query["continue"] = more

    async def versions(self, resource: Resource, namespace: str, **query: str) -> list[Version]:
        """The versions of all objects that match ``labelSelector`` or ``fieldSelector``, without their content.

        Of one that is being deleted the version is 0.
        """
        found: list[Version] = []
        async for page in self.pages(resource, namespace, 500, METADATA_ONLY, **query):
            for item in page.items:
                metadata = item["metadata"]
                version = 0 if "deletionTimestamp" in metadata else int(metadata["resourceVersion"])
                owners = (owner["uid"] for owner in metadata.get("ownerReferences", ()) if owner.get("controller"))
                found.append(Version(metadata["namespace"], metadata["name"], version, next(owners, "")))
        return found

    async def watch(
        self, resource: Resource, namespace: str, version: str, seconds: int, **query: str
    ) -> AsyncIterator[Document]:
        """What happens to the objects that match after a version, bookmarks among it, until the server ends it.

        Raises:
            ApiError: the server refused.
            OSError: the connection broke off.
            TimeoutError: nothing came, not even the end.
        """
        query |= {
            "watch": "true",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(seconds),
        }
        path = f"{resource.path(namespace)}?{urlencode(query)}"
        response = await self._response("watch", "GET", resource, path, None, seconds=seconds + WATCH_GRACE_SECONDS)
        async with response.response as stream:
            rest = b""
            try:
                async for chunk in stream.content.iter_any():
                    *whole, rest = (rest + chunk).split(b"\n")
                    for line in whole:
                        yield json.loads(line)
            except ClientError as error:
                raise ConnectionError(f"GET {path}: {error}") from error

    async def create(self, resource: Resource, namespace: str, body: Document) -> Document:
        """Create an object; a conflict means that it is there already."""
        return await self._document("create", "POST", resource, resource.path(namespace), body)

    async def replace_status(self, resource: Resource, namespace: str, body: Document) -> Document:
        """Write a status; the resourceVersion in ``body`` guards against what happened since it was read."""
        path = resource.path(namespace, body["metadata"]["name"], "status")
        return await self._document("update", "PUT", resource, path, body, subresource="status")

    async def replace(self, resource: Resource, namespace: str, body: Document) -> Document:
        """Write an object, guarded by its resourceVersion."""
        return await self._document("update", "PUT", resource, resource.path(namespace, body["metadata"]["name"]), body)

    async def patch(self, resource: Resource, namespace: str, name: str, body: Document) -> Document:
        """Merge ``body`` into an object; used for metadata and for single fields, never for lists."""
        return await self._document("patch", "PATCH", resource, resource.path(namespace, name), body, MERGE_PATCH)

    async def delete(self, resource: Resource, namespace: str, name: str) -> None:
        """Delete an object and, in the background, what it owns; one that is gone already is no error."""
        path = f"{resource.path(namespace, name)}?propagationPolicy=Background"
        try:
            await self._document("delete", "DELETE", resource, path)
        except ApiError as error:
            if not error.missing:
                raise

    async def log(self, namespace: str, pod: str, container: str) -> str:
        """What a container has printed, up to a bound."""
        return await self._log(namespace, pod, container=container, limitBytes=str(MAX_LOG_BYTES))

    async def tail(self, namespace: str, pod: str, container: str, lines: int, size: int) -> str:
        """The last lines that a container has printed, up to a bound in bytes."""
        return await self._log(namespace, pod, container=container, tailLines=str(lines), limitBytes=str(size))

    async def _log(self, namespace: str, pod: str, **query: str) -> str:
        path = f"{PODS.path(namespace, pod, 'log')}?{urlencode(query)}"
        return (await self._call("get", "GET", PODS, path, None, subresource="log")).decode("utf-8", "replace")

    async def _document(
        self,
        verb: str,
        method: str,
        resource: Resource,
        path: str,
        body: Document | None = None,
        content_type: str = "application/json",
        subresource: str = "",
    ) -> Document:
        content = await self._call(verb, method, resource, path, body, content_type, subresource)
        answer: Document = json.loads(content)
        return answer

    async def _call(
        self,
        verb: str,
        method: str,
        resource: Resource,
        path: str,
        body: Document | None,
        content_type: str = "application/json",
        subresource: str = "",
        accept: str = ANY_JSON,
    ) -> bytes:
        response = await self._response(verb, method, resource, path, body, content_type, subresource, accept)
        try:
            content: bytes = await response.read()
        except ClientError as error:
            raise ConnectionError(f"{method} {path}: {error}") from error
        return content

    async def _response(
        self,
        verb: str,
        method: str,
        resource: Resource,
        path: str,
        body: Document | None,
        content_type: str = "application/json",
        subresource: str = "",
        accept: str = ANY_JSON,
        seconds: int = REQUEST_SECONDS,
    ) -> RESTResponse:
        plural = f"{resource.plural}/{subresource}" if subresource else resource.plural
        self.calls[verb, resource.group, plural] += 1
        headers: dict[str, str] = {"Content-Type": content_type, "Accept": accept}
        await self.client.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
        try:
            response: RESTResponse = await self.client.call_api(
                method,
                self.client.configuration.host + path,
                headers,
                body,
                _request_timeout=seconds,
                _preload_content=False,
            )
            if not 200 <= response.status < 300:
                raise _refusal(response.status, await response.read())
        except ApiException as error:
            raise _refusal(error.status or 0, error.body or error.reason or "") from error
        except ClientError as error:
            raise ConnectionError(f"{method} {path}: {error}") from error
        return response


def _refusal(status: int, body: str | bytes) -> ApiError:
    try:
        document: Mapping[str, Any] = json.loads(body)
    except ValueError:
        document = {}
    return ApiError(status, str(document.get("reason", "")), str(document.get("message", body)))
