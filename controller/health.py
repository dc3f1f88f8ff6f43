"""What probes and Prometheus ask: alive, ready, metrics; on one small HTTP server.

A watch that has silently died looks like a quiet cluster.  So the controller is audited: now and then the versions of
searches and Jobs are listed and compared with what the watches have brought.  What is behind twice in a row, and has
not moved in between, is behind a dead watch, and the process says that it is not alive.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import structlog
from aiohttp import web
from prometheus_client import generate_latest

from controller.api import JOBS, SEARCHES, Api, ApiError, Resource
from controller.jobs import SELECTOR
from controller.metrics import Metrics

AUDIT_EVERY: Final = 60.0
DEAD_AFTER: Final = 180.0
"""Seconds without a heartbeat of the event loop's own tasks."""

log = structlog.get_logger()

Versions = Mapping[str, int]
"""Object (kind, namespace, name) -> resourceVersion."""


@dataclass(slots=True)
class Health:
    """Signs of life."""

    leading: bool = False
    heartbeat: float = field(default_factory=time.monotonic)
    behind: str = ""
    """An object that a dead watch has missed changes of."""
    _suspects: dict[str, int] = field(default_factory=dict)

    def beat(self) -> None:
        """The audit went round."""
        self.heartbeat = time.monotonic()

    def compare(self, served: Versions, watched: Versions) -> None:
        """Take in one audit: what the API server has, and what the watches have brought."""
        late = {name: watched.get(name, 0) for name, version in served.items() if watched.get(name, 0) < version}
        late |= {name: version for name, version in watched.items() if name not in served}  # its deletion was missed
        self.behind = next((name for name, version in late.items() if self._suspects.get(name) == version), "")
        self._suspects = late

    @property
    def alive(self) -> bool:
        """Whether to leave this process running; one that waits for the lease watches nothing yet."""
        return not self.leading or (not self.behind and time.monotonic() - self.heartbeat < DEAD_AFTER)


async def closed(api: Api, namespaces: tuple[str, ...]) -> set[str]:
    """The namespaces of a list in which this controller has no rights, as when one was deleted and its rights with it.

    kopf gives up all of its watches when it may not open one.

    Raises:
        ApiError: the API server refused for another reason.
        OSError: it could not be asked.
    """
    refused = set()
    for namespace in namespaces:
        try:
            await api.items(SEARCHES, namespace, limit="1")
        except ApiError as error:
            if error.status != 403:
                raise
            refused.add(namespace)
    return refused


async def audit(
    api: Api, health: Health, watched: Callable[[], Versions], namespaces: tuple[str, ...], left_out: set[str]
) -> None:
    """Compare for ever.  An API server that cannot be asked is no fault of the watches.

    Args:
        api: the API server.
        health: takes in what is found.
        watched: what the watches have brought.
        namespaces: that are watched; all if empty.
        left_out: namespaces to be watched once there are rights in them: by the next process.
    """
    while True:
        await asyncio.sleep(AUDIT_EVERY)
        try:
            # Whatever has changed, the next process does right by it from the start.
            if changed := await closed(api, namespaces) | (left_out - await closed(api, tuple(left_out))):
                health.behind = f"namespace {min(changed)}"
                log.error(
                    "rights in namespaces have come or gone; the next process sees to it", namespaces=sorted(changed)
                )
            else:
                health.compare(await _served(api, namespaces), watched())
                if health.behind:
                    log.error("a watch is dead", behind=health.behind)
        except (ApiError, OSError, TimeoutError) as error:
            log.warning("the watches could not be audited", error=str(error))
        health.beat()


async def _served(api: Api, namespaces: tuple[str, ...]) -> dict[str, int]:
    selectors: dict[Resource, dict[str, str]] = {SEARCHES: {}, JOBS: {"labelSelector": SELECTOR}}
    versions = {}
    for resource, selector in selectors.items():
        for namespace in namespaces or ("",):
            for item in await api.versions(resource, namespace, **selector):
                versions[f"{resource.plural}/{item.namespace}/{item.name}"] = item.version
    return versions


async def serve(health: Health, metrics: Metrics, refresh: Callable[[], None], port: int) -> web.AppRunner:
    """Start /healthz, /readyz and /metrics; returns the runner, to be cleaned up at the end."""

    async def healthz(_: web.Request) -> web.Response:
        age = time.monotonic() - health.heartbeat
        text = (
            f"a watch is dead: it missed changes of {health.behind}" if health.behind else f"heartbeat {age:.0f} s ago"
        )
        return web.Response(status=200 if health.alive else 503, text=f"{text}\n")

    async def readyz(_: web.Request) -> web.Response:
        text = "leading\n" if health.leading else "waiting for the lease\n"
        return web.Response(status=200 if health.leading else 503, text=text)

    async def show(_: web.Request) -> web.Response:
        refresh()
        content = generate_latest(metrics.registry)
        return web.Response(body=content, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    app = web.Application()
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", show)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, None, port).start()
    return runner
