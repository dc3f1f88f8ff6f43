"""kopf's side: searches and Jobs in indexes, and event handlers that say which search to look at.  Nothing else.

Indexes are filled before the first event handler runs; the archives, of which there is much more, come by reflectors of
our own (:mod:`controller.reflector` says why), and no search is looked at before those are filled too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import kopf

from controller.api import CANDIDATES, EVALUATIONS, Api, Document
from controller.archives import Archives
from controller.cache import Broken, Key, key_of, name_of, parse, version_of
from controller.jobs import JobView, view
from controller.reconcile import Reconciler
from controller.reflector import Reflector
from controller.work import WorkQueue
from poise_lib.names import GROUP, LABEL_MANAGED_BY, MANAGED_BY, VERSION
from poise_lib.resources import Candidate, Evaluation, Search

SERVER_TIMEOUT: Final = 240
"""Seconds after which a watch ends by itself and starts anew."""
CLIENT_TIMEOUT: Final = 300
REQUEST_TIMEOUT: Final = 30


@dataclass(slots=True)
class Watched:
    """The world as the watches have told it."""

    archives: Archives
    indices: Mapping[str, Mapping[Key, Iterable[Any]]] | None = None
    """kopf's, of searches and Jobs."""
    indexed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once kopf has handed them over, which it does when there is a search or a Job."""

    def _of(self, index: str, key: Key) -> list[Any]:
        return [] if self.indices is None else list(self.indices[index].get(key, ()))

    def search(self, key: Key) -> Search | Broken | None:
        """The search itself."""
        return next(iter(self._of("searches", key)), None)

    def open(self, key: Key) -> None:
        """Make the models of its archive; may be called in a thread."""
        self.archives.open(key)

    def candidates(self, key: Key) -> list[Candidate | Broken]:
        """Its candidates."""
        return self.archives.candidates(key)

    def evaluations(self, key: Key) -> list[Evaluation | Broken]:
        """Its evaluations."""
        return self.archives.evaluations(key)

    def jobs(self, key: Key) -> list[JobView]:
        """The Jobs of its tasks."""
        return self._of("jobs", key)

    def versions(self) -> dict[str, int]:
        """Of every search and Job, which state was seen last."""
        if self.indices is None:
            return {}
        return {
            f"{plural}/{key[0]}/{name_of(item)}": version_of(item)
            for plural in ("searches", "jobs")
            for key in list(self.indices[plural])
            for item in self.indices[plural].get(key, ())
            if not (isinstance(item, Search) and item.metadata.deletion_timestamp)
        }

    def searches(self) -> list[Search]:
        """Every search."""
        if self.indices is None:
            return []
        found = (item for key in list(self.indices["searches"]) for item in self.indices["searches"].get(key, ()))
        return [item for item in found if isinstance(item, Search)]


class _NoDiff(kopf.DiffBaseStorage):
    """Nothing of ours asks kopf what has changed; by default it copies the body of every event to be able to tell."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        """Nothing to compare."""
        return kopf.BodyEssence()

    def fetch(self, **_: Any) -> kopf.BodyEssence | None:
        """Nothing was kept."""
        return None

    def store(self, **_: Any) -> None:
        """Nothing is kept."""


def reflectors(api: Api, archives: Archives, namespaces: tuple[str, ...]) -> list[Reflector]:
    """What fills the archives: one for every kind and namespace, or for all namespaces if none is named."""
    return [
        Reflector(api, resource, namespace, archives)
        for resource in (CANDIDATES, EVALUATIONS)
        for namespace in namespaces or ("",)
    ]


def forget(reconciler: Reconciler, key: Key, body: Document) -> None:
    """An object is gone: whatever we wrote of it is history."""
    if body["kind"] in reconciler.overlays:
        reconciler.overlays[body["kind"]].forget(key, body["metadata"]["name"], body["metadata"]["uid"])


def registry(world: Watched, queue: WorkQueue, reconciler: Reconciler) -> kopf.OperatorRegistry:
    """All handlers of the operator."""
    handlers = kopf.OperatorRegistry()

    @kopf.on.login(registry=handlers)
    async def login(**given: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_with_service_account(**given) or kopf.login_with_kubeconfig(**given)

    @kopf.on.startup(registry=handlers)
    async def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
        settings.posting.enabled = False
        settings.persistence.diffbase_storage = _NoDiff()
        settings.scanning.disabled = True
        settings.peering.standalone = True
        settings.watching.server_timeout = SERVER_TIMEOUT
        settings.watching.client_timeout = CLIENT_TIMEOUT
        settings.watching.connect_timeout = REQUEST_TIMEOUT
        settings.networking.request_timeout = REQUEST_TIMEOUT
        settings.networking.error_backoffs = [0.5, 1, 2, 3, 5]
        settings.watching.label_selectors["batch", "v1", "jobs"] = f"{LABEL_MANAGED_BY}={MANAGED_BY}"

    async def search(body: kopf.Body, **_: Any) -> dict[Key, Any] | None:
        document = dict(body)
        key = key_of(document)
        return None if key is None else {key: parse(document)}

    async def job(body: kopf.Body, **_: Any) -> dict[Key, JobView] | None:
        document = dict(body)
        key, seen = key_of(document), view(document)
        return {key: seen} if key is not None and seen is not None else None

    async def wake(body: kopf.Body, **given: Any) -> None:
        # kopf hands the indexes to handlers only: take them from whichever comes first.
        world.indices = {name: given[name] for name in ("searches", "jobs")}
        world.indexed.set()
        document = dict(body)
        key = key_of(document)
        if key is None:
            return
        if given["type"] == "DELETED":
            forget(reconciler, key, document)
        queue.wake(key)

    kopf.index(GROUP, VERSION, "searches", id="searches", registry=handlers)(search)
    kopf.on.event(GROUP, VERSION, "searches", id="wake-searches", registry=handlers)(wake)
    kopf.index("batch", "v1", "jobs", id="jobs", registry=handlers)(job)
    kopf.on.event("batch", "v1", "jobs", id="wake-jobs", registry=handlers)(wake)
    return handlers
