"""An asynchronous client of the API server for bench_controller: calls, watches, versions of all objects."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlencode

import aiohttp

from poise_lib.names import API_VERSION
from tests.kube.cluster import ADMIN, ControlPlane

Document = dict[str, Any]
Handler = Callable[[str, Document], None]

POISE: Final = f"/apis/{API_VERSION}"
MERGE_PATCH: Final = "application/merge-patch+json"
_METADATA_ONLY: Final = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io, application/json"
_LINE: Final = 16 << 20
"""Longest event of a watch."""


class RefusedError(Exception):
    """The API server's answer was no."""


class _TooOldError(Exception):
    """What happened since that version is not told any more."""


class Server:
    """The administrator's access to the API server of a cluster."""

    def __init__(self, plane: ControlPlane) -> None:
        context = ssl.create_default_context(cafile=str(plane.pki.ca))
        context.load_cert_chain(str(plane.pki.certificate(ADMIN)), str(plane.pki.key(ADMIN)))
        self._session = aiohttp.ClientSession(
            plane.server,
            connector=aiohttp.TCPConnector(ssl=context, limit=64),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=30),
            read_bufsize=_LINE,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def call(
        self, method: str, path: str, body: Any = None, *, content_type: str = "", accept: str = "", **query: str
    ) -> Document:
        """One request; the answer as JSON.

        Raises:
            RefusedError: the server said no.
        """
        headers = {"Content-Type": content_type or "application/json", "Accept": accept or "application/json"}
        data = None if body is None else json.dumps(body).encode()
        while True:
            async with self._session.request(method, path, data=data, headers=headers, params=query) as response:
                text = await response.text()
                if response.status < 300:
                    answer: Document = json.loads(text)
                    return answer
                if response.status != 429:
                    raise RefusedError(f"{method} {path}: {response.status} {text[:500]}")
            await asyncio.sleep(1)  # it is busy, or a CRD has just changed

    async def watch(self, path: str, handle: Handler, *, replay: bool = False, **query: str) -> None:
        """Tell of everything that happens from now on, until cancelled.

        A change of a CRD ends the watches of its kind, and what happened before may not be told any more; with
        ``replay`` all that exists is told then, and at first.
        """
        while True:
            first = await self.call("GET", path, **({} if replay else {"limit": "1"}), **query)
            version = first["metadata"]["resourceVersion"]
            for item in first["items"] if replay else ():
                handle("ADDED", item)
            with contextlib.suppress(aiohttp.ClientPayloadError, _TooOldError):
                while True:
                    version = await self._watched(path, handle, version, query)

    async def _watched(self, path: str, handle: Handler, version: str, query: dict[str, str]) -> str:
        """Tell what happens from this version on, until the server ends the stream; the last version then."""
        asked = {**query, "watch": "1", "resourceVersion": version, "timeoutSeconds": "3000"}
        async with self._session.get(f"{path}?{urlencode(asked)}") as response:
            if response.status in (410, 429):  # too old, or its CRD has just changed
                await asyncio.sleep(1)
                raise _TooOldError
            if response.status != 200:
                raise RefusedError(f"watch of {path}: {response.status} {(await response.text())[:500]}")
            async for line in response.content:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    raise _TooOldError
                version = event["object"]["metadata"]["resourceVersion"]
                handle(event["type"], event["object"])
        return version

    async def versions(self, path: str) -> dict[str, str]:
        """The resourceVersion of every object of a collection."""
        found: dict[str, str] = {}
        query = {"limit": "2000"}
        while True:
            page = await self.call("GET", path, accept=_METADATA_ONLY, **query)
            for item in page["items"]:
                metadata = item["metadata"]
                found[f"{metadata.get('namespace', '')}/{metadata['name']}"] = metadata["resourceVersion"]
            if not (more := page["metadata"].get("continue")):
                return found
            query["continue"] = more


async def side_by_side(width: int, count: int, work: Callable[[int], Any], told: Callable[[int], None]) -> None:
    """Do ``work(0)`` to ``work(count - 1)``, ``width`` of them at a time."""
    numbers = iter(range(count))
    done = 0

    async def worker() -> None:
        nonlocal done
        for number in numbers:
            await work(number)
            done += 1
            told(done)

    workers = [asyncio.create_task(worker()) for _ in range(width)]
    try:
        await asyncio.gather(*workers)
    finally:
        for one in workers:
            one.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*workers, return_exceptions=True)
