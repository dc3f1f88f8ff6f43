"""kopf's side: indexes that hold what exists, and event handlers that say which search to look at.  Nothing else.

Indexes are filled before the first event handler runs, so the first reconcile of a search sees all of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import kopf

from controller.cache import Broken, Key, key_of, name_of, parse, version_of
from controller.jobs import JobView, view
from controller.reconcile import Reconciler
from controller.work import WorkQueue
from poise_lib.names import GROUP, LABEL_MANAGED_BY, MANAGED_BY, VERSION
from poise_lib.resources import Candidate, Evaluation, Search

SERVER_TIMEOUT: Final = 240
"""Seconds after which a watch ends by itself and starts anew."""
CLIENT_TIMEOUT: Final = 300
REQUEST_TIMEOUT: Final = 30

_KINDS: Final = ("searches", "candidates", "evaluations")


@dataclass(slots=True)
class Indexed:
    """The world as kopf's indexes hold it."""

    indices: Mapping[str, Mapping[Key, Iterable[Any]]] | None = None

    def _of(self, index: str, key: Key) -> list[Any]:
        return [] if self.indices is None else list(self.indices[index].get(key, ()))

    def search(self, key: Key) -> Search | Broken | None:
        """The search itself."""
        return next(iter(self._of("searches", key)), None)

    def candidates(self, key: Key) -> list[Candidate | Broken]:
        """Its candidates."""
        return self._of("candidates", key)

    def evaluations(self, key: Key) -> list[Evaluation | Broken]:
        """Its evaluations."""
        return self._of("evaluations", key)

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


def registry(world: Indexed, queue: WorkQueue, reconciler: Reconciler) -> kopf.OperatorRegistry:
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

    async def custom(body: kopf.Body, **_: Any) -> dict[Key, Any] | None:
        document = dict(body)
        key = key_of(document)
        return None if key is None else {key: parse(document)}

    async def job(body: kopf.Body, **_: Any) -> dict[Key, JobView] | None:
        document = dict(body)
        key, seen = key_of(document), view(document)
        return {key: seen} if key is not None and seen is not None else None

    def wake(body: kopf.Body, **given: Any) -> None:
        document = dict(body)
        key = key_of(document)
        if key is None:
            return
        if given["type"] == "DELETED":
            kind = document["kind"]
            if kind in reconciler.overlays:
                reconciler.overlays[kind].forget(key, document["metadata"]["name"], document["metadata"]["uid"])
        queue.wake(key)

    def bind(**given: Any) -> None:
        world.indices = {name: given[name] for name in (*_KINDS, "jobs")}

    for plural in _KINDS:
        kopf.index(GROUP, VERSION, plural, id=plural, registry=handlers)(custom)
        kopf.on.event(GROUP, VERSION, plural, id=f"wake-{plural}", registry=handlers)(_with(bind, wake))
    kopf.index("batch", "v1", "jobs", id="jobs", registry=handlers)(job)
    kopf.on.event("batch", "v1", "jobs", id="wake-jobs", registry=handlers)(_with(bind, wake))
    return handlers


def _with(bind: Any, wake: Any) -> Any:
    """kopf hands the indexes to handlers only; take them from whichever comes first."""

    async def handler(**given: Any) -> None:
        bind(**given)
        wake(**given)

    return handler
