"""What has to be there before tasks of a search start: of its namespace, and of the search itself."""

from __future__ import annotations

from dataclasses import dataclass, field

from controller import manifests
from controller.api import Api, ApiError
from controller.cache import Key
from controller.policies import ModelPolicies, Problem
from controller.settings import Settings
from poise_lib.resources import Search


@dataclass(slots=True)
class Preparations:
    """Makes it; what is in a namespace is made once and left alone, the way to a model is kept as the search says."""

    api: Api
    settings: Settings
    namespaces: set[str] = field(default_factory=set)
    """In which what tasks need (claim, policies) is there."""
    models: ModelPolicies = field(init=False)

    def __post_init__(self) -> None:
        self.models = ModelPolicies(self.api)

    def forget(self, key: Key) -> None:
        """The search is gone; the whole namespace may be, and come back."""
        self.namespaces.discard(key[0])
        self.models.forget(key)

    async def make(self, search: Search) -> Problem | None:
        """See that all of it is there; None when it is.

        Raises:
            ApiError: the API server is in trouble.
        """
        return await self._namespace(search.metadata.namespace or "") or await self.models.keep(search)

    async def _namespace(self, namespace: str) -> Problem | None:
        if namespace in self.namespaces:
            return None
        for resource, body in manifests.preparations(namespace, self.settings):
            try:
                await self.api.create(resource, namespace, body)
            except ApiError as error:
                if error.refused:
                    return Problem(f"{body['kind']} {body['metadata']['name']}: {error}")
                if error.reason != "AlreadyExists":
                    raise
        self.namespaces.add(namespace)
        return None
