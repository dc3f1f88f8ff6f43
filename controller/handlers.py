"""kopf's side: searches.  What a search consists of comes by reflectors: there is more of it, and more often.

A search is looked at whenever something of it has changed, and no search before the reflectors have told all.
"""

from __future__ import annotations

from typing import Any, Final

import kopf

from controller.api import Api
from controller.jobs import SELECTOR
from controller.reflector import Reflector
from controller.watched import Watched
from poise_lib.names import GROUP, VERSION

SERVER_TIMEOUT: Final = 240
"""Seconds after which a watch ends by itself and starts anew."""
CLIENT_TIMEOUT: Final = 300
REQUEST_TIMEOUT: Final = 30


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


def reflectors(api: Api, world: Watched, namespaces: tuple[str, ...]) -> list[Reflector]:
    """One for every kind and namespace, or for all namespaces if none is named."""
    kinds: dict[str, dict[str, str]] = {"Candidate": {}, "Evaluation": {}, "Job": {"labelSelector": SELECTOR}}
    return [
        Reflector(api, kind, namespace, world, query)
        for kind, query in kinds.items()
        for namespace in namespaces or ("",)
    ]


def registry(world: Watched) -> kopf.OperatorRegistry:
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

    @kopf.on.event(GROUP, VERSION, "searches", registry=handlers)
    async def search(body: kopf.Body, **given: Any) -> None:
        if given["type"] == "DELETED":
            world.drop(dict(body))
        else:
            world.take(dict(body))

    return handlers
