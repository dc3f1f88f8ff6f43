"""List, then watch, one kind of object: what kopf does, for the kinds of which there is much.

kopf keeps every body of its first list until a worker of that very object has had its turn, its indexes take time that
grows with the square of what is there, and each event takes milliseconds.  Here a page is handed over and forgotten
before the next one is asked for, and an event costs its parsing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import structlog

from controller.api import WATCHED, Api, ApiError, Document, Resource

PAGE: Final = 100
"""Objects of one page: in memory at once, several times over."""
WATCH_SECONDS: Final = 240
"""After which the server ends a watch, which then goes on where it was; a dead connection is noticed soon after."""
BACKOFF_FIRST: Final = 0.5
BACKOFF_MOST: Final = 30.0
GONE: Final = 410
"""The server does not remember the state that a watch or a list wants to go on from."""

log = structlog.get_logger()

Where = tuple[str, str]
"""Namespace and name."""


class Sink(Protocol):
    """Takes in what a reflector sees."""

    def take(self, body: Document) -> None:
        """An object is there, new or changed."""

    def drop(self, body: Document) -> None:
        """An object is gone."""

    def keep(self, kind: str, namespace: str, there: set[Where]) -> None:
        """Of a kind and a namespace (all, if empty) these objects are there, and no others."""


@dataclass(slots=True)
class Reflector:
    """Tells a sink of one kind of object in one namespace, or in all of them."""

    api: Api
    kind: str
    namespace: str
    sink: Sink
    query: dict[str, str] = field(default_factory=dict)
    """What narrows it down: a labelSelector."""
    filled: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once the sink has had all that was there."""
    version: str = ""
    """The state that is known; empty when everything has to be listed."""
    wait: Callable[[float], Any] = asyncio.sleep

    @property
    def resource(self) -> Resource:
        """As the API serves the kind."""
        return WATCHED[self.kind]

    async def run(self) -> None:
        """Never ends by itself; an API server that is away or refuses is asked again, less and less often."""
        failures = 0
        while True:
            try:
                if not self.version:
                    await self._list()
                await self._watch()
                failures = 0
            except (ApiError, OSError, TimeoutError) as error:
                if isinstance(error, ApiError) and error.status == GONE:
                    self.version = ""
                    continue
                failures += 1
                log.warning("a watch broke off", resource=self.resource.plural, error=str(error))
                await self.wait(min(BACKOFF_MOST, BACKOFF_FIRST * 2 ** min(failures - 1, 10)))

    async def _list(self) -> None:
        there: set[Where] = set()
        version = ""
        async for page in self.api.pages(self.resource, self.namespace, PAGE, **self.query):
            for body in page.items:
                body["kind"] = self.kind  # which items of a list lack, unless they are custom resources
                self.sink.take(body)
                there.add((body["metadata"]["namespace"], body["metadata"]["name"]))
            version = page.version
            await asyncio.sleep(0)  # whoever else has something to do has waited for a whole page
        self.sink.keep(self.kind, self.namespace, there)
        self.version = version
        self.filled.set()

    async def _watch(self) -> None:
        async for event in self.api.watch(self.resource, self.namespace, self.version, WATCH_SECONDS, **self.query):
            body = event["object"]
            match event["type"]:
                case "ERROR":
                    raise ApiError(body.get("code", 0), body.get("reason", ""), body.get("message", ""))
                case "DELETED":
                    self.sink.drop(body)
                case "ADDED" | "MODIFIED":
                    self.sink.take(body)
            self.version = body["metadata"]["resourceVersion"]
